"""What a fault met: the purchases that were under way while it lasted, and until the shop was back. What met none
proved nothing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from typing import Final

from loadgen.drill.faults import BROKER, NETWORK, Happened
from loadgen.load.meter import Meter, Purchase

# Whom a fault is done to: RabbitMQ takes seconds to be back, a service half of one.
WHO: Final = {BROKER: "RabbitMQ", NETWORK: NETWORK}


@dataclass(frozen=True, slots=True)
class Met:
    """A fault, and how many purchases it met: under way (due, which is when they are POSTed, and not at their end) at
    any instant from its beginning until the shop was back.

    The shop is back (`back`, an instant of `clock.py`) at the end of the first sale that was accepted after the fault
    was over; of several that were, of the one that ended first. Where the mix has nothing left to sell, any purchase's
    end will do. None: there was none, and the fault counts until the end of the drill.
    """

    happened: Happened
    back: float | None
    purchases: int

    @property
    def who(self) -> str:
        return WHO.get(self.happened.fault.victim, "services")

    @property
    def kind(self) -> str:
        return f"{self.happened.fault.kind} {self.who}"

    @property
    def seconds(self) -> float | None:
        """From the fault's beginning until the shop was back."""
        return None if self.back is None else self.back - self.happened.began


@dataclass(frozen=True, slots=True)
class Exposed:
    """How many faults there were, and how many purchases met at least one of them: each purchase is counted once."""

    faults: int
    purchases: int


def meetings(faults: Sequence[Happened], meter: Meter, *, by_sales: bool = True) -> list[Met]:
    """What each fault met. What did not happen met nothing, and is left out."""
    happened = [fault for fault in faults if not fault.trouble]
    over = [fault.over for fault in happened]
    backs = meter.recoveries(over) if by_sales else meter.next_ends(over)
    due = sorted(purchase.due for purchase in meter.purchases.values())
    ended = sorted(purchase.ended for purchase in meter.purchases.values() if purchase.ended is not None)
    return [
        Met(fault, back, bisect_right(due, inf if back is None else back) - bisect_left(ended, fault.began))
        for fault, back in zip(happened, backs, strict=True)
    ]


def exposed(met: Sequence[Met], meter: Meter) -> Exposed:
    """By all of these faults together."""
    spans = _joined([(one.happened.began, inf if one.back is None else one.back) for one in met])
    starts = [start for start, _ in spans]
    count = sum(_touches(purchase, spans, starts) for purchase in meter.purchases.values())
    return Exposed(len(met), count)


def by_kind(met: Sequence[Met], meter: Meter) -> dict[str, Exposed]:
    """The same of each kind of fault, services and RabbitMQ apart."""
    ordered = sorted(met, key=lambda one: one.kind)
    return {kind: exposed(list(found), meter) for kind, found in groupby(ordered, key=lambda one: one.kind)}


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same instants, as spans that do not overlap, in their order."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def _touches(purchase: Purchase, spans: Sequence[tuple[float, float]], starts: Sequence[float]) -> bool:
    # The last span that began before the purchase ended has the latest end of all that did.
    place = bisect_right(starts, inf if purchase.ended is None else purchase.ended) - 1
    return place >= 0 and spans[place][1] >= purchase.due
