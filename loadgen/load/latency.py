"""Seconds, many of them, as a histogram; and how they are said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

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

    def recent(self) -> float | None:
        """The 99th percentile, in seconds, of what was recorded since the last call; None if nothing was."""
        if not self._recent.get_total_count():
            return None
        found: float = self._recent.get_value_at_percentile(99) / 1e6
        self._recent.reset()
        return found

    def at(self, percentile: float) -> float:
        """Seconds; 0 when nothing was recorded."""
        return float(self._all.get_value_at_percentile(percentile) / 1e6)

    def summary(self) -> dict[str, float]:
        """Seconds at PERCENTILES and the longest; nothing when nothing was recorded."""
        if not self._all.get_total_count():
            return {}
        found = {f"p{p:g}": self.at(p) for p in PERCENTILES}
        return {**found, "max": self._all.get_max_value() / 1e6}

    def encoded(self) -> bytes:
        """For `add`, in another process."""
        encoded: bytes = self._all.encode()
        return encoded

    def add(self, encoded: bytes) -> None:
        """What another one recorded counts here, too."""
        self._all.decode_and_add(encoded)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and the longest of a few values."""
    ordered = sorted(values)
    return {
        "p50": ordered[(len(ordered) - 1) // 2],
        "p99": ordered[-(-len(ordered) * 99 // 100) - 1],
        "max": ordered[-1],
    }


def spread(seconds: Mapping[str, float] | None) -> str:
    """'p50 12 ms, p99 1.20 s, max 2.00 s'. None: it is not claimed."""
    if seconds is None:
        return "not claimed: it would be the client's own"
    if not seconds:
        return "nothing to measure"
    return ", ".join(f"{name} {time_text(seconds[name])}" for name in ("p50", "p99", "max"))


def time_text(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
