"""Cost and latency over the rate, as a picture of two curves side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import floor, log10
from typing import Final

from loadgen.bench.figures import Point

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 380, 240, 50, 34, 28
COST, MEDIAN, TAIL = "#2a6fb0", "#2a7", "#c53"
TICKS: Final = 4
ROUND: Final = (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10)


def curves(points: Sequence[Point]) -> str:
    """The rate grows by the same factor with each step to the right."""
    ordered = sorted(points, key=lambda point: point.rate)
    timed = [point for point in ordered if point.p50_seconds is not None]
    cost = [(point.rate, point.cpu_us) for point in ordered]
    half = [(point.rate, 1000 * (point.p50_seconds or 0)) for point in timed]
    tail = [(point.rate, 1000 * (point.p99_seconds or 0)) for point in timed]
    rates = [point.rate for point in ordered]
    left = _panel(0, "CPU µs per purchase, all processes", rates, {"CPU": (cost, COST)})
    right = _panel(WIDTH, "ms from POST to registrada", rates, {"p50": (half, MEDIAN), "p99": (tail, TAIL)})
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="10" fill="#333"><rect width="100%" height="100%" fill="#fff"/>{left}{right}</svg>\n'
    )


def _panel(
    x0: int, title: str, rates: Sequence[float], lines: dict[str, tuple[Sequence[tuple[float, float]], str]]
) -> str:
    most = _round(max(value for line, _ in lines.values() for _, value in line))
    x, y = _across(x0, rates), _up(most)
    base = HEIGHT - BOTTOM
    parts = [f'<text x="{x0 + LEFT}" y="14" font-weight="bold">{escape(title)}</text>']
    for tick in range(TICKS + 1):
        at = most * tick / TICKS
        parts.append(
            f'<line x1="{x0 + LEFT}" x2="{x0 + WIDTH - 12}" y1="{y(at):.1f}" y2="{y(at):.1f}" stroke="#ddd"/>'
            f'<text x="{x0 + LEFT - 5}" y="{y(at) + 3:.1f}" text-anchor="end">{at:,.0f}</text>'
        )
    for rate in rates:
        parts.append(f'<text x="{x(rate):.1f}" y="{base + 14}" text-anchor="middle">{rate:,.0f}</text>')
    parts.append(f'<text x="{x0 + (LEFT + WIDTH) / 2}" y="{base + 28}" text-anchor="middle">purchases a second</text>')
    for name, (line, colour) in lines.items():
        where = " ".join(f"{x(rate):.1f},{y(value):.1f}" for rate, value in line)
        rate, value = line[-1]
        parts.append(
            f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{x(rate):.1f}" y="{y(value) - 6:.1f}" text-anchor="end" fill="{colour}">{name}</text>'
        )
    return "".join(parts)


def _across(x0: int, rates: Sequence[float]) -> Callable[[float], float]:
    low, high = log10(rates[0]), log10(rates[-1])
    return lambda rate: x0 + LEFT + 14 + (log10(rate) - low) / (high - low) * (WIDTH - LEFT - 40)


def _round(most: float) -> float:
    """A little more, and of so many parts that each can be read."""
    part = most / TICKS
    power: float = 10.0 ** floor(log10(part))
    return TICKS * next(power * factor for factor in ROUND if power * factor >= part)


def _up(most: float) -> Callable[[float], float]:
    return lambda value: HEIGHT - BOTTOM - value / most * (HEIGHT - BOTTOM - TOP)
