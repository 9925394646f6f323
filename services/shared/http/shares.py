"""Fair shares without a login: of what there is only so much of, one address never takes all."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import chain, islice
from types import coroutine
from typing import Any, Final, TypeVar

from starlette.types import Scope

from services.shared.store import Away

Done = TypeVar("Done")
# Nine tenths for who is alone, nine tenths of the rest for the next.
ALPHA: Final = 9


class Shares:
    """A number of places. Whoever holds less than ALPHA times what is free may take one more (the dynamic thresholds
    of Choudhury and Hahne, 1998): something is always left for somebody else, and nobody has to say how many come."""

    def __init__(self, places: int) -> None:
        self.free = places
        self._held: Counter[str] = Counter()

    def take(self, whose: str) -> bool:
        """Whether there was one."""
        if self._held[whose] >= ALPHA * self.free:
            return False
        self.hold(whose, 1)
        return True

    def hold(self, whose: str, places: int) -> None:
        """They are taken, whether they are there or not."""
        self.free -= places
        self._held[whose] += places

    def give(self, whose: str, places: int = 1) -> None:
        """They are no longer needed."""
        self.free += places
        self._held[whose] -= places
        if not self._held[whose]:
            del self._held[whose]

    def has_all(self, whose: str) -> bool:
        """Whether this one has their share. Not, while they have nothing."""
        return 0 < self._held[whose] >= ALPHA * self.free


# Requests that are begun in one turn of the loop: of whoever is alone; and if others asked in the last second.
AT_ONCE: Final = 16
A_FEW: Final = 2
OTHERS_SECONDS: Final = 1.0


class Rounds:
    """Whose request is begun next: of those who wait each address in its turn (fair queueing), a few in one turn of the
    loop. Whoever sends a thousand at once waits for them; who sends one waits for no more than one of everybody's."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Callable[[], object]]] = {}
        self._going = False
        self._last, self._alone_at = "", 0.0

    def add(self, whose: str, begin: Callable[[], object]) -> None:
        if whose != self._last:
            self._last, self._alone_at = whose, time.monotonic() + OTHERS_SECONDS
        self._waiting.setdefault(whose, deque()).append(begin)
        if not self._going:
            self._going = True
            asyncio.get_running_loop().call_soon(self._go)

    def _go(self) -> None:
        for _ in range(AT_ONCE if time.monotonic() > self._alone_at else A_FEW):
            if not self._waiting:
                break
            whose, theirs = next(iter(self._waiting.items()))
            # Behind all others, if there is more of theirs.
            del self._waiting[whose]
            begin = theirs.popleft()
            if theirs:
                self._waiting[whose] = theirs
            begin()
        self._going = bool(self._waiting)
        if self._going:
            asyncio.get_running_loop().call_soon(self._go)


# No longer than this does anybody wait who asked for something else, however long a piece of work took.
MAX_REST_SECONDS: Final = 0.05


async def rest(times: float, began: float) -> None:
    """The loop is for others so many times as long as what `began` then (perf_counter) has taken."""
    await asyncio.sleep(min(times * (time.perf_counter() - began), MAX_REST_SECONDS))


# What is made is sent, too; and no timer is finer.
LEAST_SECONDS: Final = 0.0001
TIMER_SECONDS: Final = 0.001


class OneByOne:
    """Work of which one piece is done at a time: of those who wait each address in its turn (fair queueing). While more
    than one wants it, the loop is everybody else's after each piece, `rest` times as long as that held it."""

    def __init__(self, rest: float = 0.0) -> None:
        self._rest = rest
        self._waiting: dict[str, deque[tuple[asyncio.Future[Any], Callable[[], Awaitable[Any]]]]] = {}
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
        self._waiting.setdefault(whose, deque()).append((told, work))
        if self._going is None:
            self._going = asyncio.get_running_loop().create_task(self._go())
        return told

    def close(self) -> None:
        """Nobody waits any longer, nor will: what they would be told is cancelled."""
        self._closed = True
        for told in self._everybody():
            told.cancel()

    def _everybody(self) -> list[asyncio.Future[Any]]:
        waiting = [told for told, _ in chain.from_iterable(self._waiting.values())]
        return waiting if self._begun is None else [self._begun, *waiting]

    async def _go(self) -> None:
        owed = 0.0
        try:
            while self._waiting:
                whose, theirs = next(iter(self._waiting.items()))
                # Behind all others, if there is more of theirs.
                del self._waiting[whose]
                told, work = theirs.popleft()
                if theirs:
                    self._waiting[whose] = theirs
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


# So many that waited are begun when somebody has read. Not each of them finds room.
BEGUN_AGAIN: Final = 8


class Unread:
    """Bytes of answers that nobody has read yet. On a connection that has any no other request is begun, and none of an
    address that has its share of all: to read what was asked for is all that it takes to go on."""

    def __init__(self, most: int, rounds: Rounds) -> None:
        self._shares, self._rounds = Shares(most), rounds
        self._held: dict[object, tuple[str, int]] = {}
        self._waiting: dict[str, dict[object, Callable[[], object]]] = {}

    def begin(self, connection: object, whose: str, start: Callable[[], object]) -> None:
        if connection in self._held or self._shares.has_all(whose):
            self._waiting.setdefault(whose, {})[connection] = start
        else:
            start()

    def hold(self, connection: object, whose: str, size: int) -> None:
        """So much was not taken at once."""
        self.read(connection)
        self._held[connection] = whose, size
        self._shares.hold(whose, size)

    def read(self, connection: object) -> None:
        """It is all sent, or nobody is there any more."""
        if (held := self._held.pop(connection, None)) is not None:
            self._shares.give(*held)
            waiting = self._waiting.get(held[0], {})
            self._again(held[0], [connection] if connection in waiting else [*islice(waiting, BEGUN_AGAIN)])

    def gone(self, connection: object, whose: str) -> None:
        """The connection is closed."""
        if whose in self._waiting:
            self._waiting[whose].pop(connection, None)
        self.read(connection)

    def look(self) -> None:
        """Begin what waited for room that there is now."""
        for whose in [one for one in self._waiting if not self._shares.has_all(one)]:
            self._again(whose, [*self._waiting[whose]])

    def _again(self, whose: str, connections: Iterable[object]) -> None:
        waiting = self._waiting.get(whose, {})
        for one in connections:
            self._rounds.add(whose, partial(self.begin, one, whose, waiting.pop(one)))
        if not waiting:
            self._waiting.pop(whose, None)


# Whoever has one address of IPv6 has 2 ** 64 of them.
NETWORK_BITS: Final = 64


@lru_cache(maxsize=4096)
def address_of(told: str) -> IPv4Address | IPv6Address | None:
    """The same however it is written: one of IPv4 that came to a socket of both kinds, too."""
    try:
        found = ip_address(told.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


@lru_cache(maxsize=4096)
def whose(told: str) -> str:
    """Under what name an address counts: its network where that is IPv6."""
    found = address_of(told)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, NETWORK_BITS), strict=False).network_address)
    return str(found or told)


def asker(scope: Scope) -> str:
    """Under what name the address of a request counts."""
    return whose(scope["client"][0] if scope["client"] else "")
