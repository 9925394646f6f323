"""A folder on a machine, shared by its processes. What was not synced is lost or torn by a power cut."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

import zstandard

from services.shared.room import Space


@lru_cache(maxsize=64)
def written(name: str, data: bytes) -> bytes:
    """What was written to a file, packed or not."""
    if not name.endswith(".zst"):
        return data
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
        return stream.read()


@dataclass
class File:
    data: bytearray = field(default_factory=bytearray)
    # As far as the system knows, these bytes need no writing any more.
    clean: int = 0
    # But these never reached the disk: a sync failed, and the system forgot about it (as Linux does).
    lost: list[tuple[int, int]] = field(default_factory=list)
    # What was written over itself since, so that the next sync writes it.
    again: tuple[int, int] = (0, 0)
    # How many syncs have failed: whoever had it open then is told so by the next one, as Linux does.
    failures: int = 0
    # A note: its older contents. A replaced file: what it was before, until the rename is on the disk.
    older: list[bytes | None] | None = None


class Folder:
    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.files: dict[str, File] = {}
        self.owner: Any = None
        self.room: int | None = None
        self.sync_fails = 0
        self.write_fails = 0
        self.counts: Any = None
        # What happens to packing has chances of its own.
        self.packing = Random(0)
        self.packing_fails = False
        self._durable: set[bytes] = set()

    def durable(self, piece: bytes) -> bool:
        """Whether this has ever been on the disk for good."""
        files = reversed(self.files.items())
        if piece not in self._durable and any(self._holds(name, file, piece) for name, file in files):
            self._durable.add(piece)
        return piece in self._durable

    def _holds(self, name: str, file: File, piece: bytes) -> bool:
        if name.endswith(".zst"):
            return piece in written(name, bytes(file.data))
        at = file.data.find(piece, 0, file.clean)
        return at >= 0 and not any(start < at + len(piece) and at < end for start, end in file.lost)

    def copy(self, keep: Any = lambda name: True) -> Folder:
        twin = Folder(Random(0))
        twin.files = {
            name: File(bytearray(file.data), len(file.data)) for name, file in self.files.items() if keep(name)
        }
        return twin

    def power_cut(self) -> None:
        rng = self.rng
        self.owner = None
        for name in sorted(self.files):
            file = self.files[name]
            if file.older is not None:
                self._note_after(name, file)
                continue
            data = file.data
            for start, end in file.lost:
                if rng.random() < 0.8:
                    if end >= len(data) and rng.random() < 0.5:
                        del data[start:]
                    else:
                        data[start:end] = self._junk(len(data[start:end]), data[start:end])
            rest = bytes(data[file.clean :])
            if rest and len(data) > file.clean:
                del data[file.clean :]
                data += self._torn(rest)
            file.lost = []
            file.clean = len(data)

    def _junk(self, size: int, old: Any = None) -> bytes:
        return b"\0" * size if self.rng.random() < 0.7 else self.rng.randbytes(size)

    def _torn(self, rest: bytes) -> bytes:
        rng = self.rng
        cut = rng.randrange(len(rest) + 1)
        if rng.random() < 0.3 and b"\n" in rest:
            cut = rest.rindex(b"\n", 0, len(rest)) + 1 if rng.random() < 0.5 else rest.index(b"\n") + 1
        match rng.randrange(5):
            case 0:
                return b""
            case 1:
                return rest
            case 2:
                return rest[:cut]
            case 3:
                return rest[:cut] + self._junk(len(rest) - cut)
        hole = rng.randrange(len(rest) + 1)
        low, high = min(cut, hole), max(cut, hole)
        return rest[:low] + self._junk(high - low) + rest[high:]

    def _note_after(self, name: str, file: File) -> None:
        rng = self.rng
        assert file.older is not None
        left = rng.choice([*file.older[-4:], bytes(file.data)])
        if left is None:
            del self.files[name]
            return
        if rng.random() < 0.15 and name.endswith(".mark"):
            at = rng.randrange(len(file.data) + 1)
            left = rng.choice([b"", bytes(len(left)), bytes(file.data[:at]) + left[at:]])
        file.data = bytearray(left)
        file.older = [left] if name.endswith(".mark") else None
        file.clean = len(file.data)


class SimDisk:
    """One process's way to the folder: `services.shared.journal.disk.Disk`."""

    def __init__(self, folder: Folder, process: Any) -> None:
        self.folder, self.process = folder, process
        # How many failures there were of each file when it was opened, or told of them.
        self._told: dict[str, int] = {}

    def _file(self, name: str) -> File:
        file = self.folder.files.get(name)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, f"no {name}")
        return file

    def names(self) -> list[str]:
        return sorted(self.folder.files)

    def exists(self, name: str) -> bool:
        return name in self.folder.files

    def is_ours(self, name: str) -> bool:
        return name in self.folder.files

    def size(self, name: str) -> int:
        return len(self._file(name).data)

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        data = self._file(name).data
        return bytes(data[offset:] if size < 0 else data[offset : offset + size])

    async def aside(self, work: Any) -> Any:
        # Neither these moments nor these points are the others': a world is the same whether its segments are packed.
        await asyncio.sleep(self.folder.packing.choice((0.0005, 0.002, 0.05)))
        return work()

    def sync_aside(self, name: str) -> None:
        file = self._file(name)
        self._flushes()
        file.clean = len(file.data)
        self.process.at("flush>")

    def _packing(self, name: str) -> bool:
        return name.startswith(".journal-")

    def create(self, name: str) -> None:
        if self._packing(name):
            self.process.at("pack create<")
            assert name not in self.folder.files
            self.folder.files[name] = File()
            self.process.at("pack create>")
            return
        self.process.at("create<")
        if name in self.folder.files:
            raise FileExistsError(errno.EEXIST, name)
        if self.folder.room == 0 and self.folder.rng.random() < 0.5:
            raise OSError(errno.ENOSPC, "no room")
        self.folder.files[name] = File()
        self._told[name] = 0
        self.process.at("create>")

    def append(self, name: str, data: bytes) -> None:
        folder, file = self.folder, self._file(name)
        if self._packing(name):
            self._append_packed(file, data)
            return
        if self.process.at("append<", quiet=True):
            file.data += data[: folder.rng.randrange(len(data) + 1)]
            self.process.die("append<")
            self.process.at("")
        if folder.write_fails:
            folder.write_fails -= 1
            folder.counts["append EIO"] += 1
            file.data += data[: folder.rng.randrange(len(data) + 1)]
            raise OSError(errno.EIO, "the disk failed")
        if folder.room is not None:
            short = data[: min(folder.room, len(data))]
            file.data += short
            folder.room -= len(short)
            if len(short) < len(data):
                folder.counts["ENOSPC"] += 1
                raise OSError(errno.ENOSPC, "no room")
        else:
            file.data += data
        self.process.at("append>")

    def _append_packed(self, file: File, data: bytes) -> None:
        folder = self.folder
        if folder.room is not None and folder.room < len(data):
            file.data += data[: folder.room]
            folder.counts["packing ENOSPC"] += 1
            raise OSError(errno.ENOSPC, "no room")
        file.data += data[: len(data) // 2]
        self.process.at("pack append|")
        file.data += data[len(data) // 2 :]

    async def sync(self, name: str) -> None:
        self.process.at("sync<")
        folder, file = self.folder, self._file(name)
        self._told.setdefault(name, file.failures)
        await asyncio.sleep(folder.rng.choice((0.0005, 0.001, 0.003, 0.02)))
        if self._told[name] != file.failures:
            self._told[name] = file.failures
            folder.counts["sync EIO of another"] += 1
            raise OSError(errno.EIO, "the disk failed")
        if folder.sync_fails:
            folder.sync_fails -= 1
            folder.counts["sync EIO"] += 1
            file.failures += 1
            self._told[name] = file.failures
            file.lost.append((file.clean, len(file.data)))
            file.again = (0, 0)
            file.clean = len(file.data)
            raise OSError(errno.EIO, "the disk failed")
        file.clean = len(file.data)
        offset, end = file.again
        file.lost = [
            piece
            for start, stop in file.lost
            for piece in ((start, min(stop, offset)), (max(start, end), stop))
            if piece[0] < piece[1]
        ]
        file.again = (0, 0)
        self.process.at("sync>")

    def rewrite(self, name: str, offset: int, data: bytes) -> None:
        self.process.at("rewrite<")
        file = self._file(name)
        self._told.setdefault(name, file.failures)
        # Bytes over equal ones harm nothing, even where the write fails.
        assert file.data[offset : offset + len(data)] == data
        file.again = (offset, offset + len(data))
        self.process.at("rewrite>")

    def note(self, name: str, data: bytes) -> None:
        self.process.at("note<")
        folder = self.folder
        if name not in folder.files:
            if folder.room == 0 and folder.rng.random() < 0.3:
                raise OSError(errno.ENOSPC, "no room")
            folder.files[name] = File(older=[None, b""])
        file = folder.files[name]
        if file.older is None:
            file.older = []
        file.older.append(bytes(file.data))
        file.data[: len(data)] = data
        self.process.at("note>")

    async def replace(self, name: str, data: bytes) -> None:
        self.process.at("replace<")
        folder = self.folder
        await asyncio.sleep(folder.rng.choice((0.001, 0.01)))
        if folder.room is not None and folder.room < len(data):
            folder.counts["replace ENOSPC"] += 1
            raise OSError(errno.ENOSPC, "no room")
        old = folder.files.get(name)
        file = folder.files[name] = File(bytearray(data), len(data), older=[bytes(old.data) if old else None])
        self.process.at("replace|")
        await asyncio.sleep(folder.rng.choice((0.001, 0.01)))
        file.older = None
        self.process.at("replace>")

    def replace_aside(self, name: str, data: bytes) -> None:
        self._flushes()
        self.folder.files[name] = File(bytearray(data), len(data))
        self.process.at("flush>")

    def _flushes(self) -> None:
        folder = self.folder
        self.process.at("flush<")
        if folder.packing_fails and folder.packing.random() < 0.1:
            folder.counts["packing EIO"] += 1
            raise OSError(errno.EIO, "the disk failed")

    def release(self, name: str) -> None: ...

    def let_go(self) -> None: ...

    def remove(self, name: str) -> None:
        self._file(name)
        self.process.at("remove<")
        del self.folder.files[name]

    def publish(self, name: str, final: str) -> None:
        if self._packing(name):
            self.process.at("link<")
            if final in self.folder.files:
                raise FileExistsError(errno.EEXIST, final)
            self.folder.files[final] = self._file(name)
            self.process.at("link|")
            del self.folder.files[name]
            self.folder.counts["packed"] += 1
            self.process.at("link>")
            return
        self.process.at("publish<")
        if final in self.folder.files:
            raise FileExistsError(errno.EEXIST, final)
        self.folder.files[final] = self.folder.files.pop(name)
        self.process.at("publish>")

    def space(self) -> Space:
        return Space(10**9 if self.folder.room is None else self.folder.room, 10**9)

    def lock(self) -> bool:
        if self.folder.owner is not None and self.folder.owner is not self.process:
            return False
        self.folder.owner = self.process
        return True

    def unlock(self) -> None:
        if self.folder.owner is self.process:
            self.folder.owner = None
