"""The figures of the bench, in the order of their table: what is measured, against what, and what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

from loadgen.bench.place import Sample


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `against`: what a ratio is taken to; without it the value itself is compared with the goal."""

    what: str
    unit: str
    goal: float
    against: str | None = None
    # Small is good: a latency, a cost.
    at_most: bool = False


FIGURES: Final[dict[str, Figure]] = {
    "relay": Figure("purchases, POST to `registrada`", "/s", 1.0, "raw relay on aiormq's public API"),
    "batched": Figure("the same", "/s", 0.6, "raw relay that batches its writes"),
    "door": Figure("`POST /compras`, in the journal when answered", "/s", 0.65, "bare front door"),
    "drain": Figure("draining transacciones, answers published", "/s", 0.9, "raw drain on aiormq's public API"),
    "drain-batched": Figure("the same", "/s", 0.9, "raw drain that batches its writes"),
    "faststream": Figure("purchases, POST to `registrada`", "/s", 3.0, "FastStream, same safety"),
    "p50": Figure("latency POST to `registrada` at a third of the top rate, p50", "ms", 20, at_most=True),
    "p99": Figure("the same, p99", "ms", 100, at_most=True),
    "p50-alone": Figure("p50 at a third of the top rate", "ms", 2.5, "p50 of purchases that come alone", at_most=True),
    "p99-alone": Figure("p99 at a third of the top rate", "ms", 6, "p50 of purchases that come alone", at_most=True),
    "get": Figure("`GET /tokens`, 1,000 tokens", "/s", 0.8, "route that returns ready bytes"),
    "cpu": Figure("CPU per purchase, all processes, at a third of the top rate", "µs", 1.4, "at the top", at_most=True),
    "cpu-thirtieth": Figure("the same, at a thirtieth", "µs", 4, "at the top", at_most=True),
    "cpu-broker": Figure("RabbitMQ's CPU per purchase, at a third", "µs", 1.5, "at the top", at_most=True),
    "idle": Figure("CPU of a shop in which nobody buys, a minute, all processes", "s", 1, at_most=True),
    "flat": Figure("CPU per purchase, late", "µs", 1.05, "in a new shop beside it", at_most=True),
    "memory": Figure("memory of the largest service then", "MB", 600, at_most=True),
    "start": Figure("start of the slowest service with all that behind it", "s", 10, at_most=True),
    "crowd": Figure("CPU per buyer, all on one token", "µs", 1.2, "a hundred buyers on each", at_most=True),
    "postgres": Figure(
        "CPU per purchase at the top rate, books in PostgreSQL, all processes",
        "µs",
        1.7,
        "books in files",
        at_most=True,
    ),
    "outbox": Figure(
        "purchases, POST to `registrada`, books in PostgreSQL", "/s", 1.0, "FastStream with SQLAlchemy and an outbox"
    ),
    "postgres-crowd": Figure(
        "CPU per buyer, all on one token, PostgreSQL, four of tokens",
        "µs",
        1.5,
        "a hundred buyers on each",
        at_most=True,
    ),
    "store-300": Figure("CPU of a message by itself, 300 at a time, PostgreSQL", "µs", 2.2, "files", at_most=True),
    "store-300-compras": Figure("the same in compras", "µs", 4, "files", at_most=True),
    "store-10": Figure("the same, 10 at a time", "µs", 4, "files", at_most=True),
    "pods-tokens-2": Figure("purchases, tokens has 20m of a processor a pod: two pods", "/s", 1.8, "one"),
    "pods-tokens-4": Figure("the same: four pods", "/s", 3.2, "one"),
    "pods-usuarios-2": Figure("purchases, usuarios has 20m of a processor a pod: two pods", "/s", 1.8, "one"),
    "pods-usuarios-4": Figure("the same: four pods", "/s", 3.2, "one"),
    "pods-transacciones-4": Figure(
        "purchases, transacciones, which numbers them, has 20m a pod: four pods", "/s", 1, "one"
    ),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of a figure: a value for each round, and as many of what it is compared with."""

    figure: Figure
    ours: Sequence[float]
    base: Sequence[float] = ()
    # What the numbers are about: how many purchases, for instance.
    note: str = ""

    @property
    def each(self) -> list[float]:
        """What is compared with the goal, round by round."""
        return [one / other for one, other in zip(self.ours, self.base, strict=True)] if self.base else [*self.ours]

    @property
    def value(self) -> float:
        """The ratio of the medians, or the median."""
        return median(self.ours) / median(self.base) if self.base else median(self.ours)

    @property
    def reached(self) -> bool:
        return self.value <= self.figure.goal if self.figure.at_most else self.value >= self.figure.goal

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.figure.what,
            "unit": self.figure.unit,
            "against": self.figure.against,
            "goal": self.figure.goal,
            "atMost": self.figure.at_most,
            "value": self.value,
            "spread": [min(self.each), max(self.each)],
            "reached": self.reached,
            "ours": [*self.ours],
            "base": [*self.base],
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Point:
    """What a purchase costs at a rate, in CPU, and how long it takes, which at the top rate says nothing."""

    rate: float
    cpu_us: float
    p50_seconds: float | None
    p99_seconds: float | None


@dataclass(slots=True)
class Findings:
    """All that one run found. `cpu`: microseconds per purchase, by who did it and process."""

    results: dict[str, Result] = field(default_factory=dict)
    cpu: dict[str, Mapping[str, float]] = field(default_factory=dict)
    # The same of a message in each store by itself: by service, store and how many are decided at a time.
    stores: dict[str, Mapping[str, Mapping[int, float]]] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    # Figures that were left out, and why.
    missing: dict[str, str] = field(default_factory=dict)

    def compare(self, name: str, ours: Sequence[Sample], base: Sequence[Sample], note: str = "") -> None:
        """Of two sides that were measured in turn."""
        self.note(name, [one.value for one in ours], [one.value for one in base], note)

    def note(self, name: str, ours: Sequence[float], base: Sequence[float] = (), note: str = "") -> None:
        self.results[name] = Result(FIGURES[name], ours, base, note)

    def spent(self, who: str, samples: Sequence[Sample]) -> None:
        self.cpu[who] = {process: median(one.cpu[process] for one in samples) for process in samples[0].cpu}

    def as_json(self) -> dict[str, Any]:
        return {
            "figures": {name: result.as_json() for name, result in self.results.items()},
            "cpu": {who: dict(spent) for who, spent in self.cpu.items()},
            "stores": self.stores,
            "rates": [asdict(point) for point in self.points],
            "missing": self.missing,
        }
