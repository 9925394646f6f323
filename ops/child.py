"""One process of a service under `zoco up`: started, watched, started again, with the next one ready."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.places import Place
from ops.process import Process
from ops.restarts import FIRST_PAUSE_SECONDS, KILLED, LONGEST_PAUSE_SECONDS, Pauses, ended, until_done, until_let_go

# sysexits.h: it will not start until somebody mends something.
EX_CONFIG: Final = 78
# A service that was just started has the machine for itself for so long; then its next process gets ready.
SPARE_SECONDS: Final = 2.0
CODE: Final = (Path(__file__).parents[1] / "services", Path(__file__).parents[1] / "broker")

# How uvicorn runs a service. The bench runs what it compares with in the same way, but for the guard.
SERVER_OPTIONS: Final = (
    *("--no-access-log", "--no-proxy-headers", "--log-level", "warning"),
    *("--timeout-graceful-shutdown", "5"),
)
# Our protocol, and no websockets.
GUARDED: Final = ("--http", "services.shared.http.guard:GuardedProtocol", "--ws", "none")

# What else Python runs for a service: the drill's negative controls run another program.
Program = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Processes:
    """How a service's processes are run: by what other program, and whether the next one gets ready beforehand."""

    program: Program | None = None
    spares: bool = True


USUAL: Final = Processes()


@dataclass(frozen=True, slots=True)
class Supervisor:
    """What a child needs of who supervises it."""

    data: Path
    processes: Processes
    # A line of its log, or of ours about it.
    line: Callable[[str, str], None]
    # It runs as another process now.
    changed: Callable[[], None]
    # It will not start until something is mended: whether that was ours to mend, and is.
    mended: Callable[[], Awaitable[bool]]


class Child:
    """A process, and then the next one in its place."""

    def __init__(self, place: Place, env: dict[str, str], by: Supervisor, *, alone: bool) -> None:
        """`alone`: no other process does the same, so its next one gets ready beforehand."""
        self.place = place
        self.process: Process | None = None
        self._env, self._by = env, by
        self._with_spare = alone and by.processes.spares and by.processes.program is None
        self._started = 0.0
        # The next one: it has imported everything, and waits.
        self._spare: Process | None = None
        self._spared = 0.0
        self._logs: list[threading.Thread] = []

    def start(self) -> None:
        """Raises OSError, RuntimeError: there is no room for a process, or a thread."""
        if self._spare is not None and (self._spare.code is not None or _edited_since(self._spared)):
            self._spare.kill()
            self._spare = None
        self.process, self._spare = self._spare or self._process(), None
        if self._by.processes.program is None:
            self.process.go()
        self._started = time.monotonic()

    async def watch(self) -> None:
        """Start it again whenever it ends, after a pause that grows while it keeps ending."""
        pauses = Pauses()
        while True:
            assert self.process is not None
            code = await self.process.wait()
            if code == EX_CONFIG and await self._mended():
                code = KILLED
            pause = pauses.after(code, time.monotonic() - self._started)
            if code == EX_CONFIG:
                pause = LONGEST_PAUSE_SECONDS
            self._say(f"{self.place.label} {ended(code)}; it is started again in {pause:.1f} s")
            await asyncio.sleep(pause)
            await until_let_go(self._by.data, self.place.label)
            await until_done(f"{self.place.label} does not start", self._start_again, self._say, pause)
            self._by.changed()

    async def keep_spare(self) -> None:
        """Have the next process ready, once the last one is at work."""
        while self._with_spare:
            if self._spare is None and time.monotonic() - self._started > SPARE_SECONDS:
                what = f"the next {self.place.label} does not start"
                await until_done(what, self._get_ready, self._say, FIRST_PAUSE_SECONDS)
            await asyncio.sleep(SPARE_SECONDS / 4)

    async def stop(self, seconds: float) -> None:
        """Let it end in order, if that takes no longer than this."""
        if self._spare is not None:
            self._spare.kill()
        if self.process is not None:
            await self.process.stop(seconds)

    async def drain(self) -> None:
        """All that it said is told."""
        for log in self._logs:
            await asyncio.to_thread(log.join, 1)

    async def _start_again(self) -> None:
        self.start()

    async def _get_ready(self) -> None:
        self._spared = time.time()
        self._spare = self._process()

    async def _mended(self) -> bool:
        try:
            return await self._by.mended()
        except Exception as error:
            # It ends again, and then it is tried again.
            self._say(f"what {self.place.label} wants is not mended: {error}")
            return False

    def _say(self, text: str) -> None:
        self._by.line("zoco", text)

    def _process(self) -> Process:
        """A new process of the service. It waits for its turn, unless it is another program."""
        app = f"services.{self.place.service}.main:app"
        program = self._by.processes.program
        words = ("-m", "ops.warm_standby", app) if program is None else program(self.place.service)
        where = ("--host", "127.0.0.1", "--port", str(self.place.port))
        command = [sys.executable, *words, *where, *SERVER_OPTIONS, *GUARDED]
        process = Process(command, self._env, subprocess.PIPE, waits=program is None)
        log = threading.Thread(target=self._relay, args=(process,), daemon=True)
        try:
            log.start()
        except RuntimeError:
            process.kill()
            raise
        self._logs = [*(one for one in self._logs if one.is_alive()), log]
        return process

    def _relay(self, process: Process) -> None:
        assert process.output is not None
        for line in process.output:
            self._by.line(self.place.label, line.decode(errors="replace").rstrip())


def _edited_since(moment: float) -> bool:
    """Whether the code is newer than a process that was started then: whoever edits it wants to see it run."""
    files = (file for folder in CODE for file in folder.rglob("*.py"))
    return any(file.stat().st_mtime > moment for file in files)
