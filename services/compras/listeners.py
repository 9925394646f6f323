"""Who listens: a place for each while there are some; news go to a few at a time, so that no buyer waits for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from services.shared.http.problems import unavailable
from services.shared.http.shares import Shares, asker

HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAX_LISTENERS: Final = 2_000
# Under load, events of so long are sent in one piece.
GATHER_SECONDS: Final = 0.03
# So many hear of news in one turn; then, where there are more, the others have the loop for so many times as long.
GROUP: Final = 20
REST: Final = 3.0
# Turns of the loop in which those who hear of news take and send them.
SENDING: Final = 4
MAX_REST_SECONDS: Final = 0.05


class Listeners:
    """All of one process."""

    def __init__(self) -> None:
        self._places = Shares(MAX_LISTENERS)
        self._waiting: list[asyncio.Future[None]] = []
        self._telling: asyncio.Task[None] | None = None
        self._more = False

    @property
    def count(self) -> int:
        return MAX_LISTENERS - self._places.free

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @contextmanager
    def place(self, whose: str) -> Iterator[None]:
        """One for this address. Raises Problem (503)."""
        if not self._places.take(whose):
            raise unavailable(f"{self.count} listen already, too many of them from this address: come again later", 5)
        try:
            yield
        finally:
            self._places.give(whose)

    @contextmanager
    def expecting(self) -> Iterator[asyncio.Future[None]]:
        """Done with the next news, from now on."""
        told = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        try:
            yield told
        finally:
            if told in self._waiting:
                self._waiting.remove(told)

    async def news(self, seconds: float) -> bool:
        """Whether there are any, in so many seconds."""
        with self.expecting() as told:
            return await in_time(told, seconds)

    def heard(self) -> None:
        """There is something new."""
        if self._waiting and self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())
        else:
            self._more = True

    def stop(self) -> None:
        _wake(self._waiting)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            self._more, waiting = False, self._waiting
            self._waiting = []
            for start in range(0, len(waiting), GROUP):
                began = time.perf_counter()
                _wake(waiting[start : start + GROUP])
                for _ in range(SENDING):
                    await asyncio.sleep(0)
                if start + GROUP < len(waiting):
                    await asyncio.sleep(min(REST * (time.perf_counter() - began), MAX_REST_SECONDS))
            if not self._more:
                break
        self._telling = None


class Listening(EventSourceResponse):
    """A stream of events, which has a place for as long as it lasts."""

    def __init__(self, listeners: Listeners, pieces: AsyncIterator[bytes]) -> None:
        super().__init__(pieces, headers=HEADERS)
        self._listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem (503)."""
        with self._listeners.place(asker(scope)):
            await super().__call__(scope, receive, send)


async def in_time(told: asyncio.Future[None], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await told
    except TimeoutError:
        return False
    return True


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for told in waiting:
        if not told.done():
            told.set_result(None)
