"""Packed segments: what was written, in zstd frames that are found by their place. See docs/journal.md.

Only a segment that another one follows is packed, all of it up to where that one says that it ends. So every place in
it stays what it was, and what stands there is read by unpacking one frame.
"""

from __future__ import annotations

import contextlib
import struct
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NoReturn, TypeVar

import zstandard

from services.shared.journal.disk import Disk
from services.shared.journal.segments import CURE
from services.shared.records import has_checksum
from services.shared.store import Damaged

SUFFIX: Final = ".zst"
# Twice as much would save 3 % at most, and an old word would take twice as long.
FRAME_BYTES: Final = 128 * 1024
# The highest that is nearly free: 9 saves 2 %, and takes five times as long.
LEVEL: Final = 3
# zstd's seekable format: a frame that `zstdcat` skips, with the sizes of all before it.
SKIPPED: Final = 0x184D2A5E
TABLE: Final = 0x8F92EAB1
TABLE_HEAD: Final = struct.Struct("<II")
TABLE_ENTRY: Final = struct.Struct("<II")
TABLE_END: Final = struct.Struct("<IBI")
# Old words are asked for in any order, but all that is read of one of them stands together.
FRAMES_KEPT: Final = 4
TABLES_KEPT: Final = 64

Key = TypeVar("Key")
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Places:
    """Where each frame begins, in the file and in the segment; and behind the last, where both end."""

    packed: Sequence[int]
    unpacked: Sequence[int]


def frames(lines: bytes) -> list[bytes]:
    """Whole lines as frames, each read again. Raises Damaged."""
    packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
    made = [packer.compress(part) for part in _parts(lines)]
    if b"".join(unpacked(frame, size_of(frame)) for frame in made) != lines:
        raise Damaged("what was packed is not read as it was")
    return made


def size_of(frame: bytes) -> int:
    """How many bytes it holds, as its header says."""
    return int(zstandard.get_frame_parameters(frame).content_size)


def _parts(lines: bytes) -> Iterator[bytes]:
    """As many whole lines as a frame has room for, at least one."""
    start = at = 0
    for line in lines.splitlines(keepends=True):
        if not has_checksum(line):
            raise Damaged(f"a line of it is damaged at {at}")
        if at > start and at + len(line) - start > FRAME_BYTES:
            yield lines[start:at]
            start = at
        at += len(line)
    yield lines[start:]


def table(sizes: Sequence[tuple[int, int]]) -> bytes:
    """What ends a packed segment: how long each frame is, and how many bytes it holds."""
    entries = b"".join(TABLE_ENTRY.pack(*size) for size in sizes)
    end = TABLE_END.pack(len(sizes), 0, TABLE)
    return TABLE_HEAD.pack(SKIPPED, len(entries) + len(end)) + entries + end


def unpacked(raw: bytes, size: int) -> bytes:
    """What one frame holds, which is `size` bytes. Raises ZstdError when it is not as it was written."""
    says = zstandard.get_frame_parameters(raw)
    if says.content_size != size or not says.has_checksum:
        raise zstandard.ZstdError("not the frame that the table names")
    return zstandard.ZstdDecompressor().decompress(raw, allow_extra_data=False)


def create_segment(disk: Disk, name: str) -> None:
    """Raises FileExistsError, even if two try at once, and where the one that had this name is packed."""
    disk.create(name)
    if disk.exists(name + SUFFIX):
        disk.remove(name)
        raise FileExistsError(f"{name} is packed")


def take_back(disk: Disk, names: Iterable[str]) -> None:
    """Remove these as far as can be. Marks first: one without its segment says that the segment was lost."""
    with contextlib.suppress(OSError):
        for name in sorted(names, key=lambda name: not name.endswith(".mark")):
            with contextlib.suppress(FileNotFoundError):
                disk.remove(name)


class Archive:
    """The files of a folder, for who reads: each segment by its own name, as it was written, packed or not.

    Where it is there both ways, the packed one counts: it has its name only when it is whole, and on the disk.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._places: OrderedDict[str, Places] = OrderedDict()
        self._frames: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def names(self) -> list[str]:
        return self._disk.names()

    def exists(self, name: str) -> bool:
        return self._is_packed(name) or self._disk.exists(name) or self._is_packed(name)

    def size(self, name: str) -> int:
        """Bytes, as it was written. Raises FileNotFoundError, Damaged."""
        if not self._is_packed(name):
            with contextlib.suppress(FileNotFoundError):
                return self._disk.size(name)
        return self.packed_size(name)

    def packed_size(self, name: str) -> int:
        """The same of what is packed, whether it is there as it was written or not."""
        return self._found(name).unpacked[-1]

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        """See Disk.read. Raises Damaged, too."""
        if not self._is_packed(name):
            # It may be packed just now.
            with contextlib.suppress(FileNotFoundError):
                return self._disk.read(name, offset, size)
        known = name in self._places
        try:
            return self.read_packed(name, offset, size)
        except Damaged:
            # It may have been packed once more, after somebody had unpacked it.
            if not known:
                raise
            self.forget(name)
            return self.read_packed(name, offset, size)

    def _is_packed(self, name: str) -> bool:
        return name in self._places or (name.endswith(".jsonl") and self._disk.exists(name + SUFFIX))

    def forget(self, name: str) -> None:
        """What is known of a file may not hold any more."""
        self._places.pop(name, None)
        for key in [key for key in self._frames if key[0] == name]:
            del self._frames[key]

    def read_packed(self, name: str, offset: int, size: int) -> bytes:
        """The same of what is packed."""
        places = self._found(name)
        end = places.unpacked[-1] if size < 0 else min(offset + size, places.unpacked[-1])
        if offset >= end:
            return b""
        first, behind = bisect_right(places.unpacked, offset) - 1, bisect_left(places.unpacked, end)
        # Whoever reads all of it reads it once.
        whole = self._frame if 2 * (behind - first) <= FRAMES_KEPT else self._unpacked
        data = b"".join(whole(name, places, number) for number in range(first, behind))
        start = offset - places.unpacked[first]
        return data[start : start + end - offset]

    def _frame(self, name: str, places: Places, number: int) -> bytes:
        kept = self._frames.get((name, number)) or self._unpacked(name, places, number)
        _keep(self._frames, (name, number), kept, FRAMES_KEPT)
        return kept

    def _unpacked(self, name: str, places: Places, number: int) -> bytes:
        start, after = places.packed[number : number + 2]
        raw = self._disk.read(name + SUFFIX, start, after - start)
        try:
            return unpacked(raw, places.unpacked[number + 1] - places.unpacked[number])
        except zstandard.ZstdError as error:
            _refuse(name, start, str(error))

    def _found(self, name: str) -> Places:
        """Raises FileNotFoundError, Damaged."""
        places = self._places.get(name)
        if places is None:
            if not self._is_packed(name):
                raise FileNotFoundError(f"there is no {name}")
            places = self._table(name)
        _keep(self._places, name, places, TABLES_KEPT)
        return places

    def _table(self, name: str) -> Places:
        disk, file = self._disk, name + SUFFIX
        whole = disk.size(file)
        end = disk.read(file, max(0, whole - TABLE_END.size), TABLE_END.size)
        count, descriptor, magic = TABLE_END.unpack(end) if len(end) == TABLE_END.size else (0, 0, 0)
        begin = whole - TABLE_END.size - count * TABLE_ENTRY.size - TABLE_HEAD.size
        if magic != TABLE or descriptor or not count or begin < 0:
            _refuse(name, max(0, whole - TABLE_END.size), "it does not end as a packed segment does")
        raw = disk.read(file, begin, whole - begin)
        head = TABLE_HEAD.unpack_from(raw)
        sizes = list(TABLE_ENTRY.iter_unpack(raw[TABLE_HEAD.size : -TABLE_END.size]))
        packed = list(accumulate((size for size, _ in sizes), initial=0))
        if head != (SKIPPED, len(raw) - TABLE_HEAD.size) or packed[-1] != begin:
            _refuse(name, begin, "its frames are not as long as its table says")
        return Places(packed, list(accumulate((size for _, size in sizes), initial=0)))


def _keep(kept: OrderedDict[Key, Kept], key: Key, value: Kept, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


def _refuse(name: str, at: int, why: str) -> NoReturn:
    raise Damaged(f"{name}{SUFFIX} is damaged at byte {at} ({why}): nothing was changed. {CURE}")
