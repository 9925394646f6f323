"""A load second by second. A request belongs to the second in which it was due, whenever it was answered."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loadgen.load.latency import quantiles

if TYPE_CHECKING:
    from loadgen.load.meter import Meter


@dataclass(frozen=True, slots=True)
class Point:
    """The second that begins at `at_seconds` of the load. Latencies are (median, 99th percentile) in seconds, or None.

    `arrived` are the requests that were due in it; of these `accepted` were accepted at last, `finished` had an end
    that was seen; `unanswered` is how often they were sent in vain: no answer, or 503. `ended` are the purchases whose
    end came in this second, whenever they were due. `backlog` at its end: due, and not at their end.
    """

    at_seconds: int
    arrived: int
    accepted: int
    finished: int
    unanswered: int
    ended: int
    backlog: int
    accept: tuple[float, float] | None
    end: tuple[float, float] | None


@dataclass(slots=True)
class _Second:
    arrived: int = 0
    unanswered: int = 0
    ended: int = 0
    accept: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)


def points(meter: Meter) -> list[Point]:
    """From the first request's second to the last one in which something was due or came to its end."""
    if meter.started is None:
        return []
    start = meter.started
    seconds: dict[int, _Second] = {}
    for request in meter.requests:
        second = seconds.setdefault(_second(request.due, start), _Second())
        second.arrived += 1
        second.unanswered += request.unanswered
        if request.purchase is not None and request.done is not None:
            second.accept.append(request.done - request.due)
            if (end := meter.end_of(request)) is not None:
                second.end.append(end - request.due)
    for one in meter.purchases().values():
        if one.end is not None:
            seconds.setdefault(_second(one.end, start), _Second()).ended += 1
    depth = backlog(meter)
    return [
        Point(
            at_seconds=at,
            arrived=found.arrived,
            accepted=len(found.accept),
            finished=len(found.end),
            unanswered=found.unanswered,
            ended=found.ended,
            backlog=depth.at(start + at + 1),
            accept=_two(found.accept) if meter.claims else None,
            end=_two(found.end) if meter.claims else None,
        )
        for at in range(max(seconds) + 1)
        for found in [seconds.get(at, _Second())]
    ]


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many requests are due, and not at their end: since these instants, in order, this many."""

    instants: Sequence[float]
    depths: Sequence[int]

    @property
    def peak(self) -> int:
        return max(self.depths, default=0)

    def at(self, instant: float) -> int:
        place = bisect_right(self.instants, instant)
        return self.depths[place - 1] if place else 0


def backlog(meter: Meter) -> Backlog:
    changes = [(request.due, 1) for request in meter.requests]
    changes += [(over, -1) for request in meter.requests if (over := meter.over_at(request)) is not None]
    # Who comes in the instant in which another one leaves finds them still there.
    changes.sort(key=lambda change: (change[0], -change[1]))
    depths, depth = [], 0
    for _, step in changes:
        depth += step
        depths.append(depth)
    return Backlog([instant for instant, _ in changes], depths)


def _second(instant: float, start: float) -> int:
    # A due instant is a sum of floats: 2.9999999 is the third second's beginning.
    return max(0, int(instant - start + 1e-6))


def _two(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    found = quantiles(values)
    return found["p50"], found["p99"]
