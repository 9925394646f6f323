"""Knocking down on this machine: `zoco kill` of a process of `zoco up`. Who supervises is another program's matter."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from broker.services import SERVICES
from services.shared.http.problems import unavailable

# How long `zoco up` keeps a service down when the page asks for it: long enough to buy, and to see the queue grow.
DEFAULT_SECONDS: Final = 10.0
ENGINES: Final = ("rabbitmq", "postgres")
KILLED: Final = re.compile(r"killed (\S+) \((pid \d+)\)")


class LocalChaos:
    """The processes of the `zoco up` in this folder."""

    def __init__(self, data: Path, *, database: bool) -> None:
        self._data = data
        self.names: Sequence[str] = (*SERVICES, *ENGINES) if database else (*SERVICES, ENGINES[0])

    def command(self, name: str) -> str:
        """It works as pasted, in whatever folder: where the command is, and where this shop is kept."""
        program = shlex.quote(str(Path(sys.executable).with_name("zoco")))
        return f"{program} kill {name} --for {DEFAULT_SECONDS:g} --data {shlex.quote(str(self._data))}"

    async def kill(self, name: str, seconds: float) -> str:
        """Who was killed. The answer of a front door that kills itself is lost with it."""
        kill = ("-m", "zoco", "kill", name, "--for", f"{seconds:f}", "--data", str(self._data))
        # It outlives whom it kills, and says so in a language that is known here.
        environment = {**os.environ, "LC_ALL": "C"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *kill, stdout=PIPE, stderr=PIPE, env=environment, start_new_session=True
        )
        said, complaint = await process.communicate()
        if process.returncode:
            raise unavailable(complaint.decode(errors="replace").strip().removeprefix("zoco: "))
        found = KILLED.search(said.decode(errors="replace"))
        if found is None:
            return name
        who, pid = found.groups()
        # One of several has a name of its own.
        return pid if who == name else f"{who}, {pid}"
