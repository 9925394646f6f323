"""`zoco up` whose services write down which functions of ours they enter. Its name has to have `zoco` in it.

At SIGUSR1 a service writes what it entered since the last one: `NAME.json` in the folder of `PROFILED`, with
`[file, function and its line, when first]` each, by the clock that all processes share.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import uvicorn

from ops.child import Processes
from ops.supervisor import Local

ROOT = Path(__file__).parents[2]
OURS = tuple(str(ROOT / package) + "/" for package in ("broker", "services"))


class Profile:
    """Every function that is entered, in every thread, with when it was first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._entered: dict[int, tuple[CodeType, float]] = {}

    def hook(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and id(frame.f_code) not in self._entered:
            self._entered[id(frame.f_code)] = frame.f_code, time.monotonic()

    def write(self, *_: object) -> None:
        entered, self._entered = self._entered, {}
        found = [
            (str(Path(code.co_filename).relative_to(ROOT)), f"{code.co_qualname}:{code.co_firstlineno}", first)
            for code, first in entered.values()
            if code.co_filename.startswith(OURS)
        ]
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(found), encoding="utf-8")
        new.replace(self._file)


def main(arguments: list[str]) -> None:
    """`up --data FOLDER --port N` starts the shop; `NAME` and uvicorn's options run one service of it."""
    if arguments[0] == "up":
        program = lambda name: (__file__, name)  # noqa: E731
        asyncio.run(Local(Path(arguments[2]), int(arguments[4]), processes=Processes(program)).run())
        return
    profile = Profile(Path(os.environ["PROFILED"]) / f"{arguments[0]}.json")
    signal.signal(signal.SIGUSR1, profile.write)
    threading.setprofile(profile.hook)
    sys.setprofile(profile.hook)
    uvicorn.main([f"services.{arguments[0]}.main:app", *arguments[1:]])


if __name__ == "__main__":
    main(sys.argv[1:])
