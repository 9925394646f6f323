"""What a fault met: the purchases that were under way while it lasted, and until the shop was back. What met none
proved nothing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf

from loadgen.drill import faults
from loadgen.drill.faults import Happened
from loadgen.load.meter import Meter, Purchase
from ops.i18n import Text


@dataclass(frozen=True, slots=True)
class Met:
    """A fault, and how many purchases it met: under way (due, which is when they are POSTed, and not at their end) at
    any instant from its beginning until the shop was back.

    The shop is back at the end of the first sale that was accepted after the fault was over (`sale`; of all of these,
    the one that ended first). That sale is what shows it, and is not counted if it was due after the fault was over: it
    may have come long after. Where the mix has nothing left to sell, any purchase's end will do. None: there was none,
    and the fault counts until the end of the drill.
    """

    happened: Happened
    sale: Purchase | None
    purchases: int

    @property
    def back(self) -> float | None:
        """The instant at which the shop was back, by `clock.py`."""
        return None if self.sale is None else self.sale.ended

    @property
    def span(self) -> tuple[float, float]:
        return self.happened.began, inf if self.back is None else self.back

    def only_shows(self, purchase: Purchase) -> bool:
        """Whether this purchase shows that the shop is back, and met nothing of the fault."""
        return purchase is self.sale and purchase.due > self.happened.over

    @property
    def who(self) -> str:
        """RabbitMQ takes seconds to be back, a service half of one: they are counted apart."""
        match self.happened.fault.victim:
            case faults.BROKER:
                return "RabbitMQ"
            case faults.POSTGRES | faults.STANDBY:
                return "PostgreSQL"
            case faults.NETWORK:
                return Text("the network")
        return Text("services")

    @property
    def kind(self) -> tuple[str, str]:
        return self.happened.fault.kind, self.who

    @property
    def seconds(self) -> float | None:
        """From the fault's beginning until the shop was back."""
        return None if self.back is None else self.back - self.happened.began


@dataclass(frozen=True, slots=True)
class Exposed:
    """How many faults there were, and how many purchases met at least one of them: each purchase is counted once."""

    faults: int
    purchases: int


def meetings(happened: Sequence[Happened], meter: Meter, *, by_sales: bool = True) -> list[Met]:
    """What each fault met. What did not happen met nothing, and is left out."""
    happened = [fault for fault in happened if not fault.trouble]
    over = [fault.over for fault in happened]
    sales = meter.recoveries(over, by_sales=by_sales)
    due = sorted(purchase.due for purchase in meter.purchases.values())
    ended = sorted(purchase.ended for purchase in meter.purchases.values() if purchase.ended is not None)
    found = []
    for fault, sale in zip(happened, sales, strict=True):
        met = Met(fault, sale, 0)
        began, back = met.span
        count = bisect_right(due, back) - bisect_left(ended, began)
        found.append(replace(met, purchases=count - (sale is not None and met.only_shows(sale))))
    return found


def exposed(met: Sequence[Met], meter: Meter) -> Exposed:
    """By all of these faults together."""
    spans = _joined([one.span for one in met])
    starts = [start for start, _ in spans]
    shows = {id(one.sale) for one in met}
    count = sum(
        any(_meets(one, purchase) for one in met) if id(purchase) in shows else _touches(purchase, spans, starts)
        for purchase in meter.purchases.values()
    )
    return Exposed(len(met), count)


def _meets(one: Met, purchase: Purchase) -> bool:
    began, back = one.span
    under_way = purchase.due <= back and (purchase.ended is None or purchase.ended >= began)
    return under_way and not one.only_shows(purchase)


def by_kind(met: Sequence[Met], meter: Meter) -> dict[tuple[str, str], Exposed]:
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
