"""What `zoco up` watches: an engine is started again whenever it ends, and no watcher ends unseen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from ops.errors import UserError
from ops.restarts import Pauses, ended, until_done, until_let_go
from ops.running import START, LocalError


class Engine(Protocol):
    """What the services cannot do without, and this shop has for itself."""

    @property
    def pid(self) -> int | None: ...

    async def start(self) -> None:
        """When it raises, it is to be called again: until it returns, nobody may use it."""

    async def wait(self) -> int: ...


class Watchers:
    """What goes on as long as a shop is up. One that ends by an error stops the shop."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._tasks: list[asyncio.Future[None]] = []
        self._error: BaseException | None = None

    def add(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))
        self._tasks[-1].add_done_callback(self._look)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def check(self) -> None:
        """Raises what ended one of them, or LocalError."""
        if isinstance(self._error, UserError):
            raise self._error
        if self._error is not None:
            says = "`zoco up` could not go on ({error}), and all of it was stopped: start it again with `{start}`"
            raise LocalError(says, f"{type(self._error).__name__}: {self._error}", START) from self._error

    def _look(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
            self._stop.set()


async def watch_engine(
    name: str, title: str, engine: Engine, data: Path, note: Callable[[str], None], changed: Callable[[], None]
) -> None:
    """Start it again whenever it ends. `changed`: it runs as another process now."""
    pauses = Pauses()
    while True:
        started = time.monotonic()
        code = await engine.wait()
        pause = pauses.after(code, time.monotonic() - started)
        note(f"{title} {ended(code)}; it is started again in {pause:.1f} s")
        await asyncio.sleep(pause)
        await until_let_go(data, name)
        # Killed while it starts, it may start well the next time.
        await until_done(f"{title} does not start", engine.start, note, pause)
        changed()
        note(f"{title} is back")
