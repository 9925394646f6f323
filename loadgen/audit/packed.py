"""A journal's segment as a file, packed or not: read line by line, or at a place of what was written.

A packed one is frames of zstd, each whole lines, and a table of their sizes: docs/journal.md. Read in one go it is
unpacked once; a place in it costs one frame.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import zstandard

from loadgen.audit.text import Text, Unreadable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SUFFIX: Final = ".zst"
# The end of the file: how many frames, no flags, a number that says what this is.
END: Final = struct.Struct("<IBI")
END_NUMBER: Final = 0x8F92EAB1
# A frame that others skip: its own number, and its length; in it 8 bytes for each frame, and the end.
SKIPPED: Final = struct.Struct("<II")
SKIPPED_NUMBER: Final = 0x184D2A5E
SIZES: Final = struct.Struct("<II")


def opened(file: Path) -> IO[bytes]:
    """What was written to a segment. Raises Unreadable, here and when it is read."""
    try:
        raw = file.open("rb")
    except OSError as error:
        other = file.with_name(file.name + SUFFIX)
        if isinstance(error, FileNotFoundError) and not is_packed(file) and other.exists():
            # It was packed since it was looked for.
            return opened(other)
        raise Unreadable("{file} cannot be read ({why}): read it as who runs the shop", file, error.strerror) from error
    if not is_packed(file):
        return raw
    try:
        return io.BufferedReader(_Unpacked(file, raw), 256 * 1024)
    except BaseException:
        raw.close()
        raise


def is_packed(file: Path) -> bool:
    return file.suffix == SUFFIX


def at(file: IO[bytes], place: int, size: int) -> bytes:
    """So many bytes from there, or fewer at the end."""
    file.seek(place)
    return file.read(size)


def size_of(file: Path) -> int:
    """How many bytes a packed segment was. Raises Unreadable."""
    with opened(file) as whole:
        return whole.seek(0, io.SEEK_END)


class _Unpacked(io.RawIOBase):
    def __init__(self, path: Path, raw: IO[bytes]) -> None:
        self._path, self._raw = path, raw
        sizes = self._sizes()
        # Where each frame begins here and there, and at last where all end.
        self._packed: Sequence[int] = list(accumulate((size for size, _ in sizes), initial=0))
        self._starts: Sequence[int] = list(accumulate((size for _, size in sizes), initial=0))
        self._at, self._frame = 0, (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._at >= self._starts[-1]:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        view, begin = memoryview(buffer).cast("B"), self._at - self._starts[number]
        some = self._whole(number)[begin : begin + len(view)]
        view[: len(some)] = some
        self._at += len(some)
        return len(some)

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _whole(self, number: int) -> bytes:
        if self._frame[0] != number:
            self._frame = number, self._unpacked(number)
        return self._frame[1]

    def _unpacked(self, number: int) -> bytes:
        start, size = self._packed[number], self._starts[number + 1] - self._starts[number]
        self._raw.seek(start)
        raw = self._raw.read(self._packed[number + 1] - start)
        try:
            said = zstandard.get_frame_parameters(raw)
            if not said.has_checksum or said.content_size != size:
                raise _damaged(self._path, start, Text("this is not the frame that its table says"))
            return zstandard.ZstdDecompressor().decompress(raw, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise _damaged(self._path, start, str(error)) from error

    def _sizes(self) -> list[tuple[int, int]]:
        """Of each frame, packed and not."""
        whole = self._raw.seek(0, io.SEEK_END)
        behind = max(0, whole - END.size)
        self._raw.seek(behind)
        count, flags, number = END.unpack(self._raw.read().rjust(END.size, b"\0"))
        start = behind - SKIPPED.size - count * SIZES.size
        if number != END_NUMBER or flags or not count or start < 0:
            raise _damaged(self._path, behind, Text("it does not end with a table"))
        self._raw.seek(start)
        head = SKIPPED.unpack(self._raw.read(SKIPPED.size))
        sizes = list(SIZES.iter_unpack(self._raw.read(count * SIZES.size)))
        if head != (SKIPPED_NUMBER, whole - start - SKIPPED.size) or sum(size for size, _ in sizes) != start:
            raise _damaged(self._path, start, Text("its frames are not as long as its table says"))
        return sizes


def _damaged(file: Path, place: int, why: str) -> Unreadable:
    return Unreadable("{file} is damaged at byte {byte}: {why}", file, place, why)
