"""What a load measures. Latency counts from the instant at which a request was due, so that an outage cannot hide, and
is claimed only if the client itself kept up."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

from loadgen.load.client import NOT_YET
from loadgen.load.latency import Latency
from loadgen.load.points import Instants, Point
from ops.i18n import Text

# A client that reaches less than this part of its rate, or sends later than this (p99) than it should, measures itself.
LEAST_OF_RATE: Final = 0.95
LAG_SECONDS: Final = 0.05
# In a load that is shorter, a lag that is well alone makes so much of the rate: there only the lag counts.
JUDGED_SECONDS: Final = 1.0


@dataclass(slots=True)
class Purchase:
    """One purchase of this load, and the instants at which its first request was due, was accepted, and ended."""

    due: float
    accepted: float
    ended: float | None = None
    sold: bool = False


class Meter:
    """Counts one load, or the part of one process in it. Instants are those of `clock.py`."""

    def __init__(self) -> None:
        self.asked_rate: float | None = None
        self.sold = 0
        self.refused = 0
        # Requests that were answered with an error of their own: right for bad ones and for keys with another body.
        self.rejected = 0
        # Given up after all patience: asked again and again, and never accepted.
        self.abandoned = 0
        # Accepted, with an answer by which nobody can find the purchase.
        self.strange = 0
        # Answers, also to requests that were sent again. None: no answer came.
        self.statuses: Counter[int | None] = Counter()
        # What should never be: bad input accepted, or an error that is the shop's own.
        self.wrong: list[str] = []
        # What the client, not the shop, ran out of, and how often.
        self.ran_out: Counter[str] = Counter()
        self.accept = Latency()
        self.end = Latency()
        self.lag = Latency()
        self.purchases: dict[str, Purchase] = {}
        # How far the load's other processes are, until their meters are added.
        self.elsewhere: dict[int, Any] = {}
        self.started: float | None = None
        self.sent_count = 0
        self.last_sent = 0.0
        self._waiting: dict[str, list[tuple[float, float]]] = {}
        # All ends that were seen, also of purchases that are not of this load, or not yet.
        self._ended: dict[str, tuple[float, bool]] = {}
        self._at = Instants()

    @property
    def arrived(self) -> int:
        return len(self._at.due)

    @property
    def accepted(self) -> int:
        """Requests, not purchases."""
        return len(self._at.accepted)

    @property
    def unfinished(self) -> int:
        """Purchases that were accepted and whose end was not seen."""
        return len(self._waiting)

    @property
    def backlog(self) -> int:
        """Requests that are due and have not reached their end: unanswered, or accepted and on their way."""
        return len(self._at.due) - len(self._at.done)

    @property
    def backlog_peak(self) -> int:
        return self._at.backlog_peak

    def arrives(self, due: float) -> None:
        """A request is due."""
        self.started = due if self.started is None else min(due, self.started)
        self._at.due.append(due)

    def sends(self, due: float, now: float) -> None:
        """A request that was due then is sent for the first time."""
        self.sent_count += 1
        self.last_sent = max(self.last_sent, now)
        self.lag.record(now - due)

    def answers(self, status: int | None, now: float) -> None:
        """Something, or nothing (None), came back."""
        self.statuses[status] += 1
        if status in NOT_YET:
            self._at.unanswered.append(now)

    def rejects(self, now: float) -> None:
        """A request was answered with an error of its own."""
        self.rejected += 1
        self._at.done.append(now)

    def abandons(self, now: float) -> None:
        """Nobody accepted a request, however often it was sent."""
        self.abandoned += 1
        self._at.done.append(now)

    def loses_sight(self, now: float) -> None:
        """A request was accepted, and nobody can tell which purchase it is."""
        self.strange += 1
        self._at.done.append(now)

    def accepts(self, about: str, due: float, now: float) -> None:
        """A request that was due then is now answered: it is this purchase."""
        self.accept.record(now - due)
        self._at.accepted.append(now)
        self._at.accept_by_due.extend((due, now - due))
        self._joins(about, due, now)

    def _joins(self, about: str, due: float, accepted: float) -> None:
        purchase = self.purchases.setdefault(about, Purchase(due, accepted))
        purchase.due, purchase.accepted = min(purchase.due, due), min(purchase.accepted, accepted)
        self._waiting.setdefault(about, []).append((due, accepted))
        if about in self._ended:
            self._closes(about)

    def ends(self, about: str, now: float, *, sold: bool) -> None:
        """A purchase, perhaps of this load, has reached its end. Told again it changes nothing."""
        if about not in self._ended:
            self._ended[about] = now, sold
            if about in self._waiting:
                self._closes(about)

    def _closes(self, about: str) -> None:
        ended, sold = self._ended[about]
        purchase = self.purchases[about]
        if purchase.ended is None:
            purchase.ended, purchase.sold = ended, sold
            self._at.finished.append(ended)
            self.sold += sold
            self.refused += not sold
        for due, accepted in self._waiting.pop(about):
            done = max(accepted, ended)
            self._at.done.append(done)
            self.end.record(done - due)
            self._at.end_by_due.extend((due, done - due))

    def add(self, other: Meter) -> None:
        """What another process of the same load has counted. The ends are followed by one meter: this one."""
        if other._ended:
            raise ValueError("ends were followed twice")
        self.rejected += other.rejected
        self.abandoned += other.abandoned
        self.strange += other.strange
        self.sent_count += other.sent_count
        self.last_sent = max(self.last_sent, other.last_sent)
        self.statuses += other.statuses
        self.ran_out += other.ran_out
        self.wrong += other.wrong
        self.accept.add(other.accept)
        self.lag.add(other.lag)
        self._at.add(other._at)
        if other.started is not None:
            self.started = other.started if self.started is None else min(self.started, other.started)
        for about, requests in other._waiting.items():
            for due, accepted in requests:
                self._joins(about, due, accepted)

    @property
    def rate(self) -> float | None:
        """Requests a second that were sent, by the time in which they were; None: none was, or no rate was asked."""
        if not self.sent_count or not self.asked_rate or self.started is None:
            return None
        return self.sent_count / (self.last_sent - self.started + 1 / self.asked_rate)

    @property
    def limits(self) -> Sequence[str]:
        """Why no latency is claimed: it would be the client's own. Nothing when the client kept up."""
        found = [Text("{what} ({count:,} times)", what, count) for what, count in self.ran_out.items()]
        rate, asked = self.rate, self.asked_rate or 0.0  # Where none was asked there is none.
        if rate is not None and self.sent_count / asked >= JUDGED_SECONDS and rate < LEAST_OF_RATE * asked:
            says = "the client was too slow: it reached {rate:,.1f} of {asked:,.1f} requests a second"
            found.append(Text(says, rate, asked))
        if (lag := self.lag.at(99)) > LAG_SECONDS:
            found.append(Text("the client was too slow: it sent {ms:,.0f} ms (p99) later than it should", lag * 1000))
        return found

    @property
    def points(self) -> list[Point]:
        """Each second from the first request to the last end."""
        return self._at.points(claims=not self.limits)

    def latest(self, now: float) -> tuple[int, float | None]:
        """See Instants."""
        return self._at.latest(now)

    def recoveries(self, instants: Sequence[float], *, by_sales: bool = True) -> list[Purchase | None]:
        """For each of these, the first sale that was accepted after it: of all of them, the one that ended first. None:
        there is none. Not `by_sales`: any purchase, sold or refused."""
        ended = (one for one in self.purchases.values() if one.ended is not None and (one.sold or not by_sales))
        found = sorted(ended, key=lambda one: one.accepted)
        first: list[Purchase] = list(accumulate(reversed(found), _sooner))[::-1]
        starts = [one.accepted for one in found]
        places = [bisect_left(starts, instant) for instant in instants]
        return [first[place] if place < len(first) else None for place in places]

    @property
    def longest_pause_seconds(self) -> float | None:
        """The longest time from the end of one sale to the end of the next; None with fewer than two."""
        ends = sorted(one.ended for one in self.purchases.values() if one.sold and one.ended is not None)
        return max((after - before for before, after in pairwise(ends)), default=None)

    @property
    def drain_seconds(self) -> float:
        """From the last request to the last end."""
        return max(0.0, max(self._at.finished, default=0.0) - max(self._at.due, default=0.0))

    def as_json(self) -> dict[str, Any]:
        limits = self.limits
        return {
            "arrived": self.arrived,
            "accepted": self.accepted,
            "purchases": len(self.purchases),
            "sold": self.sold,
            "refused": self.refused,
            "rejected": self.rejected,
            "abandoned": self.abandoned,
            "strange": self.strange,
            "unfinished": self.unfinished,
            "statuses": {str(status or "no answer"): count for status, count in self.statuses.items()},
            "wrong": self.wrong,
            "client": {
                "askedRate": self.asked_rate,
                "rate": self.rate,
                "lagSeconds": self.lag.summary(),
                "limits": limits,
            },
            "backlogPeak": self.backlog_peak,
            "longestPauseSeconds": None if limits else self.longest_pause_seconds,
            "drainSeconds": None if limits else round(self.drain_seconds, 3),
            "acceptSeconds": None if limits else self.accept.summary(),
            "endSeconds": None if limits else self.end.summary(),
            "seconds": [asdict(point) for point in self.points],
        }


def _sooner(one: Purchase, other: Purchase) -> Purchase:
    """Of two that ended, the one that did so first."""
    return other if (other.ended or 0) < (one.ended or 0) else one
