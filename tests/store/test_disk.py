"""The real folder: a sync that takes long keeps nobody waiting but those whose words it is about."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS
from store_builders import disk_on

from services.shared.journal import disk as disks
from services.shared.journal import sync_thread
from services.shared.journal.disk import LocalDisk

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
        monkeypatch.setattr(disks, "to_disk", slow)
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
        monkeypatch.setattr(disks, "to_disk", lambda handle: happened.append(("sync", handle)))
        disk.rewrite("book", 0, b"one line\n")
        await disk.sync("book")
    (synced,) = (handle for what, handle in happened if what == "sync")
    # A number may be given twice: what was opened last is what was synced.
    last = max(at for at, one in enumerate(happened) if one == ("open", synced))
    assert last < [what for what, _ in happened].index("write")


class HeldSync:
    """What syncs: it begins, and ends when it may."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.ended: list[int] = []
        self.may = threading.Semaphore(0)
        self.error: OSError | None = None

    def __call__(self, handle: int) -> None:
        self.began.append(handle)
        assert self.may.acquire(timeout=PATIENCE_SECONDS)
        self.ended.append(handle)
        if self.error is not None:
            raise self.error


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldSync:
    held = HeldSync()
    monkeypatch.setattr(disks, "to_disk", held)
    return held


async def test_a_sync_that_nobody_waits_for_any_more_is_not_taken_for_the_next_one(
    tmp_path: Path, held: HeldSync
) -> None:
    """The next one begins when it is done, returns when it is done itself, and hears of its own errors only."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    with disk_on(tmp_path) as disk:
        first = asyncio.create_task(disk.sync("first"))
        await until(lambda: len(held.began) == 1)
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait({first})
        assert first.cancelled()
        second = asyncio.create_task(disk.sync("second"))
        await asyncio.sleep(0.02)
        assert (len(held.began), second.done()) == (1, False)
        # The one that was given up fails, and has nobody to tell.
        held.error = OSError(errno.EIO, "broken")
        held.may.release()
        await until(lambda: len(held.began) == 2)
        held.error = None
        await asyncio.sleep(0.02)
        assert not second.done()
        held.may.release()
        await asyncio.wait_for(second, PATIENCE_SECONDS)
        assert len(held.ended) == 2
    assert complaints == []


async def test_after_an_error_the_next_sync_is_right(tmp_path: Path, held: HeldSync) -> None:
    with disk_on(tmp_path) as disk:
        held.error = OSError(errno.EIO, "broken")
        held.may.release()
        with pytest.raises(OSError, match="broken"):
            await disk.sync("book")
        held.error = None
        held.may.release()
        await asyncio.wait_for(disk.sync("book"), PATIENCE_SECONDS)


async def test_several_at_once_are_synced_one_after_another(tmp_path: Path, held: HeldSync) -> None:
    with disk_on(tmp_path) as disk:
        names = ("one", "two", "three")
        tasks = []
        for number, name in enumerate(names):
            tasks.append(asyncio.create_task(disk.sync(name)))
            await asyncio.sleep(0.01)
            assert len(held.began) == 1, number
        held.may.release(len(names))
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_SECONDS)
        assert held.ended == [disk._handle(name) for name in names]


async def test_whoever_waits_for_a_slow_sync_holds_nobody_else_for_more_than_a_moment(
    tmp_path: Path, held: HeldSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    allocate_lock = sync_thread.allocate_lock

    class Timed:
        """A lock that notes how long the event loop may be held by it."""

        def __init__(self) -> None:
            self.lock = allocate_lock()

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            free = not self.lock.locked()
            waits.append(0.0 if free or not blocking else timeout if timeout >= 0 else float("inf"))
            return self.lock.acquire(blocking, timeout)

        def release(self) -> None:
            self.lock.release()

    monkeypatch.setattr(sync_thread, "allocate_lock", Timed)
    with disk_on(tmp_path) as disk:
        syncing = asyncio.create_task(disk.sync("book"))
        await until(lambda: len(held.began) == 1)
        held.may.release()
        await asyncio.wait_for(syncing, PATIENCE_SECONDS)
    assert 0.0 < max(waits) <= 0.001


async def test_close_ends_the_thread_once_all_is_synced(tmp_path: Path, held: HeldSync) -> None:
    def threads() -> list[str]:
        return sorted(one.name for one in set(threading.enumerate()) - before)

    before = set(threading.enumerate())
    disk = LocalDisk(tmp_path)
    assert threads() == []
    given_up = asyncio.create_task(disk.sync("book"))
    await until(lambda: len(held.began) == 1)
    assert threads() == ["disk"]
    given_up.cancel()
    await asyncio.wait({given_up})
    threading.Timer(0.05, held.may.release).start()
    disk.close()
    assert len(held.ended) == 1
    await until(lambda: threads() == [])


async def test_a_sync_that_ends_when_the_loop_is_gone_harms_nobody(tmp_path: Path, held: HeldSync) -> None:
    """A process that is told to end gives up waiting; the thread still has to end."""

    def another_loop() -> None:
        async def give_up() -> None:
            waiting = asyncio.create_task(disk.sync("book"))
            await until(lambda: len(held.began) == 1)
            await asyncio.sleep(0.01)
            waiting.cancel()

        asyncio.run(give_up())

    disk = LocalDisk(tmp_path)
    await asyncio.to_thread(another_loop)
    held.may.release()
    await asyncio.to_thread(disk.close)
    assert len(held.ended) == 1
