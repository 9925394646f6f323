"""What a service cannot do without goes on for as long as its process lives, or the process ends and says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS

from ops.child import GUARDED, SERVER_OPTIONS
from ops.process import free_port

PROGRAM = """
import sys, uvicorn
from services.shared.http.guard import Guard
from services.shared.http.pace import Pace

async def fails(self):
    raise RuntimeError("a bug in it")

{part}.run = fails
uvicorn.main(sys.argv[1:])
"""


@pytest.mark.parametrize("part", ["Guard", "Pace"])
def test_a_process_ends_with_a_part_that_it_cannot_do_without(tmp_path: Path, part: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")}
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM.format(part=part), "services.tokens.main:app"),
            *("--port", str(free_port()), *SERVER_OPTIONS, *GUARDED),
        ],
        env={**env, "ZOCO_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "a bug in it" in done.stdout + done.stderr
