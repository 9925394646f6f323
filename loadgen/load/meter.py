"""What a load measures. Latency counts from the instant at which a request was due, so that an outage cannot hide."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

from hdrh.histogram import HdrHistogram

# A microsecond to ten minutes, to two digits.
LONGEST_MICROSECONDS: Final = 600_000_000
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)


class Latency:
    """A histogram of seconds, and one of what came since the last `recent`."""

    def __init__(self) -> None:
        self._all = HdrHistogram(1, LONGEST_MICROSECONDS, 2)
        self._recent = HdrHistogram(1, LONGEST_MICROSECONDS, 2)

    def record(self, seconds: float) -> None:
        microseconds = min(max(1, round(seconds * 1e6)), LONGEST_MICROSECONDS)
        self._all.record_value(microseconds)
        self._recent.record_value(microseconds)

    def recent(self) -> tuple[float, float] | None:
        """Median and 99th percentile, in seconds, of what was recorded since the last call; None if nothing was."""
        if not self._recent.get_total_count():
            return None
        found = (self._recent.get_value_at_percentile(50) / 1e6, self._recent.get_value_at_percentile(99) / 1e6)
        self._recent.reset()
        return found

    def summary(self) -> dict[str, float]:
        """Seconds at PERCENTILES and the longest; nothing when nothing was recorded."""
        if not self._all.get_total_count():
            return {}
        found = {f"p{p:g}": self._all.get_value_at_percentile(p) / 1e6 for p in PERCENTILES}
        return {**found, "max": self._all.get_max_value() / 1e6}


@dataclass(frozen=True, slots=True)
class Point:
    """One second of a load. Rates are per second, latencies in seconds: (median, 99th percentile) or None."""

    at_seconds: float
    arrived: int
    accepted: int
    finished: int
    unanswered: int
    backlog: int
    accept: tuple[float, float] | None
    end: tuple[float, float] | None


class Meter:
    """Counts one load. Instants are those of `time.time()`."""

    def __init__(self) -> None:
        self.arrived = 0
        self.accepted = 0
        self.sold = 0
        self.refused = 0
        # Requests that were answered with an error of their own: right for bad ones and for keys with another body.
        self.rejected = 0
        # Given up after all patience: asked again and again, and never accepted.
        self.abandoned = 0
        # Answers, also to requests that were sent again. None: no answer came.
        self.statuses: Counter[int | None] = Counter()
        # What should never be: bad input accepted, or an error that is the shop's own.
        self.wrong: list[str] = []
        self.accept = Latency()
        self.end = Latency()
        self.points: list[Point] = []
        # Requests that are due and have not reached their end: unanswered, or accepted and on their way.
        self.backlog = 0
        self.backlog_peak = 0
        self.started: float | None = None
        self.last_arrival = 0.0
        self.last_end = 0.0
        self._waiting: dict[str, list[tuple[float, float]]] = {}
        # Ends that were seen before the answer to their request.
        self._ended: dict[str, float] = {}
        self._sales: list[tuple[float, float]] = []
        self._before = (0, 0, 0, 0)

    @property
    def unfinished(self) -> int:
        """Purchases that were accepted and whose end was not seen."""
        return len(self._waiting)

    def arrives(self, now: float) -> None:
        """A request is due."""
        if self.started is None:
            self.started = now
        self.arrived += 1
        self.last_arrival = now
        self.backlog += 1
        self.backlog_peak = max(self.backlog_peak, self.backlog)

    def rejects(self) -> None:
        """A request was answered with an error of its own."""
        self.rejected += 1
        self.backlog -= 1

    def abandons(self) -> None:
        """Nobody accepted a request, however often it was sent."""
        self.abandoned += 1
        self.backlog -= 1

    def accepts(self, about: str, due: float, now: float) -> None:
        """A request that was due then is now answered: it is this purchase."""
        self.accepted += 1
        self.accept.record(now - due)
        if about in self._ended:
            self.backlog -= 1
            self.end.record(max(now, self._ended[about]) - due)
        else:
            self._waiting.setdefault(about, []).append((due, now))

    def ends(self, about: str, now: float, *, sold: bool) -> None:
        """A purchase has reached its end. Told again it changes nothing."""
        if about in self._ended:
            return
        self._ended[about] = now
        self.last_end = max(self.last_end, now)
        if sold:
            self.sold += 1
        else:
            self.refused += 1
        for due, accepted in self._waiting.pop(about, ()):
            self.backlog -= 1
            self.end.record(now - due)
            if sold:
                self._sales.append((accepted, now))

    def second(self, now: float) -> Point:
        """Close a second: what came in it becomes a point."""
        counts = (self.arrived, self.accepted, self.sold + self.refused, self.statuses[None] + self.statuses[503])
        arrived, accepted, finished, unanswered = (new - old for new, old in zip(counts, self._before, strict=True))
        self._before = counts
        at = now - (self.started or now)
        latencies = self.accept.recent(), self.end.recent()
        point = Point(at, arrived, accepted, finished, unanswered, self.backlog, *latencies)
        self.points.append(point)
        return point

    def recoveries(self, kills: Sequence[float]) -> list[float | None]:
        """Seconds from each of these instants to the end of the first sale that was accepted after it."""
        sales = sorted(self._sales)
        best: deque[float] = deque()
        for _, end in reversed(sales):
            best.appendleft(min(end, best[0]) if best else end)
        ends = list(best)
        starts = [accepted for accepted, _ in sales]
        places = [bisect_left(starts, kill) for kill in kills]
        return [ends[place] - kill if place < len(ends) else None for place, kill in zip(places, kills, strict=True)]

    @property
    def longest_pause_seconds(self) -> float | None:
        """The longest time from the end of one sale to the end of the next; None with fewer than two."""
        ends = sorted(end for _, end in self._sales)
        return max((after - before for before, after in pairwise(ends)), default=None)

    @property
    def drain_seconds(self) -> float:
        """From the last request to the last end."""
        return max(0.0, self.last_end - self.last_arrival)

    def as_json(self) -> dict[str, Any]:
        return {
            "arrived": self.arrived,
            "accepted": self.accepted,
            "sold": self.sold,
            "refused": self.refused,
            "rejected": self.rejected,
            "abandoned": self.abandoned,
            "unfinished": self.unfinished,
            "statuses": {str(status or "no answer"): count for status, count in self.statuses.items()},
            "wrong": self.wrong,
            "backlogPeak": self.backlog_peak,
            "longestPauseSeconds": self.longest_pause_seconds,
            "drainSeconds": round(self.drain_seconds, 3),
            "acceptSeconds": self.accept.summary(),
            "endSeconds": self.end.summary(),
            "seconds": [asdict(point) for point in self.points],
        }
