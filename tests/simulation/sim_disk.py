"""A folder shared by two pods, which loses and tears what was not synced, and fills up and fails when told to."""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field
from typing import Any


class Killed(BaseException):
    """Thrown into a pod that is no more: it reads, writes and says nothing."""


@dataclass
class File:
    data: bytearray = field(default_factory=bytearray)
    # How many bytes outlive a power cut.
    synced: int = 0
    # What a note may be after a power cut.
    notes: list[bytes] | None = None


class Folder:
    """What is on the disk of one service. A process's death changes nothing here; a power cut does."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.files: dict[str, File] = {}
        self.owner: Any = None
        self.full = False
        self.sync_fails = False
        self.seen: set[bytes] = set()

    def copy(self, *, snapshots: bool = True) -> Folder:
        twin = Folder(random.Random(0))
        for name, file in self.files.items():
            if snapshots or not name.endswith(".snapshot"):
                twin.files[name] = File(bytearray(file.data), file.synced)
        return twin

    def durable(self, piece: bytes) -> bool:
        if piece not in self.seen and any(file.data.find(piece, 0, file.synced) >= 0 for file in self.files.values()):
            self.seen.add(piece)
        return piece in self.seen

    def power_cut(self) -> None:
        rng = self.rng
        for name, file in sorted(self.files.items()):
            if file.notes is not None:
                left = rng.choice([*file.notes[-4:], b"", b"\0" * 29, None])
                if left is None:
                    del self.files[name]
                else:
                    file.data, file.notes = bytearray(left), [left]
                continue
            kept = file.data[: file.synced]
            rest = file.data[file.synced :]
            if rest:
                cut = rng.randrange(len(rest) + 1)
                match rng.randrange(4):
                    case 1:
                        kept += rest[:cut]
                    case 2:
                        kept += rest[:cut] + b"\0" * (len(rest) - cut)
                    case 3:
                        hole = rng.randrange(len(rest) + 1)
                        kept += rest[: min(cut, hole)] + b"\0" * abs(cut - hole) + rest[max(cut, hole) :]
            file.data, file.synced = kept, len(kept)


class SimDisk:
    """One pod's handle on a folder: `services.shared.disk.Disk`."""

    def __init__(self, folder: Folder, pod: Any) -> None:
        self.folder, self.pod = folder, pod

    def _file(self, name: str) -> File:
        if name not in self._files():
            raise FileNotFoundError(errno.ENOENT, name)
        return self.folder.files[name]

    def _files(self) -> dict[str, File]:
        self.pod.alive()
        return self.folder.files

    def names(self) -> list[str]:
        return sorted(self._files())

    def exists(self, name: str) -> bool:
        return name in self._files()

    def size(self, name: str) -> int:
        return len(self._file(name).data)

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        data = self._file(name).data
        return bytes(data[offset:] if size < 0 else data[offset : offset + size])

    def create(self, name: str) -> None:
        if self.exists(name):
            raise FileExistsError(errno.EEXIST, name)
        self._room()
        self.folder.files[name] = File()

    def append(self, name: str, data: bytes) -> None:
        file = self._file(name)
        if self.pod.dies("append"):
            file.data += data[: self.folder.rng.randrange(len(data) + 1)]
            self.pod.die()
        if self.folder.full:
            file.data += data[: self.folder.rng.randrange(len(data) + 1)]
            self._room()
        file.data += data

    def truncate(self, name: str, size: int) -> None:
        file = self._file(name)
        del file.data[size:]
        file.synced = min(file.synced, size)

    async def sync(self, name: str) -> None:
        file = self._file(name)
        length = len(file.data)
        await self.pod.rest("sync")
        if self.folder.sync_fails:
            self.folder.sync_fails = False
            raise OSError(errno.EIO, "the disk failed")
        file.synced = max(file.synced, min(length, len(file.data)))
        self.pod.point("synced")

    def note(self, name: str, data: bytes) -> None:
        self.pod.point("note")
        if not self.exists(name):
            self._room()
            self.folder.files[name] = File(notes=[])
        file = self._file(name)
        file.data[0 : len(data)] = data
        (file.notes if file.notes is not None else []).append(bytes(file.data))

    async def replace(self, name: str, data: bytes) -> None:
        await self.pod.rest("replace")
        self._room()
        self._files()[name] = File(bytearray(data), len(data))

    def release(self, name: str) -> None:
        self.pod.alive()

    def remove(self, name: str) -> None:
        del self._files()[name]

    def lock(self) -> bool:
        self.pod.alive()
        if self.folder.owner not in (None, self.pod):
            return False
        self.folder.owner = self.pod
        return True

    def unlock(self) -> None:
        if self.folder.owner is self.pod:
            self.folder.owner = None

    def _room(self) -> None:
        if self.folder.full:
            raise OSError(errno.ENOSPC, "the disk is full")
