"""Packed segments: the same bytes at the same places, whatever dies on the way; what is damaged is refused."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import zstandard
from store_builders import (
    FIRST,
    Clock,
    all_records,
    contents,
    copied,
    disk_on,
    life,
    reader,
    solicitada,
    state,
    writer,
)

from services.compras.domain import DOMAIN as COMPRAS
from services.shared.journal import packed
from services.shared.journal import packer as packing
from services.shared.journal.disk import LocalDisk
from services.shared.journal.packer import Packer
from services.shared.journal.store import JsonStore
from services.shared.store import Damaged, Fenced

SECOND = "journal-00000001-000002.jsonl"
PACKED = FIRST + ".zst"
# Segments of three frames and their header's.
SEGMENT_BYTES = 300_000


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PAUSE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments as they were written, without snapshots. Nobody may change it."""
    folder = tmp_path_factory.mktemp("books")

    async def write() -> None:
        async with writer(folder, COMPRAS, snapshot_bytes=SEGMENT_BYTES) as store:
            number = 0
            while len(store._segments) < 3:
                some = [message for n in range(5) for message in life(solicitada(key=f"k{number + n}"), number + n + 1)]
                number += 5
                await store.process_batch(some)

    asyncio.run(write())
    for snapshot in folder.glob("*.snapshot"):
        snapshot.unlink()
    return folder


@pytest.fixture
def folder(books: Path, tmp_path: Path) -> Path:
    return copied(books, tmp_path / "folder")


async def pack(folder: Path, *, kind: type[LocalDisk] = LocalDisk) -> JsonStore[Any]:
    """Become the writer, and pack all that can be. Returns the store, closed."""
    async with writer(folder, COMPRAS, kind=kind, snapshot_bytes=SEGMENT_BYTES) as store:
        await store.packer.pack()
        return store


def files(folder: Path, pattern: str = "journal-00000001-*.jsonl*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def read_again(folder: Path) -> tuple[Any, ...]:
    with reader(folder, COMPRAS) as store:
        return state(store)


async def test_a_packed_folder_is_read_as_it_was_written(books: Path, folder: Path) -> None:
    await pack(folder)

    assert files(folder) == [PACKED, SECOND + ".zst", "journal-00000001-000003.jsonl"]
    assert not (folder / FIRST).with_suffix(".mark").exists()
    assert not list(folder.glob(".*"))
    assert (folder / PACKED).stat().st_size < (books / FIRST).stat().st_size / 5
    with reader(books, COMPRAS) as before, reader(folder, COMPRAS) as after:
        assert state(after) == state(before)
        assert list(all_records(after)) == list(all_records(before))


@pytest.mark.skipif(not shutil.which("zstdcat"), reason="there is no zstdcat")
async def test_zstdcat_prints_what_was_written_of_packed_and_other_segments(books: Path, folder: Path) -> None:
    await pack(folder)

    names = [folder / PACKED, folder / SECOND]
    shutil.copy(books / SECOND, folder / SECOND)
    told = subprocess.run(["zstdcat", *names], capture_output=True, check=True).stdout
    assert told == (books / FIRST).read_bytes() + (books / SECOND).read_bytes()


async def test_an_old_reply_is_read_by_unpacking_one_frame(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = 0
    once = packed.unpacked

    def counted(raw: bytes, size: int) -> bytes:
        nonlocal whole
        whole += 1
        return once(raw, size)

    await pack(folder)
    async with writer(folder, COMPRAS) as store:
        monkeypatch.setattr(packed, "unpacked", counted)
        for number in (85, 86):
            (answer,) = await store.process_batch([solicitada(key=f"k{number}")])
            assert answer.repeated and answer.failure is None
        row = store.find(solicitada(key="k85").compra_id)
    assert row is not None and row.estado == "registrada"
    assert whole == 1


async def test_it_is_done_in_another_thread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    once = packing.frames

    def watched(lines: bytes) -> list[bytes]:
        threads.add(threading.current_thread())
        return once(lines)

    monkeypatch.setattr(packing, "frames", watched)
    await pack(folder)
    assert threads and threading.main_thread() not in threads


async def test_no_removed_segment_is_held_open(folder: Path) -> None:
    with reader(folder, COMPRAS) as follower:
        list(all_records(follower))
        async with writer(folder, COMPRAS, snapshot_bytes=SEGMENT_BYTES) as store:
            list(all_records(store))
            await store.packer.pack()
            follower.follow()
            held = [*open_files()]
    assert not [name for name in held if str(folder) in name and "(deleted)" in name]


async def test_who_writes_holds_no_file_open_that_somebody_else_removed(folder: Path) -> None:
    def held() -> list[str]:
        return [name for name in open_files() if str(folder) in name and "(deleted)" in name]

    async with writer(folder, COMPRAS) as store:
        (folder / "other").write_bytes(b"something")
        store.disk.read("other")
        (folder / "other").unlink()
        assert held()
        # Which happens once a second.
        store.check()
        assert not held()


def open_files() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            yield str(descriptor.readlink())


async def test_a_follower_goes_on_reading_while_what_it_reads_is_packed(books: Path, folder: Path) -> None:
    with reader(folder, COMPRAS) as follower:
        first = follower.some_records(0, 1000)
        await pack(folder)
        follower.follow()
        assert list(all_records(follower))[: len(first)] == first
        assert follower.find(solicitada(key="k3").compra_id) is not None
        with reader(books, COMPRAS) as before:
            assert follower.seq == before.seq


# What dies on the way


class Died(BaseException):
    """The process is gone: nothing that comes after is done."""


def dying(at: int) -> type[LocalDisk]:
    """A disk that dies at the step of this number, counting what packing does to files: before it, or in it."""

    class DyingDisk(LocalDisk):
        steps = 0

        def step(self, name: str) -> None:
            if self.steps >= 0 and (name.startswith(".journal") or ".zst" in name or self.removing):
                type(self).steps += 1
                if self.steps == at:
                    type(self).steps = -1
                    raise Died(at)
            elif self.steps < 0:
                raise Died("dead already")

        removing = False

        def create(self, name: str) -> None:
            self.step(name)
            super().create(name)
            self.step(name)

        def append(self, name: str, data: bytes) -> None:
            self.step(name)
            super().append(name, data[: len(data) // 2])
            self.step(name)
            super().append(name, data[len(data) // 2 :])

        def sync_aside(self, name: str) -> None:
            self.step(name)
            super().sync_aside(name)

        def publish(self, name: str, final: str) -> None:
            self.step(name)
            (self.folder / final).hardlink_to(self.folder / name)
            self.step(name)
            self.remove(name)
            self.removing = True

        def remove(self, name: str) -> None:
            self.step(name)
            super().remove(name)

    return DyingDisk


async def test_a_journal_is_whole_and_packed_in_the_end_wherever_packing_dies(books: Path, tmp_path: Path) -> None:
    wanted = read_again(books)
    died = 0
    for step in range(1, 100):
        folder = copied(books, tmp_path / "dying")
        try:
            await pack(folder, kind=dying(step))
        except Died:
            died += 1
        else:
            break
        assert read_again(folder) == wanted, step
        await pack(folder)
        assert read_again(folder) == wanted, step
        assert files(folder)[:2] == [PACKED, SECOND + ".zst"] and len(files(folder)) == 3, step
        assert not list(folder.glob(".*")), step
    assert died > 20


async def test_without_room_nothing_changes_and_it_is_done_when_there_is_some(folder: Path) -> None:
    class FullDisk(LocalDisk):
        full = True

        def append(self, name: str, data: bytes) -> None:
            if self.full and name.startswith("."):
                super().append(name, data[:10])
                raise OSError(errno.ENOSPC, "no room")
            super().append(name, data)

    async with writer(folder, COMPRAS, kind=FullDisk, snapshot_bytes=SEGMENT_BYTES) as store:
        before = files(folder, "*.jsonl*")
        with pytest.raises(OSError, match="no room"):
            await store.packer.pack()
        assert files(folder, "*.jsonl*") == before and not list(folder.glob(".*"))
        (answer,) = await store.process_batch([solicitada(key="another")])
        assert answer.failure is None
        FullDisk.full = False
        await store.packer.pack()
        assert files(folder)[:2] == [PACKED, SECOND + ".zst"]


async def test_who_packs_goes_on_after_a_disk_that_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    async def pause(seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 4:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    async def failing(self: Packer) -> None:
        raise OSError(errno.EIO, "the disk failed")

    async with writer(folder, COMPRAS) as store:
        monkeypatch.setattr(Packer, "pack", failing)
        store.packer._sleep = pause
        with pytest.raises(asyncio.CancelledError):
            await store.packer.run()
    assert tries == [packing.LOOK_SECONDS, packing.AGAIN_SECONDS] * 2


async def test_who_was_fenced_puts_nothing_into_the_folder(folder: Path) -> None:
    async with writer(folder, COMPRAS, snapshot_bytes=SEGMENT_BYTES) as store:
        (folder / "lock").unlink()
        async with writer(folder, COMPRAS):
            with pytest.raises(Fenced):
                await store.packer.pack()
    assert FIRST in files(folder) and PACKED not in files(folder)


async def test_a_small_segment_stays_as_grep_finds_it(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await store.process_batch([solicitada()])
    async with writer(tmp_path, COMPRAS) as store:
        await store.packer.pack()
    assert FIRST in files(tmp_path)


# Both ways


async def test_a_segment_that_is_there_both_ways_is_read_and_then_is_there_once(books: Path, folder: Path) -> None:
    await pack(folder)
    shutil.copy(books / FIRST, folder / FIRST)
    assert read_again(folder) == read_again(books)
    await pack(folder)
    assert FIRST not in files(folder) and PACKED in files(folder)
    assert read_again(folder) == read_again(books)


async def test_what_was_written_over_a_packed_one_does_not_count(books: Path, folder: Path) -> None:
    await pack(folder)
    (folder / FIRST).write_bytes((books / FIRST).read_bytes()[:1000])
    assert read_again(folder) == read_again(books)


@pytest.mark.parametrize("how", ["damaged", "another", "shorter"])
async def test_of_a_packed_one_that_is_not_the_same_both_stay(
    books: Path, folder: Path, tmp_path: Path, how: str
) -> None:
    other = copied(books, tmp_path / "other")
    await pack(other)
    match how:
        case "damaged":
            flip(other / PACKED, 1000)
        case "another":
            shutil.copy(other / (SECOND + ".zst"), other / PACKED)
        case "shorter":
            rebuilt(other / PACKED, lambda frames: frames[:-1])
    async with writer(folder, COMPRAS, snapshot_bytes=SEGMENT_BYTES) as store:
        shutil.copy(other / PACKED, folder / PACKED)
        with structlog.testing.capture_logs() as logs:
            await store.packer.pack()
    assert {FIRST, PACKED} <= set(files(folder))
    assert any(line["event"] == "a segment stays as it is" and line["segment"] == FIRST for line in logs)


async def test_a_writer_that_was_replaced_sees_it_though_the_segment_that_says_so_is_packed(folder: Path) -> None:
    async with writer(folder, COMPRAS) as old:
        (folder / "lock").unlink()
        async with writer(folder, COMPRAS, snapshot_bytes=1024) as new:
            for number in range(2):
                await new.process_batch(life(solicitada(key=f"new{number}"), 1000 + number))
            await new.packer.pack()
            assert "journal-00000003-000001.jsonl.zst" in files(folder, "journal-00000003-*")
            assert "journal-00000003-000001.jsonl" not in files(folder, "journal-00000003-*")
            with pytest.raises(Fenced):
                await old.process_batch([solicitada(key="late")])


async def test_no_segment_takes_the_name_of_one_that_is_packed(folder: Path) -> None:
    await pack(folder)
    with disk_on(folder) as disk, pytest.raises(FileExistsError):
        packed.create_segment(disk, FIRST)
    assert FIRST not in files(folder)


async def test_a_damaged_segment_is_not_packed(books: Path, folder: Path) -> None:
    # Behind a snapshot nobody has read it.
    async with writer(folder, COMPRAS, snapshot_bytes=SEGMENT_BYTES) as store:
        flip(folder / FIRST, 200_000)
        with structlog.testing.capture_logs() as logs:
            await store.packer.pack()
    assert FIRST in files(folder) and PACKED not in files(folder) and SECOND + ".zst" in files(folder)
    assert not list(folder.glob(".*"))
    assert any(line["event"] == "a segment stays as it is" for line in logs)


# Damage


def flip(file: Path, at: int, bits: int = 0xFF) -> None:
    raw = bytearray(file.read_bytes())
    raw[at] ^= bits
    file.write_bytes(raw)


def taken_apart(raw: bytes) -> Iterator[tuple[bytes, int]]:
    """The frames, each with what it holds, by the table."""
    (count,) = struct.unpack_from("<I", raw, len(raw) - 9)
    start, at = len(raw) - 9 - 8 * count, 0
    for size, whole in struct.iter_unpack("<II", raw[start:-9]):
        yield raw[at : at + size], whole
        at += size


def rebuilt(file: Path, change: Callable[[list[tuple[bytes, int]]], list[tuple[bytes, int]]]) -> None:
    """Other frames, and the table that they should have."""
    frames = change([*taken_apart(file.read_bytes())])
    table = packed.table([(len(raw), size) for raw, size in frames])
    file.write_bytes(b"".join(raw for raw, _ in frames) + table)


def refused(folder: Path, name: str = PACKED) -> str:
    """What is said, and that nothing was changed."""
    before = contents(folder)
    with disk_on(folder) as disk, pytest.raises(Damaged) as error:
        JsonStore(disk, COMPRAS, Clock()).load()
    assert contents(folder) == before
    assert name in str(error.value)
    return str(error.value)


async def test_a_flipped_byte_is_refused_wherever_it_is(books: Path, folder: Path) -> None:
    await pack(folder)
    raw = (folder / PACKED).read_bytes()
    ends = len(raw) - 60
    for at in [*range(40), *range(40, ends, len(raw) // 50), *range(ends, len(raw))]:
        flip(folder / PACKED, at)
        refused(folder)
        (folder / PACKED).write_bytes(raw)
    assert read_again(folder) == read_again(books)


async def test_a_flipped_bit_is_refused_or_changes_nothing(books: Path, folder: Path) -> None:
    await pack(folder)
    wanted, raw = read_again(books), (folder / PACKED).read_bytes()
    frames = [*taken_apart(raw)]
    second = len(frames[0][0])
    harmless = 0
    for at in (*range(second, second + 12), *range(len(raw) - 8 * len(frames) - 17, len(raw))):
        for bit in range(8):
            flip(folder / PACKED, at, 1 << bit)
            try:
                assert read_again(folder) == wanted
                harmless += 1
            except Damaged as error:
                assert PACKED in str(error)
            (folder / PACKED).write_bytes(raw)
    # A bit of a frame's header that zstd has no use for.
    assert harmless <= 1


async def test_a_cut_file_is_refused_wherever_it_is_cut(folder: Path) -> None:
    await pack(folder)
    raw = (folder / PACKED).read_bytes()
    for size in [0, 1, 8, 9, 10, 17, *range(20, len(raw), len(raw) // 40), *range(len(raw) - 30, len(raw))]:
        (folder / PACKED).write_bytes(raw[:size])
        refused(folder)


@pytest.mark.parametrize("table", ["as it was", "made to fit"])
async def test_a_frame_that_is_missing_in_the_middle_is_refused(folder: Path, table: str) -> None:
    await pack(folder)
    if table == "made to fit":
        rebuilt(folder / PACKED, lambda frames: [*frames[:2], *frames[3:]])
    else:
        raw, frames = (folder / PACKED).read_bytes(), [*taken_apart((folder / PACKED).read_bytes())]
        start = len(frames[0][0]) + len(frames[1][0])
        (folder / PACKED).write_bytes(raw[:start] + raw[start + len(frames[2][0]) :])
    refused(folder)


async def test_a_missing_frame_is_noticed_before_any_is_read(folder: Path) -> None:
    await pack(folder)
    raw, frames = (folder / PACKED).read_bytes(), [*taken_apart((folder / PACKED).read_bytes())]
    (folder / PACKED).write_bytes(raw[len(frames[0][0]) :])
    with disk_on(folder) as disk, pytest.raises(Damaged, match="not as long as its table says"):
        packed.Archive(disk).size(FIRST)


async def test_what_stands_behind_a_frame_is_refused(folder: Path) -> None:
    await pack(folder)
    rebuilt(folder / PACKED, lambda frames: [frames[0], (frames[1][0] + b"x", frames[1][1]), *frames[2:]])
    refused(folder)


async def test_frames_that_changed_places_are_refused(folder: Path) -> None:
    await pack(folder)
    rebuilt(folder / PACKED, lambda frames: [frames[0], frames[2], frames[1], *frames[3:]])
    refused(folder, FIRST)


@pytest.mark.parametrize("how", ["longer", "shorter"])
async def test_another_length_than_the_next_header_says_is_refused(folder: Path, how: str) -> None:
    await pack(folder)
    if how == "longer":
        rebuilt(folder / PACKED, lambda frames: [*frames, frames[-1]])
    else:
        rebuilt(folder / PACKED, lambda frames: frames[:-1])
    assert f"{PACKED} ends at byte" in refused(folder)


async def test_a_packed_segment_that_nothing_follows_is_refused(folder: Path) -> None:
    await pack(folder)
    for path in folder.glob("journal-0000000[12]-*"):
        if path.name not in (PACKED, SECOND + ".zst"):
            path.unlink()
    assert "the segment that followed it is missing" in refused(folder, SECOND + ".zst")


async def test_a_missing_packed_segment_is_named(folder: Path) -> None:
    await pack(folder)
    (folder / PACKED).unlink()
    assert f"{FIRST} is missing" in refused(folder, FIRST)


async def test_a_frame_that_says_it_is_huge_is_not_unpacked(folder: Path) -> None:
    await pack(folder)
    huge = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(200_000_000))
    rebuilt(folder / PACKED, lambda frames: [(huge, frames[0][1]), *frames[1:]])
    assert "not the frame that the table names" in refused(folder)


async def test_what_was_unpacked_by_a_person_is_read_and_packed_again(books: Path, folder: Path) -> None:
    async with writer(folder, COMPRAS, snapshot_bytes=SEGMENT_BYTES) as store:
        await store.packer.pack()
        first = store.some_records(0, 1000)
        raw = (folder / PACKED).read_bytes()
        # In other frames than those that this process has read.
        rebuilt(folder / PACKED, lambda frames: [one for raw, _ in frames for one in halved(raw)])
        assert (folder / PACKED).read_bytes() != raw
        assert store.some_records(0, 1000) == first
        assert list(all_records(store)) == list(all_records(store))


def halved(raw: bytes) -> list[tuple[bytes, int]]:
    lines = zstandard.ZstdDecompressor().decompress(raw).splitlines(keepends=True)
    parts = [b"".join(lines[: len(lines) // 2]), b"".join(lines[len(lines) // 2 :])]
    packer = zstandard.ZstdCompressor(write_checksum=True)
    return [(packer.compress(part), len(part)) for part in parts if part]
