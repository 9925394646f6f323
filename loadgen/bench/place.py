"""Where all is measured: one RabbitMQ, a virtual host and a folder for each side, and whose CPU it was."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from broker.amqp.bus import Bus
from ops.child import GUARDED, SERVER_OPTIONS
from ops.process import Process, free_port
from ops.rabbitmq import Node
from ops.running import POSTGRES
from services.shared.clock import utc_now

BROKER: Final = "rabbitmq"
# The store that is files, in a table.
JSON: Final = "json"
POLL_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 120.0
STOP_SECONDS: Final = 10.0


class BenchFailed(Exception):
    """A side could not be measured. One sentence: which, and why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: a figure in its own unit, and the microseconds of CPU that each process spent on one item."""

    value: float
    cpu: Mapping[str, float]


class Watch:
    """CPU of processes from now on, children that they still have not included."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._before = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def per(self, count: int) -> dict[str, float]:
        """Microseconds of each process for one of so many."""
        return {name: (cpu_seconds(pid) - self._before[name]) * 1e6 / count for name, pid in self._pids.items()}


def cpu_seconds(pid: int) -> float:
    """What the kernel has counted for it, in user and system mode, and, for a database, for its children too."""
    process = psutil.Process(pid)
    if not process.name().startswith(POSTGRES):
        return _counted(process)
    found = process.cpu_times()
    # Each connection is a process; those that ended are counted with their parent.
    total = _counted(process) + float(found.children_user + found.children_system)
    for child in process.children():
        with suppress(psutil.Error):
            total += _counted(child)
    return total


def _counted(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


class Program:
    """A process that prints lines of JSON."""

    def __init__(self, module: str, words: tuple[str, ...], env: Mapping[str, str]) -> None:
        self.process = Process([sys.executable, "-m", module, *words], {**os.environ, **env}, subprocess.PIPE)

    async def says(self, name: str) -> Any:
        """The value of `name` in its next line. Raises BenchFailed when it says something else, or ends."""
        assert self.process.output is not None
        line = await asyncio.to_thread(self.process.output.readline)
        with suppress(ValueError, KeyError, TypeError):
            return json.loads(line)[name]
        rest = await asyncio.to_thread(self.process.output.read)
        raise BenchFailed(f"a baseline ended: {(line + rest).decode(errors='replace')[-500:]}")

    async def stop(self) -> None:
        await self.process.stop(STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class Served:
    """A process that answers HTTP."""

    process: Process
    url: str


class Place:
    """All that the sides share. Use `opened`."""

    def __init__(self, folder: Path, node: Node, http: aiohttp.ClientSession) -> None:
        self.folder = folder
        self.http = http
        self.node = node
        self._urls: dict[str, str] = {}

    @property
    def broker_pid(self) -> int:
        assert self.node.pid is not None
        return self.node.pid

    async def url(self, name: str) -> str:
        """A virtual host of this name, with every queue in it. Made when it is asked for first."""
        if name in self._urls:
            return self._urls[name]
        await self.node.add_vhost(name)
        url = self.node.url(name)
        bus = Bus(url, "compras", now=utc_now)
        running = asyncio.create_task(bus.run())
        await until(lambda: _is(bus.connected), f"the broker's virtual host {name}")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bus.close()
        self._urls[name] = url
        return url

    async def get(self, url: str) -> str:
        """The text of a GET. Raises aiohttp.ClientError."""
        async with self.http.get(url) as answer:
            answer.raise_for_status()
            return await answer.text()

    @asynccontextmanager
    async def served(
        self, name: str, words: tuple[str, ...], env: Mapping[str, str], ready: str = "/readyz"
    ) -> AsyncIterator[Served]:
        """Run uvicorn as `zoco up` does, from when a GET of `ready` is answered."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        place = ("--host", "127.0.0.1", "--port", str(port))
        guarded = GUARDED if words[0].startswith("services.") else ()
        command = [sys.executable, "-m", "uvicorn", *words, *place, *SERVER_OPTIONS, *guarded]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("ZOCO_")}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = Process(command, {**inherited, "ZOCO_PUBLIC_URL": url, **env}, log)

        async def answers() -> bool:
            if process.code is not None:
                raise BenchFailed(f"{name} ended while it started: see {self.folder / name}.log")
            with suppress(aiohttp.ClientError, TimeoutError):
                await self.get(url + ready)
                return True
            return False

        try:
            await until(answers, name)
            yield Served(process, url)
        finally:
            await process.stop(STOP_SECONDS)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Place]:
    """Start a RabbitMQ in this folder; stop it in the end. Raises NodeError."""
    folder.mkdir(parents=True, exist_ok=True)
    node = Node(folder / BROKER)
    await node.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
            yield Place(folder, node, http)
    finally:
        await node.stop()


async def until(holds: Callable[[], Awaitable[bool]], what: str, poll_seconds: float = POLL_SECONDS) -> None:
    """Raises BenchFailed when it takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await holds():
        if time.monotonic() > deadline:
            raise BenchFailed(f"{what} is not there after {PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(poll_seconds)


async def _is(value: bool) -> bool:
    return value
