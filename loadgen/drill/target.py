"""A shop on this machine that a drill can harm: real processes, by their ids."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
from yarl import URL

from loadgen.drill.faults import BROKER, POLL_SECONDS, POSTGRES, STANDBY, Fault, FaultFailed, kill_when_there
from loadgen.drill.lost import LostBooks
from loadgen.drill.proxy import Proxy
from loadgen.load.clock import CLOCK
from ops.i18n import Text
from ops.postgres import opened
from ops.running import LocalError, Running, kill_process

# RabbitMQ takes about 6 s to come back, and far longer on a machine with other work.
PATIENCE_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 2.0
# Room that a "full" disk still has: the next record is written in part.
ROOM_BYTES: Final = 100
# Under load somebody commits by then.
WAITS_SECONDS: Final = 2.0
# How many connections that wait for a standby it ended.
DISCONNECT: Final = (
    "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
)


class LocalTarget:
    """What `zoco up` runs in this folder. `proxy` is the way to its RabbitMQ, if it has one."""

    def __init__(self, data: Path, proxy: Proxy | None = None) -> None:
        self._data = data
        self._proxy = proxy
        self._books = LostBooks(data, self._kill)

    async def do(self, fault: Fault, began: Callable[[float], None]) -> None:
        match fault.kind:
            case "kill":
                await self._kill(fault.victim, fault.seconds, began)
            case "wipe":
                await self._wipe(fault.seconds, began)
            case "freeze":
                await self._freeze(fault.victim, fault.seconds, began)
            case "disconnect":
                await self._disconnect(began)
            case "disk-full":
                await self._fill_disk(fault.victim, fault.seconds, began)
            case "cut":
                await self._cut(fault.seconds, began)
            case "stall":
                await self._stall(fault.seconds, began)
            case "lost-disk" | "old-backup":
                await self._books.lose(fault.victim, began, older=fault.kind == "old-backup")

    async def _kill(self, victim: str, seconds: float, began: Callable[[float], None]) -> None:
        """Once it works: on a busy machine a start takes longer than it is from one kill to the next, and who is killed
        in each of them is never back."""

        def kill() -> None:
            running = Running.read(self._data)
            kill_process(running, one or running.one_of(victim), seconds or None)

        one = await self._working(victim)
        await kill_when_there(kill, victim, LocalError, PATIENCE_SECONDS, began)

    async def _working(self, victim: str) -> str | None:
        """One of these processes that works, once there is one; None: none did for so long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with suppress(LocalError):
                one = Running.read(self._data).one_of(victim)
                if await self._works(one):
                    return one
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def _works(self, victim: str) -> bool:
        """Whether RabbitMQ or PostgreSQL takes connections, or a standby has all that the other has; whether a process
        of a service has read its books and found RabbitMQ."""
        try:
            running = Running.read(self._data)
            if victim == STANDBY:
                async with self._database() as owner:
                    follows = "SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming'"
                    return bool(await owner.fetchval(follows))
            if victim in (BROKER, POSTGRES):
                engine = URL((running.broker_url if victim == BROKER else running.database_url) or "")
                _, writer = await asyncio.open_connection(engine.host, engine.port)
                writer.close()
                return True
            if (url := running.places.get(victim)) is None:
                return True
            timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url}/readyz") as answer:
                return answer.ok
        except (LocalError, aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _wipe(self, seconds: float, began: Callable[[float], None]) -> None:
        disk = self._data / BROKER / "data"
        if not disk.exists():
            raise FaultFailed(Text("there is no disk of RabbitMQ in {disk}: it is not ours to wipe", disk))
        await self._kill(BROKER, seconds, began)
        await asyncio.to_thread(shutil.rmtree, disk)

    async def _freeze(self, victim: str, seconds: float, began: Callable[[float], None]) -> None:
        if victim == STANDBY:
            # Who does not follow yet has nothing to miss.
            await self._working(victim)
        pids = [await self._pid(victim)]
        if victim in (POSTGRES, STANDBY):
            # Each of its connections is a process. It may have been killed just now.
            with suppress(psutil.NoSuchProcess):
                pids += [process.pid for process in psutil.Process(pids[0]).children()]
        if not _send(pids, signal.SIGSTOP):
            raise FaultFailed(Text("{victim} was gone before it could be stopped", victim))
        began(CLOCK.now())
        try:
            await asyncio.sleep(seconds)
        finally:
            _send(pids, signal.SIGCONT)

    async def _disconnect(self, began: Callable[[float], None]) -> None:
        """Once somebody waits. Of a PostgreSQL that waits for nobody, nobody."""
        deadline = time.monotonic() + WAITS_SECONDS
        async with self._database() as owner:
            while True:
                now = CLOCK.now()
                if await owner.fetchval(DISCONNECT) or not await owner.fetchval("SHOW synchronous_standby_names"):
                    began(now)
                    return
                if time.monotonic() > deadline:
                    raise FaultFailed(Text("nobody waited for the standby in {seconds:g} s", WAITS_SECONDS))
                await asyncio.sleep(POLL_SECONDS)

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[Any]:
        connection = await opened(Running.read(self._data).database_url or "")
        try:
            yield connection
        finally:
            await connection.close()

    async def _fill_disk(self, victim: str, seconds: float, began: Callable[[float], None]) -> None:
        """By a limit on the size of the service's files, which needs no rights: the kernel writes up to it, and then
        says EFBIG, which the store takes for a full disk like ENOSPC (that one is tested on a small tmpfs). For who
        writes nothing, or into another file, there is room."""
        try:
            from resource import RLIMIT_FSIZE, prlimit  # noqa: PLC0415 - Linux only
        except ImportError:
            raise FaultFailed("a disk can be made full on Linux only") from None
        pid = await self._pid(victim)
        newest = max((self._data / victim).glob("journal-*.jsonl"))
        _, hard = prlimit(pid, RLIMIT_FSIZE)
        prlimit(pid, RLIMIT_FSIZE, (newest.stat().st_size + ROOM_BYTES, hard))
        began(CLOCK.now())
        over, met = time.monotonic() + seconds, False
        try:
            while (left := over - time.monotonic()) > 0:
                met = met or (await self._state(victim)).get("diskFull", False)
                await asyncio.sleep(min(left, POLL_SECONDS))
        finally:
            with suppress(ProcessLookupError):
                prlimit(pid, RLIMIT_FSIZE, (hard, hard))
        if not met:
            raise FaultFailed(Text("{victim} found room for all that it wrote in {seconds:g} s", victim, seconds))

    async def _state(self, victim: str) -> dict[str, Any]:
        """What the process that writes says of itself; nothing while it does not answer."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            running = Running.read(self._data)
            url = running.places[running.one_of(victim)]
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url}/readyz") as answer:
                state: dict[str, Any] = await answer.json(content_type=None)
                return state
        except (LocalError, aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return {}

    async def _cut(self, seconds: float, began: Callable[[float], None]) -> None:
        proxy = self._way()
        await proxy.stop()
        began(CLOCK.now())
        try:
            await asyncio.sleep(seconds)
        finally:
            await proxy.start()

    async def _stall(self, seconds: float, began: Callable[[float], None]) -> None:
        proxy = self._way()
        proxy.stall()
        began(CLOCK.now())
        try:
            await asyncio.sleep(seconds)
        finally:
            proxy.flow()

    def _way(self) -> Proxy:
        if self._proxy is None:
            raise FaultFailed("the network can be cut only in a shop that the drill starts itself: leave out --here")
        return self._proxy

    async def _pid(self, victim: str) -> int:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            running = Running.read(self._data)
            if running.lives(one := running.one_of(victim)):
                return running.pids[one]
            if time.monotonic() > deadline:
                raise FaultFailed(Text("there was no {victim} in {seconds:.0f} s", victim, PATIENCE_SECONDS))
            await asyncio.sleep(POLL_SECONDS)


def _send(pids: Sequence[int], number: signal.Signals) -> bool:
    """Whether the first of them was there."""
    there = []
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            there.append(pid)
    return there[:1] == pids[:1]
