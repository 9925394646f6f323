"""Cost and latency over the rate, and throughput over the number of pods, each a picture of two panels side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from statistics import median
from typing import Final

from loadgen.bench.figures import Point, Result

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 380, 240, 50, 34, 28
COLOURS: Final = ("#2a6fb0", "#2a7", "#c53")
TICKS: Final = 4
ROUND: Final = (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10)
PODS: Final = "pods-"

# What a line goes through, from left to right.
Line = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over something that grows by the same factor with each step to the right."""

    title: str
    foot: str
    lines: Mapping[str, Line]

    @property
    def steps(self) -> list[float]:
        return sorted({x for line in self.lines.values() for x, _ in line})


def over_rates(points: Sequence[Point]) -> str:
    ordered = sorted(points, key=lambda point: point.rate)
    timed = [point for point in ordered if point.p50_seconds is not None]
    cost = [(point.rate, point.cpu_us) for point in ordered]
    half = [(point.rate, 1000 * (point.p50_seconds or 0)) for point in timed]
    tail = [(point.rate, 1000 * (point.p99_seconds or 0)) for point in timed]
    return _picture(
        Panel("CPU µs per purchase, all processes", "purchases a second", {"CPU": cost}),
        Panel("ms from POST to registrada", "purchases a second", {"p50": half, "p99": tail}),
    )


def over_pods(results: Mapping[str, Result]) -> str:
    """Of the figures `pods-SERVICE-N`, each compared with one pod."""
    rates: dict[str, list[tuple[float, float]]] = {}
    for name in sorted(name for name in results if name.startswith(PODS)):
        service, _, count = name.removeprefix(PODS).partition("-")
        of = rates.setdefault(service, [(1, median(results[name].base))])
        of.append((int(count), median(results[name].ours)))
    times = {service: [(count, rate / line[0][1]) for count, rate in line] for service, line in rates.items()}
    return _picture(
        Panel("purchases a second", "pods of the service, 20m of a processor each", rates),
        Panel("times what one pod does", "pods of the service, 20m of a processor each", times),
    )


def _picture(*panels: Panel) -> str:
    drawn = "".join(_panel(number * WIDTH, panel) for number, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(panels) * WIDTH} {HEIGHT}" font-size="10" '
        f'font-family="sans-serif" fill="#333"><rect width="100%" height="100%" fill="#fff"/>{drawn}</svg>\n'
    )


def _panel(x0: int, panel: Panel) -> str:
    most = _round(max(value for line in panel.lines.values() for _, value in line))
    x, y = _across(x0, panel.steps), _up(most)
    base = HEIGHT - BOTTOM
    parts = [
        f'<text x="{x0 + LEFT}" y="14" font-weight="bold">{escape(panel.title)}</text>',
        f'<text x="{x0 + (LEFT + WIDTH) / 2}" y="{base + 28}" text-anchor="middle">{escape(panel.foot)}</text>',
    ]
    for tick in range(TICKS + 1):
        at = most * tick / TICKS
        parts.append(
            f'<line x1="{x0 + LEFT}" x2="{x0 + WIDTH - 12}" y1="{y(at):.1f}" y2="{y(at):.1f}" stroke="#ddd"/>'
            f'<text x="{x0 + LEFT - 5}" y="{y(at) + 3:.1f}" text-anchor="end">{at:,.0f}</text>'
        )
    for step in panel.steps:
        parts.append(f'<text x="{x(step):.1f}" y="{base + 14}" text-anchor="middle">{step:,.0f}</text>')
    for (name, line), colour in zip(panel.lines.items(), COLOURS, strict=False):
        where = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in line)
        step, value = line[-1]
        parts.append(
            f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{x(step):.1f}" y="{y(value) - 6:.1f}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
        )
    return "".join(parts)


def _across(x0: int, steps: Sequence[float]) -> Callable[[float], float]:
    low, high = log10(steps[0]), log10(steps[-1])
    return lambda step: x0 + LEFT + 14 + (log10(step) - low) / (high - low) * (WIDTH - LEFT - 40)


def _round(most: float) -> float:
    """A little more, and of so many parts that each can be read."""
    part = most / TICKS
    power: float = 10.0 ** floor(log10(part))
    return TICKS * next(power * factor for factor in ROUND if power * factor >= part)


def _up(most: float) -> Callable[[float], float]:
    return lambda value: HEIGHT - BOTTOM - value / most * (HEIGHT - BOTTOM - TOP)
