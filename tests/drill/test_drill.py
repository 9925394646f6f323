"""The drill as a person types it: a shop of its own, killed for real, and audited."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ZOCO = Path(sys.executable).with_name("zoco")


def zoco(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ZOCO), *words], capture_output=True, text=True, check=False, timeout=280)


def drilled(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """What a small drill found, as JSON."""
    answer = zoco("drill", *words, "--rate", "100", "--json", "--out", str(folder))
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
