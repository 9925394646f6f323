"""Counters and histograms in plain numbers, for what is counted with every batch: prometheus_client's own look for a
child and take a lock each time, which a message that comes alone pays for with code that is not in the cache."""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class PlainCounter(Collector):
    """Of one thread. In `/metrics` as prometheus_client's Counter is."""

    def __init__(self, name: str, says: str, labels: Sequence[str] = (), *, registry: CollectorRegistry) -> None:
        self._name, self._says, self._labels = name, says, labels
        # By the values of its labels. Who has none is there from the start.
        self._counts: dict[tuple[str | int, ...], int] = {} if labels else {(): 0}
        registry.register(self)

    def add(self, *values: str | int, count: int = 1) -> None:
        self._counts[values] = self._counts.get(values, 0) + count

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._says, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric([str(value) for value in values], count)
        yield family

    describe = collect


class PlainHistogram(Collector):
    """Of one thread, without labels. In `/metrics` as prometheus_client's Histogram is."""

    def __init__(self, name: str, says: str, buckets: Sequence[float], *, registry: CollectorRegistry) -> None:
        self._name, self._says, self._bounds = name, says, buckets
        # What is larger than every bound comes last.
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @contextlib.contextmanager
    def time(self) -> Iterator[None]:
        """Observe how many seconds this takes, if it fails, too."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._says, buckets, self._sum)

    describe = collect
