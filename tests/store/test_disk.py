"""The real folder: a sync that takes long keeps nobody waiting but those whose words it is about."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from store_builders import disk_on

from services.shared.journal import disk as disks

SYNC_SECONDS = 0.2


@pytest.mark.parametrize("error", [None, OSError(errno.EIO, "broken"), OSError(errno.ETIMEDOUT, "away")])
async def test_others_go_on_during_a_slow_sync_and_its_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    def slow(handle: int) -> None:
        time.sleep(SYNC_SECONDS)
        if error is not None:
            raise error

    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    with disk_on(tmp_path) as disk:
        disk.create("book")
        disk.append("book", b"one line\n")
        monkeypatch.setattr(disks, "_sync", slow)
        task = asyncio.create_task(others())
        started = time.monotonic()
        if error is None:
            await disk.sync("book")
        else:
            with pytest.raises(OSError, match=error.strerror or ""):
                await disk.sync("book")
        assert time.monotonic() - started >= SYNC_SECONDS
        assert turns > 10
        task.cancel()


async def test_a_failure_of_anybodys_sync_since_it_was_written_over_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux tells it to who had the file open then; to who opens it later, it did not happen (seed 10794)."""
    happened: list[tuple[str, int]] = []

    def written(handle: int, data: bytes, offset: int) -> int:
        happened.append(("write", handle))
        return pwrite(handle, data, offset)

    def opened(*what: Any) -> int:
        handle = open_(*what)
        happened.append(("open", handle))
        return handle

    pwrite, open_ = os.pwrite, os.open
    with disk_on(tmp_path) as disk:
        (tmp_path / "book").write_bytes(b"one line\n")
        monkeypatch.setattr(os, "pwrite", written)
        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(disks, "_sync", lambda handle: happened.append(("sync", handle)))
        disk.rewrite("book", 0, b"one line\n")
        await disk.sync("book")
    (synced,) = (handle for what, handle in happened if what == "sync")
    # A number may be given twice: what was opened last is what was synced.
    last = max(at for at, one in enumerate(happened) if one == ("open", synced))
    assert last < [what for what, _ in happened].index("write")
