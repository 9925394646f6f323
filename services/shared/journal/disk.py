"""The folder that a service keeps its books in. The store asks nothing else of an operating system.

The simulation has another `Disk`, which loses and tears what was not synced.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from services.shared.journal.sync_thread import SyncThread, to_disk
from services.shared.room import Space

T = TypeVar("T")
LOCK = "lock"
# What is in the books is nobody else's business; all replicas are the same user.
MODE = 0o600
# Old segments are read for old words, one at a time: a few handles serve them all.
MAX_READING = 8


class Files(Protocol):
    """Files by name, in one flat folder, for who reads them. Every method may raise OSError."""

    def names(self) -> list[str]:
        """All files, sorted."""

    def exists(self, name: str) -> bool: ...

    def size(self, name: str) -> int:
        """Bytes. Raises FileNotFoundError."""

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        """At most `size` bytes (-1: to the end) from `offset`."""


class Disk(Files, Protocol):
    """The same for who writes them."""

    def is_ours(self, name: str) -> bool:
        """Whether the file of this name still is the one that this process writes: not deleted, not another one."""

    def create(self, name: str) -> None:
        """Make an empty file that outlives a power cut. Raises FileExistsError, even if two try at once."""

    def append(self, name: str, data: bytes) -> None:
        """Write at the end. After an OSError a part of it may be there: `size` tells."""

    async def sync(self, name: str) -> None:
        """Return once what was appended outlives a power cut. After an OSError nothing about the file is sure."""

    async def aside(self, work: Callable[[], T]) -> T:
        """Let this take its time: neither the event loop nor a sync waits for it. Only there `…_aside` is called."""

    def sync_aside(self, name: str) -> None: ...

    def rewrite(self, name: str, offset: int, data: bytes) -> None:
        """Write the same bytes over what is read there, so that the next sync puts them on the disk."""

    def note(self, name: str, data: bytes) -> None:
        """Write a small file over, in place and unsynced: it outlives a killed process, not always a power cut."""

    async def replace(self, name: str, data: bytes) -> None:
        """Write a file anew so that a reader sees the old one or the new one, whole, whatever dies."""

    def replace_aside(self, name: str, data: bytes) -> None: ...

    def release(self, name: str) -> None:
        """This file is no longer needed open."""

    def let_go(self) -> None:
        """Close what was read and is there no more: it takes its room for as long as it is held open."""

    def remove(self, name: str) -> None: ...

    def publish(self, name: str, final: str) -> None:
        """Give a synced file its final name, for good. Raises FileExistsError, even if two try at once."""

    def space(self) -> Space:
        """What there is on the file system of the folder."""

    def lock(self) -> bool:
        """Become the one who writes in this folder, until `unlock` or death. False: somebody else is."""

    def unlock(self) -> None: ...

    def close(self) -> None:
        """Give everything back, the lock included."""


class LocalDisk:
    """A real folder. One of these per process and folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        # Whoever may read the file `lock` can hold it. A cluster's volume is root's, and is shared by its group.
        if found.st_uid == os.getuid() and found.st_mode & 0o077:
            folder.chmod(stat.S_IMODE(found.st_mode) & 0o7700)
        self._writing: dict[str, int] = {}
        self._reading: OrderedDict[str, int] = OrderedDict()
        self._lock: int | None = None
        self._syncs = SyncThread()
        self._replacing = ThreadPoolExecutor(1, thread_name_prefix="disk-replace")
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="disk-aside")

    def close(self) -> None:
        self._syncs.close()
        self._replacing.shutdown()
        self._aside.shutdown()
        for handle in (*self._writing.values(), *self._reading.values()):
            os.close(handle)
        self._writing.clear()
        self._reading.clear()
        self.unlock()

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))  # noqa: PTH208 - names, many times a second

    def exists(self, name: str) -> bool:
        # Not `os.path.exists`: it is False on any error, and a fence is not open because nobody can see it.
        try:
            os.stat(f"{self.folder}/{name}")  # noqa: PTH116 - asked once per batch
        except FileNotFoundError:
            return False
        return True

    def is_ours(self, name: str) -> bool:
        try:
            there = os.stat(f"{self.folder}/{name}")  # noqa: PTH116 - asked once per batch
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._writing[name]))

    def size(self, name: str) -> int:
        return (self.folder / name).stat().st_size

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        handle = self._reader(name)
        if size < 0:
            size = os.fstat(handle).st_size - offset
        pieces = []
        while size > 0 and (piece := os.pread(handle, size, offset)):
            pieces.append(piece)
            size, offset = size - len(piece), offset + len(piece)
        return b"".join(pieces)

    def create(self, name: str) -> None:
        self._writing[name] = self._opened(name, os.O_EXCL | os.O_APPEND)
        self._keep(name)

    def append(self, name: str, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._writing[name], view) :]

    async def sync(self, name: str) -> None:
        await self._syncs.run(to_disk, self._handle(name))

    async def aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._aside, work)

    def sync_aside(self, name: str) -> None:
        to_disk(self._writing[name])

    def rewrite(self, name: str, offset: int, data: bytes) -> None:
        # What is synced is opened first: it is told what fails from here on, in whose sync ever; but it may append.
        self._handle(name)
        handle = self._opened(name)
        try:
            view = memoryview(data)
            while view:
                written = os.pwrite(handle, view, offset)
                view, offset = view[written:], offset + written
        finally:
            os.close(handle)

    def note(self, name: str, data: bytes) -> None:
        os.pwrite(self._handle(name), data, 0)

    def release(self, name: str) -> None:
        self._write_no_more(name)
        if name in self._reading:
            os.close(self._reading.pop(name))

    def let_go(self) -> None:
        for name in [name for name, handle in self._reading.items() if os.fstat(handle).st_nlink == 0]:
            os.close(self._reading.pop(name))

    async def replace(self, name: str, data: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._replacing, self.replace_aside, name, data)

    def remove(self, name: str) -> None:
        # Whoever reads it just now may be another thread.
        self._write_no_more(name)
        (self.folder / name).unlink()

    def publish(self, name: str, final: str) -> None:
        (self.folder / final).hardlink_to(self.folder / name)
        self._keep(final)
        with contextlib.suppress(OSError):
            self.remove(name)

    def space(self) -> Space:
        there = os.statvfs(self.folder)
        free, used = there.f_bavail, there.f_blocks - there.f_bfree
        return Space(free * there.f_frsize, (used + free) * there.f_frsize, f"{there.f_fsid:x}")

    def lock(self) -> bool:
        try:
            handle, unwritable = self._opened(LOCK), None
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            try:
                handle, unwritable = os.open(self.folder / LOCK, os.O_RDONLY), error
            except FileNotFoundError:
                raise error from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            if unwritable:
                # Somebody else can write here: this process has been given the volume in the wrong way.
                raise unwritable from None
            return False
        self._lock = handle
        return True

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _handle(self, name: str) -> int:
        return self._writing[name] if name in self._writing else self._writing.setdefault(name, self._opened(name))

    def _opened(self, name: str, flags: int = 0) -> int:
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT | flags, MODE)

    def _write_no_more(self, name: str) -> None:
        if name in self._writing:
            os.close(self._writing.pop(name))

    def _reader(self, name: str) -> int:
        """A handle for reading, kept for the files read last. It sees a file that was replaced as it is now."""
        handle = self._reading.pop(name, None)
        if handle is None or os.fstat(handle).st_nlink == 0:
            if handle is not None:
                os.close(handle)
            handle = os.open(self.folder / name, os.O_RDONLY)
        self._reading[name] = handle
        if len(self._reading) > MAX_READING:
            os.close(self._reading.popitem(last=False)[1])
        return handle

    def replace_aside(self, name: str, data: bytes) -> None:
        new = self.folder / f".{name}.{os.getpid()}"
        try:
            with open(new, "wb", opener=private) as file:
                file.write(data)
                file.flush()
                to_disk(file.fileno())
            new.replace(self.folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        self._sync_folder()

    def _keep(self, name: str) -> None:
        """Put the name of a new file on the disk. Without room for that there is none. Raises OSError."""
        try:
            self._sync_folder()
        except OSError:
            with contextlib.suppress(OSError):
                self.remove(name)
            raise

    def _sync_folder(self) -> None:
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def private(path: str, flags: int) -> int:
    """What `open` makes a file with that nobody else may read."""
    return os.open(path, flags, MODE)
