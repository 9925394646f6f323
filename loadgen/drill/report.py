"""A load or a drill as one HTML file that needs nothing else: what was found, and plots of every second."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from math import log10
from typing import Final

from loadgen.audit.verdict import Verdict
from loadgen.drill.explain import block, work_rows
from loadgen.drill.faults import Happened
from loadgen.load.clock import CLOCK
from loadgen.load.meter import Meter
from loadgen.load.points import Point
from ops.i18n import language, say

WIDTH: Final = 900
HEIGHT: Final = 200
LEFT: Final = 60
BOTTOM: Final = 24
# So many whole seconds from one number under a plot to the next, and so many numbers at most.
TICKS: Final = tuple(step * 10**power for power in range(6) for step in (1, 2, 5))
MOST_TICKS: Final = 10
COLOURS: Final = ("#1f77b4", "#2ca02c", "#d62728", "#9467bd")
STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td{padding:.1em 1.5em .1em 0;vertical-align:top}
svg{width:100%;height:auto}text{font-size:11px;fill:#555}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its name, and for each second a value or None."""

    name: str
    values: Sequence[float | None]


def html(
    title: str,
    meter: Meter,
    faults: Sequence[Happened],
    rows: Sequence[tuple[str, str]],
    verdict: Verdict | None = None,
) -> str:
    """The whole page. `verdict`: with all that `zoco audit --explain` prints."""
    start, points = meter.started or 0.0, meter.points
    happened = [fault for fault in faults if not fault.trouble]
    marks = [(fault.began - start, f"{fault.fault.kind} {fault.fault.victim}") for fault in happened]
    plots = "".join(_plot(name, scale, lines, points, marks) for name, scale, lines in _curves(points))
    legend = say("Red lines: the faults; rest the pointer on one to read it.") if points and marks else ""
    return (
        f"<!doctype html><html lang={language()}><meta charset=utf-8><title>{escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{escape(title)}</h1><p>{escape(made())}</p>{_table(rows)}{plots}"
        f"<p>{legend}</p>{_explained(verdict) if verdict else ''}</html>"
    )


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = (f"<tr><td>{escape(say(name))}</td><td>{escape(say(value))}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _explained(verdict: Verdict) -> str:
    breaches = "".join(f"<hr>{_table(block(breach))}" for breach in verdict.breaches)
    return f"<h2>{escape(say('What the audit looked at'))}</h2>{_table(work_rows(verdict))}{breaches}"


def made() -> str:
    """When, by which version and on which machine: the same words in every language."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return (
        f"{CLOCK.utc()} · zoco {version('zoco')} · {system} · {os.cpu_count()} CPU · Python {platform.python_version()}"
    )


def _curves(points: Sequence[Point]) -> list[tuple[str, type[_Linear | _Log], list[Line]]]:
    accept, end = [point.accept for point in points], [point.end for point in points]

    def latency(pairs: Sequence[tuple[float, float] | None], place: int) -> list[float | None]:
        return [None if pair is None else pair[place] for pair in pairs]

    return [
        (
            say("Requests a second"),
            _Linear,
            [
                Line("due", [point.arrived for point in points]),
                Line("accepted", [point.accepted for point in points]),
                Line("finished", [point.finished for point in points]),
                Line("unanswered or 503", [point.unanswered for point in points]),
            ],
        ),
        (
            say("Latency, from the instant at which a request was due"),
            _Log,
            [
                Line("202, median", latency(accept, 0)),
                Line("202, 99 %", latency(accept, 1)),
                Line("end, median", latency(end, 0)),
                Line("end, 99 %", latency(end, 1)),
            ],
        ),
        (say("Backlog: due, and not at its end"), _Linear, [Line("requests", [point.backlog for point in points])]),
    ]


def _plot(
    name: str,
    scaled: type[_Linear | _Log],
    lines: Sequence[Line],
    points: Sequence[Point],
    marks: Sequence[tuple[float, str]],
) -> str:
    """The curves over one axis. The curves' names are put into the reader's language."""
    if all(value is None for line in lines for value in line.values):
        return ""
    name, scale = escape(name), scaled(lines)
    last = points[-1].at_seconds + 1

    def x(seconds: float) -> float:
        return round(LEFT + (WIDTH - LEFT) * min(max(seconds / last, 0), 1), 1)

    def y(value: float) -> float:
        return round((HEIGHT - BOTTOM) * (1 - scale.place(value)) + 10, 1)

    parts = [
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(tick)}" y2="{y(tick)}" stroke="#ddd"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4}" text-anchor="end">{label}</text>'
        for tick, label in scale.ticks()
    ]
    parts += [
        f'<line x1="{x(at)}" x2="{x(at)}" y1="10" y2="{HEIGHT - BOTTOM + 10}" stroke="#d33" stroke-width="1.5" '
        f'opacity=".6"><title>{at:.1f} s: {escape(what)}</title></line>'
        for at, what in marks
    ]
    for line, colour in zip(lines, COLOURS, strict=False):
        pairs = zip(points, line.values, strict=True)
        places = [None if value is None else (x(point.at_seconds + 0.5), y(value)) for point, value in pairs]
        parts.append(_curve(places, colour))
    parts += [
        f'<text x="{x(second) - 8 * (second == last)}" y="{HEIGHT + 4}" text-anchor="middle">{second} s</text>'
        for second in _whole_seconds(last)
    ]
    legend = " ".join(
        f'<span style="color:{colour}">&#9632;</span> {escape(say(line.name))}'
        for line, colour in zip(lines, COLOURS, strict=False)
    )
    return (
        f"<h2>{name}</h2><p>{legend}</p>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 10}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
    )


def _whole_seconds(last: int) -> range:
    """Where the numbers stand under a plot of so many seconds."""
    return range(0, last + 1, next(step for step in TICKS if last // step < MOST_TICKS))


def _curve(places: Sequence[tuple[float, float] | None], colour: str) -> str:
    """A line through the places, with a gap where there is none; a place alone is a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    for place in places:
        if place is None:
            runs.append([])
        else:
            runs[-1].append(place)
    drawn = []
    for run in runs:
        if len(run) == 1:
            drawn.append(f'<circle cx="{run[0][0]}" cy="{run[0][1]}" r="2" fill="{colour}"/>')
        elif run:
            path = " ".join(f"{x},{y}" for x, y in run)
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return "".join(drawn)


class _Linear:
    """From zero to the greatest value."""

    def __init__(self, lines: Sequence[Line]) -> None:
        greatest = max((value for line in lines for value in line.values if value is not None), default=0)
        # So that each quarter of it is a whole number.
        self._top = max(4, -(-int(greatest) // 4) * 4)

    def place(self, value: float) -> float:
        return value / self._top

    def ticks(self) -> list[tuple[float, str]]:
        return [(self._top * part / 4, f"{self._top * part / 4:,.2f}".rstrip("0").rstrip(".")) for part in range(5)]


class _Log:
    """Seconds, from a millisecond to a hundred seconds."""

    lowest, highest = 1e-3, 1e2

    def __init__(self, lines: Sequence[Line]) -> None:
        values = [value for line in lines for value in line.values if value]
        self.highest = 10 ** max(0, -(-log10(max(values, default=1)) // 1))

    def place(self, value: float) -> float:
        clipped = min(max(value, self.lowest), self.highest)
        return (log10(clipped) - log10(self.lowest)) / (log10(self.highest) - log10(self.lowest))

    def ticks(self) -> list[tuple[float, str]]:
        found, tick = [], self.lowest
        while tick <= self.highest * 1.01:
            found.append((tick, f"{tick * 1000:g} ms" if tick < 0.99 else f"{tick:g} s"))
            tick *= 10
        return found
