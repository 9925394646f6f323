"""What a load measured, as a person reads it."""

from __future__ import annotations

from collections import Counter

from loadgen.load.meter import Meter

Row = tuple[str, str]


def measured(meter: Meter) -> list[Row]:
    """How the client did, and the latencies, if any are claimed."""
    rows = [("client", _client_says(meter)), *(("NO LATENCY", limit) for limit in meter.limits)]
    if meter.limits:
        return [*rows, ("backlog", f"at most {meter.backlog_peak:,}")]
    return [
        *rows,
        ("backlog", f"at most {meter.backlog_peak:,}, drained {meter.drain_seconds:.1f} s after the last request"),
        ("POST to 202", spread(meter.accept.summary())),
        ("POST to end", spread(meter.end.summary())),
    ]


def spread(seconds: dict[str, float]) -> str:
    """'p50 12 ms, p99 1.20 s, max 2.00 s'."""
    if not seconds:
        return "nothing to measure"
    return ", ".join(f"{name} {time(seconds[name])}" for name in ("p50", "p99", "max"))


def time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _client_says(meter: Meter) -> str:
    if meter.rate is None or meter.asked_rate is None:
        return "nothing to measure"
    behind = spread(meter.lag.summary())
    return f"sent {meter.rate:,.1f} requests a second of {meter.asked_rate:,.1f}, later than due by {behind}"


def load_rows(meter: Meter) -> list[Row]:
    """What a load came to."""
    rows = [
        ("requests", f"{meter.arrived:,}: accepted {meter.accepted:,}, rejected {meter.rejected:,}"),
        ("finished", f"sold {meter.sold:,}, refused {meter.refused:,}, not finished {meter.unfinished:,}"),
        *measured(meter),
    ]
    if meter.abandoned:
        rows.append(("given up", f"{meter.abandoned:,}"))
    return rows + [("wrong", f"{wrong} ({count} times)") for wrong, count in sorted(Counter(meter.wrong).items())]
