"""The load: requests at a fixed rate, whatever the answers do, each sent again until it is accepted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import uuid4

from broker.messages import compra_id
from loadgen.load.client import NOT_YET, Client, ClientLimit
from loadgen.load.clock import CLOCK
from loadgen.load.follow import Follower
from loadgen.load.meter import Meter
from loadgen.load.workloads import BuyRequest
from ops.i18n import Text

# A buyer who gets no answer, or a 503, asks again after so long, or once others are answered, and gives up at last.
PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 120.0
# Of those who ask again, so many at once: all of an outage's buyers in one instant would be a second outage.
AGAIN: Final = 100
POLL_SECONDS: Final = 0.1

# A status, None when no answer came, and the body, whatever it is.
Told: TypeAlias = tuple[int | None, Any]
Sending: TypeAlias = Callable[[], Awaitable[Told]]


class _Door:
    """Whether requests are answered just now. Thousands who ask again in vain would take the CPU from the start of
    what they wait for; new requests keep coming at their rate, and tell."""

    def __init__(self) -> None:
        self.again = asyncio.Semaphore(AGAIN)
        self._open = asyncio.Event()

    def answered(self, status: int | None) -> None:
        if status in NOT_YET:
            self._open.clear()
        else:
            self._open.set()

    async def opens(self) -> None:
        """Return when somebody is answered, or after the longest pause."""
        await asyncio.sleep(PAUSE_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._open.wait(), LONGEST_PAUSE_SECONDS)


class Load:
    """One load on one shop, measured by `meter`. `accepted` hears of each purchase."""

    def __init__(self, client: Client, meter: Meter, accepted: Callable[[str], None] = lambda _: None) -> None:
        self.meter = meter
        self._client, self._accepted = client, accepted
        self._door = _Door()
        # Good requests that were answered 422: right where their key was used for something else.
        self._questioned: list[BuyRequest] = []
        self._follower = Follower(client, lambda about, now, sold: meter.ends(about, now, sold=sold))

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        """Watch the ends of purchases for as long as this lasts."""
        await self._follower.start_here()
        following = asyncio.create_task(self._follower.run())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self._follower.catch_up()

    async def send(
        self, asks: Iterable[BuyRequest], rate: float, *, start: float | None = None, first: int = 0, step: int = 1
    ) -> None:
        """Send so many a second, and return when each is accepted, rejected or given up.

        One of several processes sends its share: the first of these is due `first` places after `start`, and from then
        on each `step`th is its own.
        """
        self.meter.asked_rate = rate
        start = CLOCK.now() if start is None else start
        async with asyncio.TaskGroup() as requests:
            for number, ask in enumerate(asks):
                due = start + (first + number * step) / rate
                if (early := due - CLOCK.now()) > 0:
                    await asyncio.sleep(early)
                self.meter.arrives(due)
                requests.create_task(self._request(ask, due))

    def question(self, asks: Iterable[BuyRequest]) -> None:
        """Count as wrong each 422 to a good request, but where these, all that the load has sent, have another body
        under that key."""
        bodies: dict[tuple[int, str], set[tuple[int, int | None]]] = {
            (ask.usuario, ask.key): set() for ask in self._questioned
        }
        for ask in asks if bodies else ():
            if not ask.bad and (ask.usuario, ask.key) in bodies:
                bodies[ask.usuario, ask.key].add((ask.token, ask.precio_maximo))
        for ask in self._questioned:
            if len(bodies[ask.usuario, ask.key]) < 2:
                self.meter.wrong.append(Text("{what} was answered {status}", Text("a good request"), 422))

    async def finish(self, seconds: float) -> bool:
        """Wait until the end of every purchase was seen. False when that takes longer than this."""
        deadline = time.monotonic() + seconds
        while self.meter.unfinished and time.monotonic() < deadline:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(POLL_SECONDS)
        return not self.meter.unfinished

    async def top_up(self, usuario: int, monto: int) -> None:
        """Give a buyer more money."""
        await self._enter("POST", f"/usuarios/{usuario}/recargas", {"monto": monto}, Text("a top-up"))

    async def rename_twice(self, usuario: int, number: int) -> None:
        """By one front door, and at once by another: the later one is in force, whoever took it and has had no time to
        hear of the one before."""
        doors = await self._client.doors()
        for one in (number, number + 1):
            body = {"nombre": f"Comprador {usuario}, {one}"}
            await self._enter("PUT", f"/usuarios/{usuario}", body, Text("a new name"), doors[one % len(doors)])

    async def _enter(self, method: str, path: str, body: dict[str, Any], what: str, door: str = "") -> None:
        """An operator's entry. It is sent again, under one key, as a purchase is; none of them is counted."""
        once = partial(self._client.enter_once, method, path, body, str(uuid4()), door)
        status, told = await self._insisted(partial(self._sent, once, counted=False), CLOCK.now())
        if status not in NOT_YET and not (status in (200, 202) and isinstance(told, dict) and told.get("id")):
            self.meter.wrong.append(Text("{what} was answered {status}", what, status))

    async def _request(self, ask: BuyRequest, due: float) -> None:
        self.meter.sends(due, CLOCK.now())
        status, told = await self._insisted(partial(self._sent, partial(self._asked, ask)), due)
        if status in NOT_YET:
            self.meter.abandons(CLOCK.now())
        else:
            self._answered(ask, due, status, told)

    async def _insisted(self, send: Sending, due: float) -> Told:
        """Send it until it is answered, or given up."""
        status, told = await send()
        while status in NOT_YET and CLOCK.now() - due <= PATIENCE_SECONDS:
            await self._door.opens()
            async with self._door.again:
                status, told = await send()
        return status, told

    async def _sent(self, once: Sending, *, counted: bool = True) -> Told:
        try:
            status, told = await once()
        except ClientLimit as limit:
            self.meter.ran_out[str(limit)] += 1
            return None, None
        if counted:
            self.meter.answers(status, CLOCK.now())
        self._door.answered(status)
        return status, told

    async def _asked(self, ask: BuyRequest) -> Told:
        if ask.bad:
            return await self._client.ask_badly(ask.bad.body, ask.bad.headers)
        return await self._client.ask(ask.usuario, ask.token, key=ask.key, precio_maximo=ask.precio_maximo)

    def _answered(self, ask: BuyRequest, due: float, status: int | None, told: Any) -> None:
        about = told.get("id") if isinstance(told, dict) else None
        if status not in (200, 202):
            self.meter.rejects(CLOCK.now())
        elif isinstance(about, str):
            self.meter.accepts(about, due, CLOCK.now())
            self._accepted(about)
        else:
            self.meter.loses_sight(CLOCK.now())
        if wrong := _wrong(ask, status, told):
            self.meter.wrong.append(wrong)
        elif status == 422 and not ask.bad:
            self._questioned.append(ask)


def _wrong(ask: BuyRequest, status: int | None, told: Any) -> str | None:
    """What no shop should answer, as a sentence."""
    what = Text(ask.bad.wrong if ask.bad else "a good request")
    # 422 is also what a key gets that was used for something else: see `Load.question`.
    if status not in ({400, 413, 415, 422} if ask.bad else {200, 202, 422}):
        return Text("{what} was answered {status}", what, status)
    if status != 422 and not ask.bad and not (isinstance(told, dict) and isinstance(told.get("id"), str)):
        return Text("{what} was answered {status} with {kind}", what, status, _kind(told))
    if status != 422 and not ask.bad and told["id"] != compra_id(ask.usuario, ask.key):
        return Text("{what} was answered {status} with {kind}", what, status, Text("another purchase"))
    return None


def _kind(told: Any) -> str:
    match told:
        case None:
            return Text("null")
        case dict():
            return Text("no id")
        case list():
            return Text("a list")
        case str():
            return Text("what is no JSON object")
    return Text("a number")
