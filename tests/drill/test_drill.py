"""The drill as a person types it: a shop of its own, killed for real, and audited."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from patience import eventually

from loadgen.drill import faults
from loadgen.drill.faults import POSTGRES, SCENARIOS, SERVICES, STANDBY
from loadgen.drill.guarantees import GUARANTEES
from loadgen.drill.shop import own_shop
from loadgen.load.client import Client
from ops.postgres import LOG
from ops.running import LocalError, Running

# The longest drill takes minutes, and longer on a busy machine.
PATIENCE_SECONDS = 900
ZOCO = Path(sys.executable).with_name("zoco")


def zoco(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ZOCO), *words], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def drilled(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """What a small drill found, as JSON."""
    answer = zoco("drill", "--rate", "60", *words, "--json", "--out", str(folder))
    assert answer.stdout, answer.stderr[-2000:]
    found: dict[str, Any] = json.loads(answer.stdout)
    assert answer.returncode == code, (found["reasons"], answer.stderr[-2000:])
    return found


def notes(folder: Path) -> list[dict[str, Any]]:
    """What the drill's client wrote down."""
    return [json.loads(line) for line in (folder / "client.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_classic_kills_transacciones_and_proves_that_nothing_was_lost(tmp_path: Path) -> None:
    found = drilled(tmp_path, "transacciones", "--purchases", "700", "--down", "1")
    assert found["holds"], found["reasons"]
    assert [fault["victim"] for fault in found["faults"]] == ["transacciones"] * 3
    # As many as were asked for; more only if the last kill was over late.
    assert found["purchases"]["accepted"] == found["audit"]["accepted"] == found["load"]["arrived"] >= 700
    assert found["purchases"]["sold"] == found["audit"]["sold"] > 350
    assert all(fault["underWay"] > 0 and fault["back"] for fault in found["faults"])
    assert 0 < found["purchases"]["exposed"] == found["kinds"]["kill services"]["purchases"]
    assert found["atMost"] == pytest.approx(min(1, 3 / found["purchases"]["exposed"]))
    assert (found["audit"]["lost"], found["audit"]["doubled"], found["audit"]["oversold"]) == (0, 0, 0)
    assert len(found["recoverySeconds"]) == 3
    assert found["load"]["backlogPeak"] > 50
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")
    began, over = found["faults"][0]["began"], found["faults"][-1]["over"]
    given = [note["t"] for note in notes(tmp_path) if note.get("enters", "").endswith("/recargas")]
    assert given[0] < began and any(began < instant < over for instant in given) and given[-1] > over
    # How its purchases were shown meanwhile: the first of them and one in a hundred.
    shown = Counter(note["seen"]["id"] for note in notes(tmp_path) if "seen" in note)
    assert len(shown) >= 10 and max(shown.values()) > 1
    again = zoco("audit", "--data", str(tmp_path / "data"), "--client", str(tmp_path / "client.jsonl"))
    assert again.returncode == 0, again.stdout


def test_a_slow_load_goes_on_until_it_shows_whether_the_shop_is_back(tmp_path: Path) -> None:
    """The last two kills wait for who is down already: when they come, all that was asked for has long been sent."""
    found = drilled(tmp_path, "transacciones", "--rate", "4", "--purchases", "8", "--mix", "abuse")
    assert found["holds"], found["reasons"]
    assert all(fault["underWay"] > 0 and fault["back"] for fault in found["faults"])


QUICK = ("journal",)


@pytest.mark.parametrize(
    "control", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in GUARANTEES]
)
def test_without_a_guarantee_the_drill_fails_and_names_its_promise(tmp_path: Path, control: str) -> None:
    """A drill that cannot fail proves nothing."""
    found = drilled(tmp_path, "--without", control, "--purchases", "800", "--patience", "8", code=1)
    assert found["missed"] is True, found["reasons"]
    assert found["outcome"] == "it was missed by its own promise: the drill fails, as it should"
    broken = {number for number, promise in found["audit"]["promises"].items() if promise["breaches"]}
    assert all(any(f"promise {number} is broken" in reason for reason in found["reasons"]) for number in broken)
    assert broken & {str(number) for number in GUARANTEES[control].promises}


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["transacciones", GUARANTEES["confirm"].scenario])
def test_a_guarantee_that_nothing_needed_was_not_missed_and_that_is_exit_code_3(tmp_path: Path, scenario: str) -> None:
    """RabbitMQ's disk is not deleted here: whatever was said is in its queues, and nobody need ask again. So what is
    lost there without `confirm`, which asks for nothing again either, is lost by what was never confirmed.
    On a busy machine a service is back only after many seconds: between two kills there is time for that."""
    each = ("--rate", "6", "--purchases", "150", "--buyers", "10", "--mix", "abuse")
    found = drilled(tmp_path, "--without", "nudge", scenario, *each, "--patience", "60", code=3)
    assert (found["missed"], found["holds"], found["audit"]["holds"]) == (False, False, True), found["reasons"]
    assert found["outcome"].startswith("IT WAS NOT MISSED: the audit is blind"), found["reasons"]
    assert found["reasons"] == [f"without nudge: {found['outcome']}"]


def test_a_drill_that_failed_for_another_reason_shows_nothing_of_the_guarantee(tmp_path: Path) -> None:
    """One token is sold once: no sale after a kill shows that the shop is back."""
    few = ("--purchases", "100", "--tokens", "1", "--mix", "normal", "--patience", "60")
    found = drilled(tmp_path, "--without", "nudge", "transacciones", *few, code=3)
    assert found["missed"] is False
    assert found["outcome"].startswith("IT WAS NOT MISSED BY ITS OWN PROMISE"), found["reasons"]
    assert any("nothing was sold after it" in reason for reason in found["reasons"])


# Two busy cores cannot start a service a second, and a request that is given up fails a drill.
STORM = ("--rate", "20", "--every", "4")


@pytest.mark.long
@pytest.mark.parametrize("scenario", [name for name, found in SCENARIOS.items() if not found.database])
def test_every_scenario_keeps_every_promise(tmp_path: Path, scenario: str) -> None:
    slower = STORM if scenario == "storm" else ()
    keeps_every_promise(tmp_path, scenario, *slower)


# As many processes as a small shop may have.
SEVERAL = ("--postgres", "--replicas", "tokens=3,usuarios=2,compras=2")


@pytest.mark.long
@pytest.mark.parametrize(
    "scenario", [name for name, found in SCENARIOS.items() if found.database is not False and name != "chain"]
)
def test_every_scenario_keeps_every_promise_on_postgresql(tmp_path: Path, scenario: str) -> None:
    slower = STORM if scenario == "storm" else ("--rate", "60")
    keeps_every_promise(tmp_path, scenario, *SEVERAL, *slower, database=True)


@pytest.mark.long
def test_two_hundred_kills_and_twenty_failovers_in_one_go(tmp_path: Path) -> None:
    four = ("--postgres", "--replicas", "tokens=4,usuarios=4,transacciones=4,compras=2")
    found = drilled(tmp_path, "chain", *four, "--rate", "20", "--purchases", "6200", "--patience", "300")
    assert found["holds"]
    happened = Counter((fault["kind"], fault["victim"]) for fault in found["faults"])
    assert sum(happened["kill", service] for service in SERVICES) >= 200
    assert happened["freeze", STANDBY] == happened["kill", POSTGRES] >= 20
    logs = [*(tmp_path / "data" / "postgres").rglob(LOG)]
    assert len(logs) == 2
    assert not [log for log in logs if "deadlock" in log.read_text(encoding="utf-8")]


def keeps_every_promise(folder: Path, scenario: str, *words: str, database: bool = False) -> None:
    found = drilled(folder, scenario, "--purchases", "2000", "--seed", "7", *words)
    assert found["audit"]["holds"]
    assert found["audit"]["accepted"] == found["load"]["arrived"] >= 2000
    planned = faults.plan(scenario, 7, 100, every_seconds=4, database=database)
    assert sorted((fault["kind"], fault["victim"]) for fault in found["faults"]) == sorted(
        (fault.kind, fault.victim) for fault in planned
    )


@pytest.mark.long
def test_ten_thousand_buyers_of_one_token_with_kills_all_the_while(tmp_path: Path) -> None:
    flood = ("--mix", "flood", "--purchases", "10000", "--buyers", "10000", "--seed", "7", "--every", "4")
    answer = zoco("drill", "storm", "--rate", "60", *flood, "--json", "--out", str(tmp_path))
    found: dict[str, Any] = json.loads(answer.stdout)
    # One token is sold once, and who comes late is refused at once: some kills may meet nobody, and then the drill
    # says so and fails. Nothing else is wrong.
    expected = ("nothing was sold after it", "it met no purchase")
    assert not [reason for reason in found["reasons"] if not any(one in reason for one in expected)], found["reasons"]
    assert found["audit"]["holds"]
    accepted = found["audit"]["accepted"]
    assert accepted >= 10_000
    assert (found["audit"]["sold"], found["audit"]["refused"]) == (1, accepted - 1)


@pytest.mark.long
async def test_a_shop_that_runs_is_drilled_where_it_is_and_again(tmp_path: Path) -> None:
    async with own_shop(tmp_path):
        here = ("all", "--here", "--data", str(tmp_path / "data"), "--purchases", "400")
        first = await asyncio.to_thread(drilled, tmp_path / "first", *here)
        again = await asyncio.to_thread(drilled, tmp_path / "again", *here, "--mix", "retry")
    assert first["holds"]
    assert again["holds"]
    assert first["purchases"]["accepted"] == first["audit"]["accepted"] >= 400
    # What the first load bought is in these books, too, and is none of the second's.
    assert again["audit"]["accepted"] == first["audit"]["accepted"] + again["purchases"]["accepted"]
    assert again["purchases"]["exposed"] <= again["purchases"]["accepted"] < again["load"]["arrived"]


async def test_who_buys_in_a_drills_own_shop_and_is_none_of_its_clients_is_missed(tmp_path: Path) -> None:
    few = ("transacciones", "--rate", "10", "--purchases", "30")
    drilling = asyncio.create_task(asyncio.to_thread(drilled, tmp_path, *few, code=1))
    await eventually(lambda: _runs(tmp_path / "data"), "the drill's shop does not run")
    async with Client(Running.read(tmp_path / "data").urls["compras"], None) as stranger:
        await stranger.buy(10**12, 10**12)
    found = await drilling
    assert found["reasons"] == ["promise 10 is broken: one buyer and key: one purchase, one answer"]
    assert [breach["why"] for breach in found["audit"]["breaches"]] == ["nobody asked for this purchase"]


async def _runs(data: Path) -> bool:
    try:
        Running.read(data)
    except LocalError:
        return False
    return True


def test_what_cannot_be_done_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    nowhere = ("load", "--url", "http://127.0.0.1:9", "--operator-token", "x", "--books-token", "x")
    for words, sentence in (
        (("drill", "nosuch"), "there is no scenario nosuch"),
        (("drill", "--mix", "nosuch"), "there is no mix nosuch"),
        (("drill", "--without", "nosuch"), "there is no control nosuch"),
        (("drill", "--without", "nudge", "--here"), "leave out --here"),
        (("drill", "--here", "--kube"), "leave one of them out"),
        (("drill", "freeze", "--kube"), "with --kube it is one of transacciones, all, broker, storm"),
        (("drill", "freeze", "--every", "2"), "--every is for the scenario storm"),
        (("drill", "lost-disk", "--here"), "lost-disk deletes books: it is for a shop of the drill's own"),
        (("drill", "--here", "--data", str(tmp_path)), "make up"),
        (("load", "--data", str(tmp_path)), "make up"),
        (nowhere[:5], "both tokens"),
        ((*nowhere, "--out", str(tmp_path)), "does not answer"),
        (("audit", "--data", str(tmp_path)), "--data"),
    ):
        answer = zoco(*words)
        assert answer.returncode == 2, answer
        assert sentence in answer.stderr
