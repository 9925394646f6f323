"""Long work, a piece at a time, for each address in its turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, Final

from services.shared.http.shares import MAX_REST_SECONDS, Done, FairQueue
from services.shared.store import Away

# What is made is sent, too; and no timer is finer.
LEAST_SECONDS: Final = 0.0001
TIMER_SECONDS: Final = 0.001


class OneByOne:
    """Work of which one piece is done at a time. While more than one wants it, the loop is everybody else's after each
    piece, `rest` times as long as that held it."""

    def __init__(self, rest: float = 0.0) -> None:
        self._rest = rest
        self._waiting: FairQueue[tuple[asyncio.Future[Any], Callable[[], Awaitable[Any]]]] = FairQueue()
        self._going: asyncio.Task[None] | None = None
        # Whose work is under way.
        self._begun: asyncio.Future[Any] | None = None
        self._closed = False
        # So many seconds the loop was held by it so far.
        self._held = 0.0

    async def done(self, whose: str, work: Callable[[], Awaitable[Done]]) -> Done:
        """What comes of this work. Raises Away, too, when a database did not answer whoever was before this one."""
        return await self.ask(whose, work)

    def ask(self, whose: str, work: Callable[[], Awaitable[Done]]) -> asyncio.Future[Done]:
        """The same, for who looks in between. What was cancelled by then is not begun; what is begun is done to its
        end."""
        told: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        # Whoever asked may have gone.
        told.add_done_callback(lambda told: told.cancelled() or told.exception())
        if self._closed:
            told.cancel()
            return told
        self._waiting.add(whose, (told, work))
        if self._going is None:
            self._going = asyncio.get_running_loop().create_task(self._go())
        return told

    def close(self) -> None:
        """Nobody waits any longer, nor will: what they would be told is cancelled."""
        self._closed = True
        for told in self._everybody():
            told.cancel()

    def _everybody(self) -> list[asyncio.Future[Any]]:
        waiting = [told for told, _ in self._waiting]
        return waiting if self._begun is None else [self._begun, *waiting]

    async def _go(self) -> None:
        owed = 0.0
        try:
            while self._waiting:
                _, (told, work) = self._waiting.next()
                if told.done():
                    continue
                self._begun = told
                began, self._held = time.perf_counter(), LEAST_SECONDS
                found: Any
                (found,) = await asyncio.gather(self._counted(work), return_exceptions=True)
                # While it waited for something else, the loop was everybody else's already.
                owed = max(owed + (1 + self._rest) * self._held - (time.perf_counter() - began), 0.0)
                # Who waited all that while does not wait as long again, each behind the other.
                for one in self._everybody() if isinstance(found, Away) else (told,):
                    if not one.done():
                        one.set_exception(found) if isinstance(found, BaseException) else one.set_result(found)
                self._begun = None
                if self._waiting and self._rest and owed > TIMER_SECONDS:
                    await asyncio.sleep(min(owed, MAX_REST_SECONDS))
                    owed = 0.0
        finally:
            self._going = None

    async def _counted(self, work: Callable[[], Awaitable[Done]]) -> Done:
        return await self._steps(_called(work))

    @coroutine
    def _steps(self, work: Coroutine[Any, Any, Done]) -> Generator[Any, None, Done]:
        """Work, from each time that it goes on to where it waits again: so long it holds the loop."""
        go_on: Callable[[], Any] = partial(work.send, None)
        while True:
            began = time.perf_counter()
            try:
                waits_for = go_on()
            except StopIteration as end:
                found: Done = end.value
                return found
            finally:
                self._held += time.perf_counter() - began
            try:
                yield waits_for
                go_on = partial(work.send, None)
            except BaseException as error:
                go_on = partial(work.throw, error)


async def _called(work: Callable[[], Awaitable[Done]]) -> Done:
    return await work()
