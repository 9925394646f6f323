"""A service's book is lost, or put back as it was, under load: who runs the shop waits for the alarm, types `zoco
rebuild`, and waits until the service decides again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from loadgen.audit.books import from_folder
from loadgen.audit.text import Unreadable
from loadgen.drill.faults import POLL_SECONDS, FaultFailed
from loadgen.load.clock import CLOCK
from ops.i18n import Text
from ops.running import HOLDS, Running

# So long a service goes on between the copy that is put back and its loss: at a request a second it decides by then.
AGED_SECONDS: Final = 3.0
# So long whoever takes messages may take to notice: the first of them says it.
NOTICED_SECONDS: Final = 10.0
# After the alarm, this long it is looked whether it decides all the same.
LOOKED_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 120.0
ANSWER_SECONDS: Final = 2.0
# Nobody starts it again before its folder is as it is to be found.
HELD_SECONDS: Final = 600.0
# What a new book begins with, which nobody asked for.
SEED: Final = "semilla:"

Kill = Callable[[str, float, Callable[[float], None]], Awaitable[None]]


class LostBooks:
    """The books of the shop in this folder. One at a time is lost: two at once nobody could write again."""

    def __init__(self, data: Path, kill: Kill) -> None:
        self._data = data
        self._kill = kill
        self._lost: str | None = None

    async def lose(self, victim: str, began: Callable[[float], None], *, older: bool) -> None:
        """Return when it decides again. Raises FaultFailed: it was not noticed, or not written again."""
        if self._lost is not None:
            raise FaultFailed(Text("the book of {service} is not whole again: one at a time", self._lost))
        folder = self._data / victim
        with tempfile.TemporaryDirectory(prefix="zoco-old-", dir=self._data.parent) as aside:
            kept = Path(aside) / victim
            if older:
                await self._copy(victim, kept)
                await asyncio.sleep(AGED_SECONDS)
            self._lost = victim
            with await self._down(victim, began):
                await asyncio.to_thread(shutil.rmtree, folder)
                if older:
                    await asyncio.to_thread(shutil.copytree, kept, folder)
            before = await asyncio.to_thread(_decided, Path(aside), victim) if older else 0
            await self._until(victim, _doubts)
        await asyncio.sleep(LOOKED_SECONDS)
        if (more := await asyncio.to_thread(_decided, self._data, victim) - before) > 0:
            raise FaultFailed(Text("{service} decided {count} messages by a book that was lost", victim, more))
        await self._rebuild(victim)
        await self._until(victim, _decides)
        self._lost = None

    async def _copy(self, victim: str, kept: Path) -> None:
        """As of a service that is down: whole. Then it is at work again."""
        with await self._down(victim, lambda _: None):
            await asyncio.to_thread(shutil.copytree, self._data / victim, kept)
        await self._until(victim, _decides)

    async def _down(self, victim: str, began: Callable[[float], None]) -> Any:
        """Nobody writes in its folder as long as this lasts. compras ends as it is told to, having published what it
        has accepted: nobody else would know of that. The others are killed in the middle of what they do."""
        if victim == "compras":
            await self._end(victim, began)
        else:
            await self._kill(victim, HELD_SECONDS, began)
        return self._held(victim)

    async def _end(self, victim: str, began: Callable[[float], None]) -> None:
        running = Running.read(self._data)
        hold = self._data / HOLDS / victim
        hold.parent.mkdir(exist_ok=True)
        hold.write_text(str(time.time() + HELD_SECONDS), encoding="utf-8")
        began(CLOCK.now())
        os.kill(running.pids[victim], signal.SIGTERM)
        while running.lives(victim):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(POLL_SECONDS)

    @contextmanager
    def _held(self, victim: str) -> Iterator[None]:
        try:
            yield
        finally:
            (self._data / HOLDS / victim).unlink(missing_ok=True)

    async def _until(self, victim: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Until it says so. Raises FaultFailed, and soon when it takes messages and does not doubt."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            state = await self._state(victim)
            if wanted(state):
                return
            if _decides(state):
                deadline = min(deadline, time.monotonic() + NOTICED_SECONDS)
            await asyncio.sleep(POLL_SECONDS)
        if wanted is _doubts:
            raise FaultFailed(Text("{service} does not notice that its book is not what the others know of it", victim))
        raise FaultFailed(Text("{service} does not decide again: {why}", victim, state.get("doubt") or state))

    async def _state(self, victim: str) -> dict[str, Any]:
        """What it says of itself; nothing while it does not answer."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            url = Running.read(self._data).urls[victim]
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url}/readyz") as answer:
                state: dict[str, Any] = await answer.json()
                return state
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return {}

    async def _rebuild(self, victim: str) -> None:
        """As a user types it. Raises FaultFailed with what it says."""
        command = [str(Path(sys.executable).with_name("zoco")), "rebuild", victim, "--data", str(self._data)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        if process.returncode:
            says = "`zoco rebuild {service}` ended with exit code {code}: {said}"
            raise FaultFailed(Text(says, victim, process.returncode, " ".join(said.decode().split())))


def _doubts(state: dict[str, Any]) -> bool:
    return bool(state) and state["doubtOf"] == state["service"]


def _decides(state: dict[str, Any]) -> bool:
    return bool(state) and not state["doubt"] and state["role"] == "writer" and bool(state["broker"]["consuming"])


def _decided(data: Path, service: str) -> int:
    """Records in this service's book, below this folder, that somebody asked for. Raises FaultFailed."""
    try:
        return sum(not record.id.startswith(SEED) for _, record in from_folder(data, service).records())
    except Unreadable as error:
        raise FaultFailed(str(error)) from error
