"""Fair shares without a login: of what there is only so much of, one address never takes all."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import chain, islice
from typing import Final, Generic, TypeVar

from starlette.types import Scope

Done = TypeVar("Done")
Item = TypeVar("Item")
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


class FairQueue(Generic[Item]):
    """What waits, each address in its turn (fair queueing). Whoever has a thousand in it waits for them; who has one
    waits for no more than one of everybody's."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Item]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self._waiting.values())

    def __contains__(self, whose: str) -> bool:
        return whose in self._waiting

    @property
    def addresses(self) -> list[str]:
        """In their turn."""
        return [*self._waiting]

    def add(self, whose: str, item: Item) -> None:
        self._waiting.setdefault(whose, deque()).append(item)

    def next(self, whose: str | None = None) -> tuple[str, Item]:
        """Of whose turn it is, or of this address, the first; with more of theirs it is behind all others now."""
        whose = next(iter(self._waiting)) if whose is None else whose
        theirs = self._waiting.pop(whose)
        item = theirs.popleft()
        if theirs:
            self._waiting[whose] = theirs
        return whose, item

    def remove(self, whose: str, item: Item) -> None:
        """If it is in there."""
        if (theirs := self._waiting.get(whose)) and item in theirs:
            theirs.remove(item)
            if not theirs:
                del self._waiting[whose]


# Requests that are begun in one turn of the loop: of whoever is alone; and if others asked in the last second.
AT_ONCE: Final = 16
A_FEW: Final = 2
OTHERS_SECONDS: Final = 1.0


class Rounds:
    """Whose request is begun next: a few in one turn of the loop."""

    def __init__(self) -> None:
        self._waiting: FairQueue[Callable[[], object]] = FairQueue()
        self._going = False
        self._last, self._alone_at = "", 0.0

    def add(self, whose: str, begin: Callable[[], object]) -> None:
        if whose != self._last:
            self._last, self._alone_at = whose, time.monotonic() + OTHERS_SECONDS
        self._waiting.add(whose, begin)
        if not self._going:
            self._going = True
            asyncio.get_running_loop().call_soon(self._go)

    def _go(self) -> None:
        for _ in range(AT_ONCE if time.monotonic() > self._alone_at else A_FEW):
            if not self._waiting:
                break
            _, begin = self._waiting.next()
            begin()
        self._going = bool(self._waiting)
        if self._going:
            asyncio.get_running_loop().call_soon(self._go)


# No longer than this does anybody wait who asked for something else, however long a piece of work took.
MAX_REST_SECONDS: Final = 0.05


async def rest(times: float, began: float) -> None:
    """The loop is for others so many times as long as what `began` then (perf_counter) has taken."""
    await asyncio.sleep(min(times * (time.perf_counter() - began), MAX_REST_SECONDS))


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
