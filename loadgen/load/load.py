"""The load: requests at a fixed rate, whatever the answers do, each sent again until it is accepted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from loadgen.load.client import Client
from loadgen.load.follow import Follower
from loadgen.load.meter import Meter
from loadgen.load.mixes import Ask

# A buyer who gets no answer, or a 503, asks again after so long, or once others are answered, and gives up at last.
PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 120.0
# Of those who ask again, so many at once: all of an outage's buyers in one instant would be a second outage.
AGAIN: Final = 100
POINT_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.1


class _Door:
    """Whether requests are answered just now. Thousands who ask again in vain would take the CPU from the start of
    what they wait for; new requests keep coming at their rate, and tell."""

    def __init__(self) -> None:
        self.again = asyncio.Semaphore(AGAIN)
        self._open = asyncio.Event()

    def answered(self, status: int | None) -> None:
        if status in (None, 503):
            self._open.clear()
        else:
            self._open.set()

    async def opens(self) -> None:
        """Return when somebody is answered, or after the longest pause."""
        await asyncio.sleep(PAUSE_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._open.wait(), LONGEST_PAUSE_SECONDS)


class Load:
    """One load on one shop, measured by `meter`."""

    def __init__(self, client: Client, meter: Meter) -> None:
        self.meter = meter
        self._client = client
        self._door = _Door()
        self._follower = Follower(client, lambda about, now, sold: meter.ends(about, now, sold=sold))

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        """Watch the ends of purchases, and make a point of every second, for as long as this lasts."""
        await self._follower.start_here()
        tasks = [asyncio.create_task(self._follower.run()), asyncio.create_task(self._points())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._follower.catch_up()
            self.meter.second(time.time())

    async def send(self, asks: Iterable[Ask], rate: float) -> None:
        """Send so many a second, and return when each is accepted, rejected or given up."""
        start = time.time()
        async with asyncio.TaskGroup() as requests:
            for number, ask in enumerate(asks):
                due = start + number / rate
                if (early := due - time.time()) > 0:
                    await asyncio.sleep(early)
                self.meter.arrives(due)
                requests.create_task(self._request(ask, due))

    async def finish(self, seconds: float) -> bool:
        """Wait until the end of every purchase was seen. False when that takes longer than this."""
        deadline = time.monotonic() + seconds
        while self.meter.unfinished and time.monotonic() < deadline:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(POLL_SECONDS)
        return not self.meter.unfinished

    async def _points(self) -> None:
        while True:
            await asyncio.sleep(POINT_SECONDS)
            self.meter.second(time.time())

    async def _request(self, ask: Ask, due: float) -> None:
        status, told = await self._sent(ask)
        while status in (None, 503):
            if time.time() - due > PATIENCE_SECONDS:
                self.meter.abandons()
                return
            await self._door.opens()
            async with self._door.again:
                status, told = await self._sent(ask)
        self._answered(ask, due, status, told)

    async def _sent(self, ask: Ask) -> tuple[int | None, dict[str, object]]:
        if ask.bad:
            status, told = await self._client.ask_badly(ask.bad.body, ask.bad.headers)
        else:
            status, told = await self._client.ask(ask.usuario, ask.token, key=ask.key, precio_maximo=ask.precio_maximo)
        self.meter.statuses[status] += 1
        self._door.answered(status)
        return status, told

    def _answered(self, ask: Ask, due: float, status: int | None, told: dict[str, object]) -> None:
        if status in (200, 202):
            self.meter.accepts(str(told["id"]), due, time.time())
        else:
            self.meter.rejects()
        # 422 is also what a key gets that was used for something else.
        well = {400, 413, 415, 422} if ask.bad else {200, 202, 422}
        if status not in well:
            what = ask.bad.wrong if ask.bad else "a good request"
            self.meter.wrong.append(f"{what} was answered {status}")
