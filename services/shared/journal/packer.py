"""Packing what the journal has behind it: one segment at a time, beside everything else, by who writes.

What dies on the way leaves an unfinished file, which the next writer sweeps, or the segment both ways: then the packed
one counts, and the other is compared with it before it is removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final

import structlog

from services.shared.journal.disk import Disk
from services.shared.journal.packed import SUFFIX, Archive, frames, size_of, table
from services.shared.journal.segments import Segment, mark_name
from services.shared.journal.snapshot import drop_rows, snapshot_name
from services.shared.store import Damaged

log = structlog.get_logger()
LOOK_SECONDS: Final = 1.0
# What is smaller, as a start ended it, takes no room to speak of, and stays as `grep` finds it.
WORTH_BYTES: Final = 256 * 1024
# After a disk that had no room, or failed.
AGAIN_SECONDS: Final = 30.0
# So much is read and packed in one go: a millisecond or two.
PIECE_BYTES: Final = 256 * 1024
# Between two of them the processor is everybody else's.
PAUSE_SECONDS: Final = 0.005
# So many are written with one sync: a sync of the journal that comes meanwhile waits for little.
PIECES_SYNCED: Final = 16
# Of so many that others have packed is looked what came of it.
WEIGHED: Final = 8


class Packer:
    """`segments` are those of the journal as they are known now, which end at so many bytes unless a start ended them.
    `check` raises when somebody else writes it."""

    def __init__(
        self,
        disk: Disk,
        segments: Callable[[], Sequence[Segment]],
        check: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]],
        segment_bytes: int,
    ) -> None:
        self._least_bytes = min(WORTH_BYTES, segment_bytes)
        self._disk, self._segments, self._check, self._sleep = disk, segments, check, sleep
        self._archive = Archive(disk)
        # So many of the journal's segments need nothing more.
        self._done = 0
        # Bytes of what was packed here, before and after.
        self.before = self.after = 0

    @property
    def share(self) -> float:
        """How much of a segment is left of it: all, as long as none was packed."""
        return self.after / self.before if self.before else 1.0

    async def run(self) -> None:
        """For as long as this process writes."""
        while True:
            await self._sleep(LOOK_SECONDS)
            try:
                await self.pack()
            except OSError as error:
                log.warning("a segment is not packed yet", error=str(error))
                await self._sleep(AGAIN_SECONDS)

    async def pack(self) -> None:
        """All that others follow and that is worth it. Raises OSError: nothing has changed then."""
        behind = list(pairwise(self._segments()))[self._done :]
        if not behind:
            return
        there = set(self._disk.names())
        self._weigh([segment.name for segment, _ in behind[-WEIGHED:] if segment.name not in there])
        for segment, following in behind:
            try:
                if segment.name in there and following.previous_end >= self._least_bytes:
                    await self._pack(segment.name, following)
                if {snapshot_name(segment.name), snapshot_name(following.name)} <= there:
                    await drop_rows(self._disk, segment)
            except Damaged as error:
                # A person decides.
                log.error("a segment stays as it is", segment=segment.name, why=str(error))
            self._done += 1

    def _weigh(self, packed: Sequence[str]) -> None:
        """What those before have made of theirs."""
        for name in packed:
            with contextlib.suppress(OSError, Damaged):
                after, before = self._disk.size(name + SUFFIX), self._archive.packed_size(name)
                self.before, self.after = self.before + before, self.after + after

    async def _pack(self, name: str, following: Segment) -> None:
        disk, end = self._disk, following.previous_end
        if disk.exists(name + SUFFIX):
            await self._compare(name, end)
        else:
            # Another process's has another name: who was fenced never finishes what this one began.
            unfinished = f".{name}{SUFFIX}.{self._segments()[-1].epoch}"
            try:
                await self._write(name, end, unfinished)
                self._check()
                await disk.aside(partial(disk.publish, unfinished, name + SUFFIX))
            except (OSError, Damaged):
                with contextlib.suppress(OSError):
                    disk.remove(unfinished)
                raise
        self.before, self.after = self.before + end, self.after + disk.size(name + SUFFIX)
        await disk.aside(partial(self._remove, name))
        disk.release(name)
        log.info("a segment is packed", segment=name, bytes=end, packed_bytes=disk.size(name + SUFFIX))

    async def _write(self, name: str, end: int, unfinished: str) -> None:
        disk, sizes, pieces = self._disk, list[tuple[int, int]](), 0
        with contextlib.suppress(FileNotFoundError):
            disk.remove(unfinished)
        await disk.aside(partial(disk.create, unfinished))
        async for lines in self._lines(name, end):
            made = await disk.aside(partial(frames, lines))
            disk.append(unfinished, b"".join(made))
            sizes += [(len(frame), size_of(frame)) for frame in made]
            pieces += 1
            if not pieces % PIECES_SYNCED:
                await disk.aside(partial(disk.sync_aside, unfinished))
            await self._sleep(PAUSE_SECONDS)
        disk.append(unfinished, table(sizes))
        await disk.aside(partial(disk.sync_aside, unfinished))

    async def _compare(self, name: str, end: int) -> None:
        """Whether both say the same. Raises Damaged."""
        self._archive.forget(name)
        if self._archive.packed_size(name) != end:
            raise Damaged(f"{name}{SUFFIX} beside it is of another length: remove the wrong one")
        at = 0
        async for lines in self._lines(name, end):
            if self._archive.read_packed(name, at, len(lines)) != lines:
                raise Damaged(f"{name}{SUFFIX} beside it says something else: remove the wrong one")
            at += len(lines)
            await self._sleep(PAUSE_SECONDS)

    async def _lines(self, name: str, end: int) -> AsyncIterator[bytes]:
        """The segment in pieces of whole lines, the header first and alone: it is read more often than the rest."""
        at, size = 0, PIECE_BYTES
        while at < end:
            data = self._disk.read(name, at, min(size, end - at))
            cut = (data.rfind(b"\n") if at else data.find(b"\n")) + 1
            if cut:
                yield data[:cut]
                at, size = at + cut, PIECE_BYTES
            elif len(data) < size:
                raise Damaged(f"it ends at byte {at + len(data)}, and goes on in the next at {end}")
            else:
                size *= 8

    def _remove(self, name: str) -> None:
        # The mark first: as long as the segment is there, somebody has something to do.
        for file in (mark_name(name), name):
            with contextlib.suppress(FileNotFoundError):
                self._disk.remove(file)
