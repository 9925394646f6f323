"""`zoco bench --quick`, as a person types it. Margins are wide: other tests run on the same machine meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from loadgen.bench.figures import FIGURES

ZOCO = Path(sys.executable).with_name("zoco")
# A goal may be missed by so much before a test fails: it sees that something broke, not how good it is.
MARGIN = 8
# Latencies and starts say nothing while other tests run, and are not measured.
MEASURED = {"relay", "batched", "door", "drain", "drain-batched", "get", "crowd", "flat", "memory"} | {
    *("postgres", "store-300", "store-300-compras", "store-10")
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bench")
    answer = subprocess.run(
        [str(ZOCO), "bench", "--quick", "--json", "--out", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    answered: dict[str, Any] = json.loads(answer.stdout)
    return answered


def test_every_figure_is_measured_on_both_sides(found: dict[str, Any]) -> None:
    assert MEASURED | ({"faststream", "outbox"} if find_spec("faststream") else set()) == found["figures"].keys()
    for name, figure in found["figures"].items():
        assert len(figure["ours"]) == len(figure["base"]) or not FIGURES[name].against, name
        assert all(value > 0 for value in figure["ours"] + figure["base"]), name


def test_no_ratio_is_far_from_its_goal(found: dict[str, Any]) -> None:
    for name, figure in found["figures"].items():
        if FIGURES[name].at_most:
            assert figure["value"] < figure["goal"] * MARGIN, name
        else:
            assert figure["value"] > figure["goal"] / MARGIN, name


def test_the_shop_that_was_measured_lost_nothing(found: dict[str, Any]) -> None:
    audit = found["audit"]
    assert audit["holds"]
    assert audit["sold"] > 2000
    assert (audit["lost"], audit["doubled"], audit["oversold"]) == (0, 0, 0)
