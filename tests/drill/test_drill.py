"""The drill as a person types it: a shop of its own, killed for real, and audited."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadgen.drill import faults
from loadgen.drill.controls import CONTROLS
from loadgen.drill.faults import SCENARIOS
from loadgen.drill.shop import own_shop

# The longest drill takes minutes, and longer on a busy machine.
PATIENCE_SECONDS = 900
ZOCO = Path(sys.executable).with_name("zoco")


def zoco(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ZOCO), *words], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def drilled(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """What a small drill found, as JSON."""
    answer = zoco("drill", "--rate", "100", *words, "--json", "--out", str(folder))
    assert answer.returncode == code, answer.stdout[-2000:] + answer.stderr[-2000:]
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_the_classic_kills_transacciones_and_proves_that_nothing_was_lost(tmp_path: Path) -> None:
    found = drilled(tmp_path, "transacciones", "--purchases", "1000", "--down", "1")
    assert found["holds"], found["reasons"]
    assert [fault["victim"] for fault in found["faults"]] == ["transacciones"] * 3
    assert found["audit"]["accepted"] == found["load"]["arrived"] == 1000
    assert found["audit"]["sold"] > 500
    assert (found["audit"]["lost"], found["audit"]["doubled"], found["audit"]["oversold"]) == (0, 0, 0)
    assert all(back["seconds"] is not None for back in found["recoverySeconds"])
    assert found["load"]["backlogPeak"] > 50
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")
    again = zoco("audit", "--data", str(tmp_path / "data"), "--client", str(tmp_path / "client.jsonl"))
    assert again.returncode == 0, again.stdout


QUICK = ("journal", "confirm", "waiting-line", "nudge")


@pytest.mark.parametrize(
    "control", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in CONTROLS]
)
def test_without_a_guarantee_the_drill_fails_and_names_its_promise(tmp_path: Path, control: str) -> None:
    """A drill that cannot fail proves nothing."""
    found = drilled(tmp_path, "--without", control, "--purchases", "800", "--patience", "8", code=1)
    assert found["missed"] is True, found["reasons"]
    broken = {number for number, promise in found["audit"]["promises"].items() if promise["breaches"]}
    assert all(any(f"promise {number} is broken" in reason for reason in found["reasons"]) for number in broken)
    assert broken & {str(number) for number in CONTROLS[control].promises}


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_keeps_every_promise(tmp_path: Path, scenario: str) -> None:
    found = drilled(tmp_path, scenario, "--purchases", "3000", "--seed", "7")
    assert found["audit"]["holds"]
    assert found["audit"]["accepted"] == found["load"]["arrived"] == 3000
    planned = faults.plan(scenario, 7, 30)
    assert sorted((fault["kind"], fault["victim"]) for fault in found["faults"]) == sorted(
        (fault.kind, fault.victim) for fault in planned
    )


@pytest.mark.long
def test_ten_thousand_buyers_of_one_token_with_kills_every_second(tmp_path: Path) -> None:
    found = drilled(tmp_path, "storm", "--mix", "flood", "--purchases", "10000", "--buyers", "10000", "--seed", "7")
    assert found["audit"]["accepted"] == 10_000
    assert (found["audit"]["sold"], found["audit"]["refused"]) == (1, 9_999)


async def test_a_shop_that_runs_is_drilled_where_it_is_and_again(tmp_path: Path) -> None:
    async with own_shop(tmp_path):
        here = ("all", "--here", "--data", str(tmp_path / "data"), "--purchases", "400")
        first = await asyncio.to_thread(drilled, tmp_path / "first", *here)
        again = await asyncio.to_thread(drilled, tmp_path / "again", *here, "--mix", "retry")
    assert first["holds"]
    assert again["holds"]
    assert first["audit"]["accepted"] == 400
    assert again["audit"]["accepted"] > 400


def test_what_cannot_be_done_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    for words, sentence in (
        (("drill", "nosuch"), "there is no scenario nosuch"),
        (("drill", "--mix", "nosuch"), "there is no mix nosuch"),
        (("drill", "--without", "nosuch"), "there is no control nosuch"),
        (("drill", "--without", "nudge", "--here"), "leave out --here"),
        (("drill", "--here", "--kube"), "leave one of them out"),
        (("drill", "freeze", "--kube"), "with --kube it is one of transacciones, all, broker, storm"),
        (("drill", "freeze", "--every", "2"), "--every is for the scenario storm"),
        (("drill", "--here", "--data", str(tmp_path)), "make up"),
        (("load", "--data", str(tmp_path)), "make up"),
        (("load", "--url", "http://127.0.0.1:9"), "--operator-token"),
        (("load", "--url", "http://127.0.0.1:9", "--operator-token", "x", "--out", str(tmp_path)), "does not answer"),
        (("audit", "--data", str(tmp_path)), "--data"),
    ):
        answer = zoco(*words)
        assert answer.returncode == 2, answer
        assert sentence in answer.stderr
