"""Seconds, as histograms and as quantiles of few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hdrh.histogram import HdrHistogram

# A microsecond to ten minutes, to two digits.
LONGEST_MICROSECONDS: Final = 600_000_000
DIGITS: Final = 2
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)


class Latency:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self._all = HdrHistogram(1, LONGEST_MICROSECONDS, DIGITS)

    def record(self, seconds: float) -> None:
        self._all.record_value(min(max(1, round(seconds * 1e6)), LONGEST_MICROSECONDS))

    def add(self, other: Latency) -> None:
        """What the other has recorded, too."""
        self._all.add(other._all)

    def at(self, percentile: float) -> float:
        """Seconds; nothing recorded is 0."""
        return float(self._all.get_value_at_percentile(percentile)) / 1e6 if self._all.get_total_count() else 0.0

    def summary(self) -> dict[str, float]:
        """Seconds at PERCENTILES and the longest; nothing when nothing was recorded."""
        if not self._all.get_total_count():
            return {}
        found = {f"p{p:g}": self.at(p) for p in PERCENTILES}
        return {**found, "max": self._all.get_max_value() / 1e6}

    def __getstate__(self) -> dict[str, Any]:
        return {"encoded": self._all.encode()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._all = HdrHistogram.decode(state["encoded"])


def quantile(ordered: Sequence[float], percent: int) -> float:
    """The smallest of these, in order, that so many percent of them do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and the longest of a few values."""
    ordered = sorted(values)
    return {"p50": quantile(ordered, 50), "p99": quantile(ordered, 99), "max": ordered[-1]}
