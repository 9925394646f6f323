"""What a load measured, as a person reads it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from loadgen.load.meter import Meter
from ops.i18n import Text


class Row(NamedTuple):
    """What was measured, and what came of it: sentences, or what needs no translation."""

    name: str
    value: str


def row(name: str, says: str, *values: object) -> Row:
    return Row(name, Text(says, *values))


def measured(meter: Meter) -> list[Row]:
    """How the client did, and the latencies, if any are claimed."""
    rows = [Row("client", _client_says(meter)), *(Row("NO LATENCY", limit) for limit in meter.limits)]
    peak = meter.backlog_peak
    if meter.limits:
        return [*rows, row("backlog", "at most {backlog:,}", peak)]
    drained = "at most {backlog:,}, drained {seconds:.1f} s after the last request"
    return [
        *rows,
        row("backlog", drained, peak, meter.drain_seconds),
        Row("POST to 202", spread(meter.accept.summary())),
        Row("POST to end", spread(meter.end.summary())),
    ]


def spread(seconds: dict[str, float]) -> str:
    """'p50 12 ms, p99 1.20 s, max 2.00 s'."""
    if not seconds:
        return Text("nothing to measure")
    return ", ".join(f"{name} {time(seconds[name])}" for name in ("p50", "p99", "max"))


def time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _client_says(meter: Meter) -> str:
    if meter.rate is None or meter.asked_rate is None:
        return Text("nothing to measure")
    behind = spread(meter.lag.summary())
    says = "sent {rate:,.1f} requests a second of {asked:,.1f}, later than due by {behind}"
    return Text(says, meter.rate, meter.asked_rate, behind)


def load_rows(meter: Meter) -> list[Row]:
    """What a load came to."""
    asked = "{requests:,}: accepted {accepted:,}, rejected {rejected:,}"
    ended = "sold {sold:,}, refused {refused:,}, not finished {unfinished:,}"
    rows = [
        row("requests", asked, meter.arrived, meter.accepted, meter.rejected),
        row("finished", ended, meter.sold, meter.refused, meter.unfinished),
        *measured(meter),
    ]
    if meter.abandoned:
        rows.append(Row("given up", f"{meter.abandoned:,}"))
    wrong = sorted(Counter(meter.wrong).items())
    return rows + [row("wrong", "{what} ({count} times)", what, count) for what, count in wrong]
