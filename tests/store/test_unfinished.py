"""A book that is written again, or put back, and is never finished: what was there starts, and nothing of it stays."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kept_story import Clock
from starlette.requests import ClientDisconnect
from store_builders import all_records, contents, disk_on, publicado, reader, writer

from services.shared.heights import BookHeights
from services.shared.journal.disk import LocalDisk
from services.shared.journal.generation import UNFINISHED
from services.shared.journal.segments import latest_epoch, segment_name
from services.shared.journal.store import JsonStore
from services.shared.store import StoreBroken
from services.tokens.domain import DOMAIN


class Killed(BaseException):
    """The process is no more."""


class Mortal(LocalDisk):
    """Its process is killed when it has removed so many files."""

    removals = 0

    def remove(self, name: str) -> None:
        super().remove(name)
        type(self).removals -= 1
        if self.removals == 0:
            raise Killed


async def some(*batches: Sequence[Any], ends: BaseException | None = None) -> AsyncIterator[Sequence[Any]]:
    for batch in batches:
        yield batch
    if ends:
        raise ends


def later(store: JsonStore[Any]) -> BookHeights:
    return BookHeights("tokens", store.heights.book, store.heights.generation + 1)


async def left_unfinished(store: JsonStore[Any]) -> None:
    """Write its book again as a process does that is killed meanwhile."""
    name = segment_name(latest_epoch(store.disk) + 1, 1)
    book = JsonStore(store.disk, DOMAIN, Clock())
    store.disk.create(file := UNFINISHED + name.removeprefix("journal-"))
    await book.begin(name, file)
    await book.process_batch([publicado(2)])


def unfinished(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("rebuilt-*"))


@pytest.mark.parametrize("removals", [1, 2])
async def test_killed_at_any_removal_of_what_was_left_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([publicado(1)])
        await left_unfinished(store)
    assert [Path(name).suffix for name in unfinished(tmp_path)] == [".jsonl", ".mark"]
    monkeypatch.setattr(Mortal, "removals", removals)
    with pytest.raises(Killed):
        async with writer(tmp_path, DOMAIN, kind=Mortal):
            pass
    with reader(tmp_path, DOMAIN) as store:
        assert set(store.rows) == {"1"}
    async with writer(tmp_path, DOMAIN):
        assert unfinished(tmp_path) == []


@pytest.mark.parametrize("removals", [1, 2])
async def test_killed_at_any_removal_before_a_second_try_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    async with writer(tmp_path, DOMAIN, kind=Mortal) as store:
        await store.process_batch([publicado(1)])
        await left_unfinished(store)
        monkeypatch.setattr(Mortal, "removals", removals)
        with pytest.raises(Killed):
            await store.begin_again(later(store), some([publicado(2)]))
    with reader(tmp_path, DOMAIN) as store:
        assert set(store.rows) == {"1"}
    async with writer(tmp_path, DOMAIN):
        assert unfinished(tmp_path) == []


@pytest.mark.parametrize(
    "error", [OSError(5, "the disk failed"), StoreBroken("a sync failed"), ClientDisconnect(), Killed()]
)
async def test_what_could_not_be_written_again_or_put_back_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([publicado(1)])
        before = contents(tmp_path)
        with pytest.raises(type(error)):
            await store.begin_again(later(store), some([publicado(2)], ends=error))
        assert contents(tmp_path) == before
        with pytest.raises(type(error)):
            await store.put_back(later(store), some(list(all_records(store)), ends=error))
        assert contents(tmp_path) == before
        await store.process_batch([publicado(3)])


class NoLinks(LocalDisk):
    """Its file system knows no hard links."""

    def publish(self, name: str, final: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")


async def test_what_cannot_get_its_name_leaves_nothing(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN, kind=NoLinks) as store:
        await store.process_batch([publicado(1)])
        before = contents(tmp_path)
        with pytest.raises(PermissionError):
            await store.begin_again(later(store), some([publicado(2)]))
        with pytest.raises(PermissionError):
            await store.put_back(later(store), some(list(all_records(store))))
        assert contents(tmp_path) == before


def put_back_segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("journal-00000000-*"))


async def test_records_that_a_killed_process_put_back_are_removed_by_the_next_one(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([publicado(1)])
        await store.put_back(later(store), some(list(all_records(store))))
    counting = put_back_segments(tmp_path)
    async with writer(tmp_path, DOMAIN) as store:
        # What it leaves before the last segment has its name.
        kept = store.disk.read(counting[0])
        left = segment_name(0, 2)
        store.disk.create(left)
        store.disk.append(left, kept.replace(counting[0].encode(), left.encode()))
    async with writer(tmp_path, DOMAIN) as store:
        assert put_back_segments(tmp_path) == counting
        assert set(store.rows) == {"1"}


async def test_what_a_book_was_before_it_was_written_again_stays_whole(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([publicado(1)])
        await store.put_back(later(store), some(list(all_records(store))))
    counting = put_back_segments(tmp_path)
    assert counting
    async with writer(tmp_path, DOMAIN) as store:
        await store.begin_again(later(store), some([publicado(2)]))
    async with writer(tmp_path, DOMAIN) as store:
        assert set(store.rows) == {"2"}
        assert put_back_segments(tmp_path) == counting


class NoRoomForNames(LocalDisk):
    """The folder's own blocks find no room, which a file system may say when it is synced."""

    def _sync_folder(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_file_whose_name_finds_no_room_is_none(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([publicado(1)])
    before = contents(tmp_path)
    with disk_on(tmp_path, NoRoomForNames) as disk:
        store = JsonStore(disk, DOMAIN, Clock())
        store.load()
        for _ in range(3):
            assert not await store.lead()
            assert store.full
        with pytest.raises(OSError, match="No space"):
            disk.publish("journal-00000001-000001.jsonl", "journal-00000007-000001.jsonl")
    assert contents(tmp_path) == before
