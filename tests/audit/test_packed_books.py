"""The audit reads packed segments as what was written, and refuses what is not whole; it unpacks by itself."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from generated_books import generate

from loadgen.audit import packed
from loadgen.audit.audit import Books, audit
from loadgen.audit.books import Journal, from_folder
from loadgen.audit.model import SERVICES
from loadgen.audit.text import Unreadable
from services.shared.clock import utc_now
from services.shared.journal.disk import LocalDisk
from services.shared.journal.store import JsonStore

FIRST = "journal-00000001-000001.jsonl"
PACKED = FIRST + ".zst"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four books of one segment each, and one behind it that is empty. Nobody may change them."""
    folder = tmp_path_factory.mktemp("books")
    asyncio.run(generate(folder, 1500))
    for path in folder.glob("*/*.mark"):
        path.unlink()
    asyncio.run(begun_again(folder))
    return folder


async def begun_again(folder: Path, *, pack: bool = False) -> None:
    for service in SERVICES:
        domain = __import__(f"services.{service}.domain", fromlist=["DOMAIN"]).DOMAIN
        disk = LocalDisk(folder / service)
        store: JsonStore[Any] = JsonStore(disk, domain, utc_now, snapshot_bytes=1024)
        assert await store.lead()
        if pack:
            await store.packer.pack()
        disk.close()


@pytest.fixture(scope="module")
def whole(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, packed by the services. Nobody may change them."""
    folder = tmp_path_factory.mktemp("packed") / "books"
    shutil.copytree(plain, folder)
    asyncio.run(begun_again(folder, pack=True))
    assert all((folder / service / PACKED).exists() for service in SERVICES)
    assert not list(folder.glob(f"*/{FIRST}"))
    return folder


@pytest.fixture
def books(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "books"))


def journal(folder: Path, service: str = "tokens") -> Journal:
    return from_folder(folder, service)


def refused(folder: Path, service: str = "tokens", name: str = PACKED) -> str:
    """The sentence, which names the file."""
    with pytest.raises(Unreadable) as error, contextlib.closing(journal(folder, service)) as found:
        for _ in found.records():
            pass
    assert str(folder / service / name) in str(error.value)
    return str(error.value)


def test_the_records_and_their_places_are_those_that_were_written(plain: Path, whole: Path) -> None:
    for service in SERVICES:
        before, after = journal(plain, service), journal(whole, service)
        records = [*before.records()]
        assert [*after.records()] == records and len(records) > 1000
        assert [*after.sayings()] == [*before.sayings()]
        for place, record in records[:: len(records) // 20]:
            assert after.record(place) == record
            assert after.where(place) == before.where(place).replace(
                f"{plain / service / FIRST}", f"{whole / service / PACKED}"
            )
        before.close()
        after.close()


def test_the_verdict_is_the_same(plain: Path, whole: Path) -> None:
    def verdict(folder: Path) -> Any:
        found = audit(Books(**{name: journal(folder, name) for name in SERVICES}))
        return found.holds, [str(one) for one in found.breaches]

    assert verdict(whole) == verdict(plain) == (True, [])


def test_of_what_is_there_both_ways_the_packed_one_counts(plain: Path, books: Path) -> None:
    (books / "tokens" / FIRST).write_bytes((plain / "tokens" / FIRST).read_bytes()[:5000])
    assert [*journal(books).records()] == [*journal(plain).records()]


def test_a_mark_of_a_packed_segment_is_no_sign_of_a_loss(books: Path) -> None:
    (books / "tokens" / FIRST).with_suffix(".mark").write_bytes(b"0" * 19)
    assert [*journal(books).records()]


def test_a_mark_without_its_segment_still_is(books: Path) -> None:
    (books / "tokens" / FIRST).with_suffix(".mark").write_bytes(b"0" * 19)
    (books / "tokens" / PACKED).unlink()
    refused(books, name=FIRST)


def test_a_segment_that_is_packed_while_it_is_read_goes_on_being_read(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "books"))
    found = journal(folder)
    records = [*found.records()]
    with contextlib.closing(found.records()) as reading, contextlib.closing(found):
        first = next(reading)
        asyncio.run(begun_again(folder, pack=True))
        assert [first, *reading] == records == [*found.records()]
        assert found.record(first[0]) == first[1]


def flip(file: Path, at: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[at] ^= 0xFF
    file.write_bytes(raw)


def rebuilt(file: Path, change: Callable[[list[tuple[bytes, int]]], list[tuple[bytes, int]]]) -> None:
    """Other frames, and the table that they should have."""
    raw = file.read_bytes()
    (count,) = struct.unpack_from("<I", raw, len(raw) - 9)
    frames, at = [], 0
    for size, unpacked in struct.iter_unpack("<II", raw[len(raw) - 9 - 8 * count : -9]):
        frames.append((raw[at : at + size], unpacked))
        at += size
    frames = change(frames)
    sizes = b"".join(struct.pack("<II", len(frame), unpacked) for frame, unpacked in frames)
    end = sizes + struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
    file.write_bytes(b"".join(frame for frame, _ in frames) + struct.pack("<II", 0x184D2A5E, len(end)) + end)


def test_a_flipped_byte_is_refused_wherever_it_is(books: Path) -> None:
    file = books / "tokens" / PACKED
    raw = file.read_bytes()
    for at in [*range(20), *range(20, len(raw), len(raw) // 60), *range(len(raw) - 40, len(raw))]:
        flip(file, at)
        refused(books)
        file.write_bytes(raw)


def test_a_cut_file_is_refused_wherever_it_is_cut(books: Path) -> None:
    file = books / "tokens" / PACKED
    raw = file.read_bytes()
    for size in [0, 5, 9, *range(20, len(raw), len(raw) // 40), *range(len(raw) - 20, len(raw))]:
        file.write_bytes(raw[:size])
        refused(books)


def test_a_frame_that_is_missing_in_the_middle_is_refused(books: Path) -> None:
    rebuilt(books / "tokens" / PACKED, lambda frames: [*frames[:2], *frames[3:]])
    assert "ends at byte" in refused(books)


def test_a_missing_frame_is_noticed_before_any_is_read(books: Path) -> None:
    raw = (books / "tokens" / PACKED).read_bytes()
    (books / "tokens" / PACKED).write_bytes(raw[:200] + raw[1200:])
    with pytest.raises(Unreadable, match="not as long as its table says"):
        packed.size_of(books / "tokens" / PACKED)


def test_what_stands_behind_a_frame_is_refused(books: Path) -> None:
    rebuilt(books / "tokens" / PACKED, lambda frames: [frames[0], (frames[1][0] + b"x", frames[1][1]), *frames[2:]])
    refused(books)


def test_frames_that_changed_places_are_refused(books: Path) -> None:
    rebuilt(books / "tokens" / PACKED, lambda frames: [frames[0], frames[2], frames[1], *frames[3:]])
    refused(books)


def test_another_length_than_the_next_header_says_is_refused(books: Path) -> None:
    rebuilt(books / "tokens" / PACKED, lambda frames: [*frames, frames[-1]])
    assert "the next one goes on at" in refused(books)


def test_a_table_of_other_sizes_is_refused(books: Path) -> None:
    rebuilt(books / "tokens" / PACKED, lambda frames: [(frames[0][0], frames[0][1] + 1), *frames[1:]])
    refused(books)


def test_a_frame_without_a_checksum_is_refused(books: Path) -> None:
    def unchecked(frames: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        data = zstandard.ZstdDecompressor().decompress(frames[1][0])
        return [frames[0], (zstandard.ZstdCompressor().compress(data), len(data)), *frames[2:]]

    rebuilt(books / "tokens" / PACKED, unchecked)
    refused(books)


def test_a_packed_segment_that_nothing_follows_is_refused(books: Path) -> None:
    for path in (books / "tokens").glob("journal-*"):
        if path.name != PACKED:
            path.unlink()
    assert "the segment that followed it is missing" in refused(books)


def test_only_one_frame_is_unpacked_for_one_record(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = journal(whole)
    places = [place for place, _ in found.records()]
    unpacked = 0
    once = packed._Unpacked._unpacked

    def counted(self: Any, number: int) -> bytes:
        nonlocal unpacked
        unpacked += 1
        return once(self, number)

    monkeypatch.setattr(packed._Unpacked, "_unpacked", counted)
    found.record(places[len(places) // 2])
    assert unpacked == 1
    found.close()
