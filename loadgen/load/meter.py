"""What a load measures. Latency counts from the instant at which a request was due, so that an outage cannot hide; and
the client measures itself, as what it is too slow for would look like the shop's latency.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec

from loadgen.load.latency import Latency, spread
from loadgen.load.points import backlog, points

# Past one of these the client was too slow, and latencies would be its own: this share of the rate not reached, or
# this late with one request in a hundred.
MISSED_RATE: Final = 0.05
LATE_SECONDS: Final = 0.05


class Request(msgspec.Struct, gc=False):
    """One request of a load. Instants are those of the load's clock; millions of these are no work for the collector.

    `sent`: its first try. `unanswered`: tries that had no answer, or a 503. `done`: accepted, rejected or given up.
    `purchase`: the id, once it is accepted.
    """

    due: float
    sent: float | None = None
    unanswered: int = 0
    done: float | None = None
    purchase: str | None = None


class Purchase(NamedTuple):
    """One purchase of a load, whichever of its requests came first: POSTed, accepted (answered), and at its end."""

    posted: float
    accepted: float
    end: float | None
    sold: bool


class Report(msgspec.Struct):
    """What a meter knows when all its requests are answered, for the meter of another process."""

    requests: list[Request]
    rejected: int
    strange: int
    abandoned: int
    out_of_descriptors: int
    statuses: list[tuple[int | None, int]]
    wrong: list[str]
    accept: bytes
    lag: bytes


class Meter:
    """Counts one load: its own requests and purchases, whatever else happens in the shop."""

    def __init__(self) -> None:
        # Requests a second that were asked for; None: no load has begun.
        self.rate: float | None = None
        self.requests: list[Request] = []
        self.accepted = 0
        self.sold = 0
        self.refused = 0
        # Requests that were answered with an error of their own: right for bad ones and for keys with another body.
        self.rejected = 0
        # Accepted with an answer that nobody can read: see `wrong`.
        self.strange = 0
        # Given up after all patience: asked again and again, and never accepted.
        self.abandoned = 0
        # Tries for which the client had no descriptor left. They never left it.
        self.out_of_descriptors = 0
        # Answers, also to requests that were sent again. None: no answer came.
        self.statuses: Counter[int | None] = Counter()
        # What should never be: bad input accepted, or an error that is the shop's own.
        self.wrong: list[str] = []
        self.accept = Latency()
        self.end = Latency()
        # How late each request was sent, against the instant at which it was due.
        self.lag = Latency()
        # Of each purchase of this load, its requests.
        self._ours: dict[str, list[Request]] = {}
        # Ends, of other loads' purchases, too: one may be seen before the answer to its request. When, and whether
        # sold.
        self._ended: dict[str, tuple[float, bool]] = {}
        self._unended = 0

    @property
    def arrived(self) -> int:
        return len(self.requests)

    @property
    def bought(self) -> int:
        """Purchases that were accepted. A key that was sent twice is one."""
        return len(self._ours)

    @property
    def unfinished(self) -> int:
        """Purchases that were accepted and whose end was not seen."""
        return self._unended

    @property
    def backlog(self) -> int:
        """Requests that are due and have not reached their end: unanswered, or accepted and on their way."""
        return sum(self.over_at(request) is None for request in self.requests)

    @property
    def started(self) -> float | None:
        """When the first request was due."""
        return min((request.due for request in self.requests), default=None)

    def arrives(self, due: float) -> Request:
        """A request is due."""
        request = Request(due)
        self.requests.append(request)
        return request

    def sends(self, request: Request, now: float) -> None:
        """A request is on its way; sent again, it changes nothing."""
        if request.sent is None:
            request.sent = now
            self.lag.record(now - request.due)

    def fails(self, request: Request, status: int | None) -> None:
        """A try had no answer, or a 503."""
        request.unanswered += 1
        self.statuses[status] += 1

    def rejects(self, request: Request, now: float) -> None:
        """A request was answered with an error of its own."""
        self.rejected += 1
        request.done = now

    def puzzles(self, request: Request, now: float) -> None:
        """A request was accepted, and nobody can tell which purchase it is."""
        self.strange += 1
        request.done = now

    def abandons(self, request: Request, now: float) -> None:
        """Nobody accepted a request, however often it was sent."""
        self.abandoned += 1
        request.done = now

    def accepts(self, request: Request, purchase: str, now: float) -> None:
        """A request is answered: it is this purchase."""
        request.done, request.purchase = now, purchase
        self.accept.record(now - request.due)
        self._joins(request, purchase)

    def ends(self, purchase: str, now: float, *, sold: bool) -> None:
        """A purchase has reached its end. Told again it changes nothing."""
        if purchase in self._ended:
            return
        self._ended[purchase] = now, sold
        if purchase in self._ours:
            self._unended -= 1
            self._counts(sold)
            for request in self._ours[purchase]:
                self.end.record(now - request.due)

    def is_ours(self, purchase: str) -> bool:
        return purchase in self._ours

    def end_of(self, request: Request) -> float | None:
        """When the purchase of an accepted request was at its end, for who waited for both; None: not seen."""
        if request.purchase is None or request.done is None or request.purchase not in self._ended:
            return None
        return max(request.done, self._ended[request.purchase][0])

    def over_at(self, request: Request) -> float | None:
        """When nothing more was to come of a request; None: not yet."""
        return request.done if request.purchase is None else self.end_of(request)

    def report(self) -> Report:
        return Report(
            requests=self.requests,
            rejected=self.rejected,
            strange=self.strange,
            abandoned=self.abandoned,
            out_of_descriptors=self.out_of_descriptors,
            statuses=list(self.statuses.items()),
            wrong=self.wrong,
            accept=self.accept.encoded(),
            lag=self.lag.encoded(),
        )

    def merge(self, report: Report) -> None:
        """What another process of the same load measured counts here, too. Ends are seen here, for all."""
        self.requests += report.requests
        self.rejected += report.rejected
        self.strange += report.strange
        self.abandoned += report.abandoned
        self.out_of_descriptors += report.out_of_descriptors
        self.statuses.update(dict(report.statuses))
        self.wrong += report.wrong
        self.accept.add(report.accept)
        self.lag.add(report.lag)
        for request in report.requests:
            if request.purchase is not None:
                self._joins(request, request.purchase)

    def purchases(self) -> dict[str, Purchase]:
        """Those of this load, by id."""
        found = {}
        for purchase, requests in self._ours.items():
            posted = min(request.due if request.sent is None else request.sent for request in requests)
            accepted = min(request.done for request in requests if request.done is not None)
            end, sold = self._ended.get(purchase, (None, False))
            found[purchase] = Purchase(posted, accepted, end, sold)
        return found

    @property
    def reached_rate(self) -> float:
        """Requests a second that were really sent, from the first that was due to the last that was sent."""
        sent = [request.sent for request in self.requests if request.sent is not None]
        if self.started is None or self.rate is None or not sent:
            return 0.0
        return len(sent) / (max(sent) - self.started + 1 / self.rate)

    @property
    def too_slow(self) -> str | None:
        """Why this client was too slow for what was asked of it; None: it was not."""
        if self.rate is None or not self.requests:
            return None
        if self.reached_rate < (1 - MISSED_RATE) * self.rate:
            return f"the client was too slow: {self.reached_rate:,.0f} requests a second of {self.rate:,g}"
        if self.lag.at(99) > LATE_SECONDS:
            return f"the client was too slow: one request in 100 was sent {self.lag.at(99) * 1000:,.0f} ms late, or more"
        return None

    @property
    def limits(self) -> list[str]:
        """What the client was not able to do. With any of them, no latency is claimed."""
        found = [] if self.too_slow is None else [self.too_slow]
        if self.out_of_descriptors:
            found.append(
                f"the client ran out of descriptors, {self.out_of_descriptors:,} times: raise `ulimit -n`, lower the "
                "rate, or spread the load with --workers"
            )
        return found

    @property
    def claims(self) -> bool:
        """Whether what was measured is the shop's."""
        return not self.limits

    @property
    def accept_seconds(self) -> dict[str, float] | None:
        """From due to 202; None: not claimed."""
        return self.accept.summary() if self.claims else None

    @property
    def end_seconds(self) -> dict[str, float] | None:
        """From due to the end; None: not claimed."""
        return self.end.summary() if self.claims else None

    @property
    def longest_pause_seconds(self) -> float | None:
        """The longest time from the end of one sale to the end of the next; None with fewer than two."""
        ends = sorted(end for _, _, end, sold in self.purchases().values() if end is not None and sold)
        return max((after - before for before, after in pairwise(ends)), default=None)

    @property
    def drain_seconds(self) -> float:
        """From the last request to the last end."""
        last_end = max((end for _, _, end, _ in self.purchases().values() if end is not None), default=0.0)
        return max(0.0, last_end - max((request.due for request in self.requests), default=0.0))

    def client_row(self) -> str:
        """What the client says of itself."""
        rate = f"{self.reached_rate:,.4g} requests a second of {self.rate or 0:,g}"
        return f"{rate}, sent late by {spread(self.lag.summary())}"

    def as_json(self) -> dict[str, Any]:
        pause = self.longest_pause_seconds if self.claims else None
        return {
            "arrived": self.arrived,
            "accepted": self.accepted,
            "purchases": self.bought,
            "sold": self.sold,
            "refused": self.refused,
            "rejected": self.rejected,
            "strange": self.strange,
            "abandoned": self.abandoned,
            "unfinished": self.unfinished,
            "statuses": {str(status or "no answer"): count for status, count in self.statuses.items()},
            "wrong": self.wrong,
            "rate": self.rate,
            "reachedRate": round(self.reached_rate, 3),
            "lagSeconds": self.lag.summary(),
            "outOfDescriptors": self.out_of_descriptors,
            "tooSlow": self.too_slow,
            "claims": self.claims,
            "backlogPeak": backlog(self).peak,
            "longestPauseSeconds": pause,
            "drainSeconds": round(self.drain_seconds, 3),
            "acceptSeconds": self.accept_seconds,
            "endSeconds": self.end_seconds,
            "seconds": [asdict(point) for point in points(self)],
        }

    def _joins(self, request: Request, purchase: str) -> None:
        self.accepted += 1
        if purchase not in self._ours:
            self._ours[purchase] = []
            if purchase in self._ended:
                self._counts(self._ended[purchase][1])
            else:
                self._unended += 1
        self._ours[purchase].append(request)
        if (end := self.end_of(request)) is not None:
            self.end.record(end - request.due)

    def _counts(self, sold: bool) -> None:
        if sold:
            self.sold += 1
        else:
            self.refused += 1
