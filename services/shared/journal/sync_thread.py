"""A thread that syncs, one file after another, while the event loop goes on. It is asked through a lock of the
interpreter's own, and answers by one: an executor's futures cost 200 µs more for a batch that comes alone."""

from __future__ import annotations

import asyncio
import fcntl
import os
from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Final

# So long everything else waits for a sync: the way back from a thread takes longer than a fast disk.
MOMENT_SECONDS: Final = 0.001


class _Asked:
    """One sync. It is its own: whoever gives up waiting for it leaves nothing behind that the next one could meet."""

    __slots__ = ("done", "error", "handle", "sync", "tell")

    def __init__(self, sync: Callable[[int], None], handle: int) -> None:
        self.sync, self.handle = sync, handle
        self.error: BaseException | None = None
        # Free once it is done.
        self.done = allocate_lock()
        self.done.acquire()
        # Whoever waits in the event loop is told by this.
        self.tell: Callable[[], object] | None = None


class SyncThread:
    """It begins with the first sync, and ends with `close`. Syncs keep their order."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread: Thread | None = None

    async def run(self, sync: Callable[[int], None], handle: int) -> None:
        """Raises what `sync` raises."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="disk", daemon=True)
            self._thread.start()
        asked = _Asked(sync, handle)
        self._queue.put(asked)
        if not asked.done.acquire(timeout=MOMENT_SECONDS):
            await _late(asked)
        if asked.error is not None:
            raise asked.error

    def close(self) -> None:
        """Return once all that was asked for is done."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (asked := self._queue.get()) is not None:
            try:
                asked.sync(asked.handle)
            except BaseException as error:
                asked.error = error
            asked.done.release()
            if asked.tell is not None:
                # Nobody may be there any more to be told.
                with suppress(RuntimeError):
                    asked.tell()


def _tell(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)


async def _late(asked: _Asked) -> None:
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    asked.tell = lambda: loop.call_soon_threadsafe(_tell, told)
    # Done in the moment before there was anybody to tell, it is told to nobody.
    if not asked.done.acquire(blocking=False):
        await told


def to_disk(handle: int) -> None:
    """Linux: fdatasync. macOS has none, and its fsync stops at the drive's cache (untested here)."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(handle)
    elif hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    else:
        os.fsync(handle)
