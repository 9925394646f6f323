"""A load second by second. What a request took belongs to the second in which it was due."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate

from loadgen.load.latency import quantile


@dataclass(frozen=True, slots=True)
class Point:
    """One second of a load, from `at_seconds` on. Latencies are those of the requests that were due in it, in seconds:
    (median, 99th percentile), None if there are none or none is claimed. Counted are those due in it (`arrived`), and
    the answers and ends that came in it. `backlog` is that of its end."""

    at_seconds: int
    arrived: int
    accepted: int
    finished: int
    unanswered: int
    backlog: int
    accept: tuple[float, float] | None
    end: tuple[float, float] | None


def _instants() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Instants:
    """When what happened, by `clock.py`: one number for each request, answer, or end.

    `done`: requests that were answered for good, or whose purchase ended. `finished`: purchases that ended.
    """

    due: array[float] = field(default_factory=_instants)
    accepted: array[float] = field(default_factory=_instants)
    unanswered: array[float] = field(default_factory=_instants)
    finished: array[float] = field(default_factory=_instants)
    done: array[float] = field(default_factory=_instants)
    # Pairs: the instant at which a request was due, and the seconds that it took to be accepted, or to its end.
    accept_by_due: array[float] = field(default_factory=_instants)
    end_by_due: array[float] = field(default_factory=_instants)

    def add(self, other: Instants) -> None:
        for one in fields(self):
            getattr(self, one.name).extend(getattr(other, one.name))

    @property
    def backlog_peak(self) -> int:
        """The most requests that were due and not done."""
        steps = sorted([(due, -1) for due in self.due] + [(done, 1) for done in self.done])
        return max(accumulate(-step for _, step in steps), default=0)

    def points(self, *, claims: bool) -> list[Point]:
        """Each second from the first request to the last of all that happened. No latencies unless one `claims` them.

        Requests that were due before the second began are in its backlog, those that are due at its end are not.
        """
        if not self.due:
            return []
        start = min(self.due)
        last = max(max(instants, default=start) for instants in (self.due, self.done, self.finished, self.unanswered))
        arrived, accepted, finished, unanswered = (
            Counter(_second(instant, start) for instant in instants)
            for instants in (self.due, self.accepted, self.finished, self.unanswered)
        )
        accept, end = (_by_second(pairs, start) if claims else {} for pairs in (self.accept_by_due, self.end_by_due))
        due, done = sorted(self.due), sorted(self.done)
        return [
            Point(
                at,
                arrived[at],
                accepted[at],
                finished[at],
                unanswered[at],
                bisect_left(due, start + at + 1) - bisect_left(done, start + at + 1),
                accept.get(at),
                end.get(at),
            )
            for at in range(_second(last, start) + 1)
        ]

    def latest(self, now: float) -> tuple[int, float | None]:
        """Of the last second: requests that were due, and the 99th percentile of those accepted, if any was."""
        took = sorted(self.accept_by_due[2 * bisect_right(self.accepted, now - 1) + 1 :: 2])
        return len(self.due) - bisect_right(self.due, now - 1), quantile(took, 99) if took else None


def _second(instant: float, start: float) -> int:
    # An instant is a sum of floats: 2.9999999 is the beginning of the third second. The shop's clock may be behind.
    return max(0, int(instant - start + 1e-6))


def _by_second(pairs: Sequence[float], start: float) -> dict[int, tuple[float, float]]:
    """Median and 99th percentile of the seconds that the requests of each second took."""
    seconds: dict[int, list[float]] = {}
    for due, took in zip(pairs[::2], pairs[1::2], strict=True):
        seconds.setdefault(_second(due, start), []).append(took)
    for found in seconds.values():
        found.sort()
    return {at: (quantile(found, 50), quantile(found, 99)) for at, found in seconds.items()}
