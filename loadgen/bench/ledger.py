"""A file that only grows, for the baselines: whoever appends meanwhile shares one sync."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


class Ledger:
    """Lines, and when they are durable. There are no checksums and no snapshots: it is the least that is safe."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._lines: list[bytes] = []
        self._waiting: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def append(self, lines: bytes) -> None:
        """Return once they are on the disk. Raises OSError."""
        self._lines.append(lines)
        await self.synced()

    async def synced(self) -> None:
        """Return once all that was appended before is on the disk. Raises OSError."""
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        waiting = self._waiting
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await asyncio.shield(waiting)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting is not None:
            lines, self._lines = b"".join(self._lines), []
            waiting, self._waiting = self._waiting, None
            try:
                if lines:
                    await loop.run_in_executor(self._thread, self._put, lines)
            except OSError as error:
                waiting.set_exception(error)
                raise
            waiting.set_result(None)

    def _put(self, lines: bytes) -> None:
        os.write(self._handle, lines)
        os.fdatasync(self._handle)
