"""Fair shares without a login: of what there is only so much of, one address never takes all."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.types import Scope

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
        self.free -= 1
        self._held[whose] += 1
        return True

    def give(self, whose: str) -> None:
        """It is no longer needed."""
        self.free += 1
        self._held[whose] -= 1
        if not self._held[whose]:
            del self._held[whose]


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
