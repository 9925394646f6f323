"""The real folder: a sync that takes long keeps nobody waiting but those whose words it is about."""

from __future__ import annotations

import asyncio
import errno
import time
from pathlib import Path

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
