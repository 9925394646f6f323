"""The load: requests at a fixed rate, whatever the answers do, each sent again until it is accepted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from loadgen.client import Client
from loadgen.follow import Follower
from loadgen.meter import Meter
from loadgen.mixes import Ask

# A buyer who gets no answer, or a 503, asks again after so long, and gives up at last.
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 120.0
POINT_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.1


class Load:
    """One load on one shop, measured by `meter`."""

    def __init__(self, client: Client, meter: Meter) -> None:
        self.meter = meter
        self._client = client
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
        pause = FIRST_PAUSE_SECONDS
        while True:
            status, told = await self._sent(ask)
            self.meter.statuses[status] += 1
            if status not in (None, 503):
                self._answered(ask, due, status, told)
                return
            if time.time() - due > PATIENCE_SECONDS:
                self.meter.abandons()
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _sent(self, ask: Ask) -> tuple[int | None, dict[str, object]]:
        if ask.bad:
            return await self._client.ask_badly(ask.bad.body, ask.bad.headers)
        return await self._client.ask(ask.usuario, ask.token, key=ask.key, precio_maximo=ask.precio_maximo)

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
