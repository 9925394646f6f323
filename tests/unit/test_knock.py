"""The knock-down button's seam: off unless told, and without `zoco up` in a cluster's image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.compras.knock import knock_down, place_of
from services.shared.problems import Problem


async def test_it_is_off_unless_a_setting_says_where() -> None:
    with pytest.raises(Problem, match="ZOCO_KNOCK_DOWN") as caught:
        await knock_down(place_of(None), "tokens", 1)
    assert caught.value.status == 403


async def test_where_nothing_runs_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="make up") as caught:
        await knock_down(place_of(f"local:{tmp_path}"), "tokens", 1)
    assert caught.value.status == 503


def test_the_front_door_starts_without_what_its_image_does_not_have() -> None:
    code = "import sys, services.compras.main; sys.exit('services.local' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
