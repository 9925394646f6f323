"""What the bench makes of what it measured, and what it writes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadgen.bench import table
from loadgen.bench.curves import BOTTOM, HEIGHT, over_pods, over_rates
from loadgen.bench.figures import FIGURES, Findings, Point, Result
from loadgen.bench.ledger import Ledger

ROOT = Path(__file__).parents[2]


def findings() -> Findings:
    found = Findings()
    found.note("relay", [90.0, 100.0, 130.0], [100.0, 100.0, 100.0])
    found.note("p99", [120.0], note="500/s for 15 s")
    found.cpu["zoco"] = {"rabbitmq": 400.0, "tokens": 100.0}
    found.missing["faststream"] = "not installed"
    return found


def test_a_ratio_is_that_of_the_medians_and_its_spread_is_that_of_the_rounds() -> None:
    result = findings().results["relay"]
    assert result.value == 1.0
    assert (min(result.each), max(result.each)) == (0.9, 1.3)


@pytest.mark.parametrize(("name", "value", "reached"), [("p99", 99, True), ("p99", 101, False)])
def test_what_should_be_small_has_reached_its_goal_below_it(name: str, value: float, reached: bool) -> None:
    assert Result(FIGURES[name], [value]).reached is reached


def test_the_tables_go_between_the_marks_and_all_else_stays(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    before = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    page.write_text(before, encoding="utf-8")
    table.write(findings(), page)
    after = page.read_text(encoding="utf-8")
    assert "| ≥ 1 | 1 (0.9 to 1.3) | 100 /s | 100 /s |" in after
    assert "120 ms **missed**" in after
    assert "| zoco | 400 | 100 | 500 |" in after
    assert "not installed" in after
    for text in (before, after):
        assert text.count(table.BEGIN) == text.count(table.END) == 1
    assert before.partition(table.BEGIN)[0] == after.partition(table.BEGIN)[0]
    assert before.partition(table.END)[2] == after.partition(table.END)[2]
    ElementTree.parse(tmp_path / "performance.svg")


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Something else\n")
    with pytest.raises(ValueError, match="between which the tables go"):
        table.write(findings(), page)
    assert page.read_text() == "# Something else\n"


def test_the_picture_over_the_rate_shows_each_point_where_it_is() -> None:
    """Twice the cost is twice as high, ten times the rate one step further, whatever order they were found in; the top
    rate, whose latency says nothing, is on the curve of the cost only."""
    points = [Point(1000, 1000, None, None), Point(10, 4000, 0.01, 0.02), Point(100, 2000, 0.02, 0.08)]
    lines = ElementTree.fromstring(over_rates(points)).iter("{http://www.w3.org/2000/svg}polyline")
    cost, half, tail = ([tuple(map(float, at.split(","))) for at in line.attrib["points"].split()] for line in lines)
    ground = HEIGHT - BOTTOM
    heights = [ground - y for _, y in cost]
    assert [round(height / heights[-1], 2) for height in heights] == [4, 2, 1]
    steps = [x for x, _ in cost]
    assert steps[1] - steps[0] == pytest.approx(steps[2] - steps[1], abs=0.2) and steps[0] < steps[1]
    assert len(half) == len(tail) == 2
    assert [round((ground - y) / (ground - half[0][1]), 1) for _, y in (*half, *tail)] == [1, 2, 2, 8]


def test_the_picture_over_the_pods_begins_with_one_and_shows_how_many_times_that_is() -> None:
    found = Findings()
    for count, rate in ((4, 300.0), (2, 200.0)):
        found.note(f"pods-tokens-{count}", [rate], [100.0])
    lines = list(ElementTree.fromstring(over_pods(found.results)).iter("{http://www.w3.org/2000/svg}polyline"))
    ground = HEIGHT - BOTTOM
    for line in lines:
        one, two, four = (tuple(map(float, at.split(","))) for at in line.attrib["points"].split())
        assert [round((ground - y) / (ground - one[1]), 1) for _, y in (two, four)] == [2, 3]
        assert two[0] - one[0] == pytest.approx(four[0] - two[0], abs=0.2)
    assert len(lines) == 2


async def test_a_ledger_has_what_was_appended_before_it_returned(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    await ledger.append(b"one\n")
    await ledger.append(b"two\n")
    assert (tmp_path / "ledger.jsonl").read_bytes() == b"one\ntwo\n"
