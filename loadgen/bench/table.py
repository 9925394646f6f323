"""What the bench found, as Markdown, and the plot beside it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import date
from html import escape
from math import log2
from pathlib import Path
from statistics import median
from typing import Final

from loadgen.bench.curves import PODS, over_pods, over_rates
from loadgen.bench.figures import FIGURES, Findings, Result
from loadgen.bench.place import JSON
from ops.i18n import Text
from ops.running import POSTGRES

BEGIN: Final = "<!-- what `zoco bench` writes begins here -->"
END: Final = "<!-- and ends here -->"
WIDTH, BAR, LABEL = 760, 22, 400


def markdown(findings: Findings, say: Callable[[str], str] = str) -> str:
    """The machine, the table of figures, and who spent which CPU. `say` puts what is said into another language."""
    headings = (say("figure"), say("against"), say("goal"), say("measured"), say("ours"), say("baseline"))
    machine = Text("{date}, {processors} processors, {system}, Python {version}.",
                   date.today(), os.cpu_count(), platform.system(), platform.python_version())  # fmt: skip
    lines = [
        say(machine),
        "",
        f"| {' | '.join(headings)} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(findings.results[name], say) for name in FIGURES if name in findings.results]
    for name, why in findings.missing.items():
        cells = [say(FIGURES[name].what), say(FIGURES[name].against or ""), "", say(why), "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    # In the order in which they are met: a side may have one more.
    processes = list(dict.fromkeys(process for spent in findings.cpu.values() for process in spent))
    lines += ["", say("CPU per purchase in µs:"), "", f"| | {' | '.join([*processes, say('all')])} |"]
    lines += ["| --- |" + " --- |" * (len(processes) + 1)]
    for who, spent in findings.cpu.items():
        cells = [f"{spent[process]:,.0f}" if process in spent else "" for process in processes]
        lines.append(f"| {say(who)} | {' | '.join([*cells, f'{sum(spent.values()):,.0f}'])} |")
    return "\n".join([*lines, *_stores(findings, say)])


def _stores(findings: Findings, say: Callable[[str], str]) -> list[str]:
    """What a message costs in each store by itself."""
    if not findings.stores:
        return []
    sizes = list(next(iter(findings.stores.values()))[JSON])
    heads = [say(Text("{size} at a time", size)) for size in sizes]
    lines = ["", say("CPU of a message in µs, by itself: books in files / in PostgreSQL, the database's included:"), ""]
    lines += [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(sizes)]
    for service, by_store in findings.stores.items():
        cells = [f"{by_store[JSON][size]:,.0f} / {by_store[POSTGRES][size]:,.0f}" for size in sizes]
        lines.append(f"| {service} | {' | '.join(cells)} |")
    return lines


def _row(result: Result, say: Callable[[str], str]) -> str:
    figure = result.figure
    what = say(figure.what) + (f" ({say(result.note)})" if result.note else "")
    sign = "≤" if figure.at_most else "≥"
    unit = "" if result.base else f" {figure.unit}"
    low, high = min(result.each), max(result.each)
    spread = f" ({_number(low)} {say('to')} {_number(high)})" if len(result.each) > 1 else ""
    mark = "" if result.reached else f" **{say('missed')}**"
    base = f"{_number(median(result.base))} {figure.unit}" if result.base else ""
    cells = [
        what,
        say(figure.against or ""),
        f"{sign} {figure.goal:g}{unit}",
        f"{_number(result.value)}{unit}{spread}{mark}",
        f"{_number(median(result.ours))} {figure.unit}",
        base,
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def svg(findings: Findings) -> str:
    """How near each figure is to its goal: a bar to the right of the line is better, each step twice as good."""
    shown = [findings.results[name] for name in FIGURES if name in findings.results]
    height = BAR * len(shown) + 30
    middle = LABEL + (WIDTH - LABEL) / 2
    parts = []
    for number, result in enumerate(shown):
        good = result.figure.goal / result.value if result.figure.at_most else result.value / result.figure.goal
        length = max(-2.0, min(2.0, log2(max(good, 1e-9)))) * (WIDTH - LABEL) / 4
        y = BAR * number + 10
        name = result.figure.what.replace("`", "") + (f" / {result.figure.against}" if result.figure.against else "")
        parts.append(
            f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(name[:74])}</text>'
            f'<rect x="{min(middle, middle + length):.1f}" y="{y}" width="{abs(length):.1f}" height="{BAR - 8}" '
            f'fill="{"#2a7" if result.reached else "#c53"}"/>'
        )
    parts.append(f'<line x1="{middle}" x2="{middle}" y1="4" y2="{height - 20}" stroke="#555"/>')
    parts.append(
        f'<text x="{middle}" y="{height - 6}" text-anchor="middle">the goal (a bar to the end: four times)</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="10" fill="#333"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def write(findings: Findings, file: Path) -> None:
    """Put the tables between the two marks of this file, and the plot beside it. Raises ValueError without marks."""
    text = file.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"{file} has not the lines between which the tables go: {BEGIN} and {END}")
    plot = file.with_suffix(".svg")
    plot.write_text(svg(findings), encoding="utf-8")
    pictures = [f"![How near each figure is to its goal]({plot.name})"]
    if findings.points:
        rates = file.with_name(f"{file.stem}-rates.svg")
        rates.write_text(over_rates(findings.points), encoding="utf-8")
        pictures.append(f"![CPU and latency of a purchase over the rate at which they come]({rates.name})")
    if any(name.startswith(PODS) for name in findings.results):
        pods = file.with_name(f"{file.stem}-pods.svg")
        pods.write_text(over_pods(findings.results), encoding="utf-8")
        pictures.append(f"![Purchases a second over the number of pods]({pods.name})")
    body = "\n\n".join([markdown(findings), *pictures])
    file.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")
