"""A book that went on from an older copy of it: no number tells, once it is as long as the one that was lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from store_builders import all_records, copied, disk_on, publicado, solicitada

from broker.heights import Height, sender, written
from broker.messages import Message
from services.shared.heights import BookHeights, Doubted, as_told
from services.shared.journal.store import JsonStore
from services.tokens.domain import DOMAIN as TOKENS


@asynccontextmanager
async def at_work(folder: Path, minute: int, **options: Any) -> AsyncIterator[JsonStore[Any]]:
    """A process that leads, from this minute on."""
    with disk_on(folder) as disk:
        store = JsonStore(disk, TOKENS, lambda: f"2025-09-10T17:{minute:02d}:00.000Z", **options)
        store.load()
        assert await store.lead()
        yield store


def messages(first: int, count: int) -> list[Message]:
    return [publicado(token) for token in range(first, first + count)]


def of(store: JsonStore[Any], seq: int) -> Height:
    found = sender(store.heights.said(seq))
    assert found
    return found[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy"


async def lost_and_found(folder: Path, copy: Path, *, starts: int = 1) -> tuple[list[Height], list[Height]]:
    """What was told of the records behind the copy, and what the copy told when it went on, begun so many times."""
    async with at_work(folder, 1) as store:
        await store.process_batch(messages(1, 10))
        copied(folder, copy)
        await store.process_batch(messages(11, 5))
        told = [of(store, seq) for seq in range(11, 16)]
    anew = []
    for start in range(starts):
        async with at_work(copy, 2 + start) as store:
            before = store.seq
            await store.process_batch(messages(100 * (start + 1), 10))
            anew += [of(store, seq) for seq in range(before + 1, store.seq + 1)]
    return told, anew


@pytest.mark.parametrize("starts", [1, 2, 3])
async def test_a_copy_that_is_longer_by_now_learns_from_what_was_heard_of_the_other_one(
    tmp_path: Path, copy: Path, starts: int
) -> None:
    told, _ = await lost_and_found(tmp_path / "tokens", copy, starts=starts)
    async with at_work(copy, 10) as store:
        records = store.seq
        for at in told:
            asks = solicitada(1).received("", f"compras/00000001/1/7 {written([('tokens', at)])}")
            with pytest.raises(Doubted, match=rf"record {at.seq} of this book of tokens is another one than compras"):
                await store.process_batch([asks])
        assert store.seq == records


async def test_who_has_heard_of_the_lost_one_does_not_listen_to_the_copy(tmp_path: Path, copy: Path) -> None:
    told, anew = await lost_and_found(tmp_path / "tokens", copy)
    heights = BookHeights("usuarios", "0000000a", 1)
    heights.heard = {"tokens": told[-1]}
    for at in anew:
        with pytest.raises(Doubted, match=r"goes on without record 15.*zoco rebuild tokens"):
            heights.hear([written([("tokens", at)])], 0)
    # As it is once it was written again.
    assert heights.hear([written([("tokens", Height(told[0].book, 2, 40, "1-abcd"))])], 0)["tokens"].generation == 2


async def test_what_was_heard_before_a_writer_began_anew_is_told_to_whoever_asks(tmp_path: Path, copy: Path) -> None:
    """tokens was away while compras' copy grew past what it knew, and began once more."""
    told, anew = await lost_and_found(tmp_path / "tokens", copy, starts=2)
    heights = BookHeights("usuarios", "0000000a", 1)
    heights.heard = heights.hear([written([("tokens", told[-1])])], 0)
    heights.heard = heights.hear([written([("tokens", anew[-1])])], 0)
    assert heights.heard == {"tokens": anew[-1]} and heights.state(3)["earlier"] == [written([("tokens", told[-1])])]
    async with at_work(copy, 10) as store:
        assert store.heights.hear([heights.said(3)], store.seq)
        with pytest.raises(Doubted, match="another one than usuarios"):
            store.heights.hear(as_told([heights.state(3)]), store.seq)
    # As its journal has it, too.
    again = BookHeights("usuarios", "0000000a", 1)
    for at in (told[-1], anew[-1]):
        again.read("", heights.said(3).partition(" ")[0] + " " + written([("tokens", at)]))
    assert again.state(3)["earlier"] == heights.state(3)["earlier"]


async def test_one_book_has_all_that_its_writers_said_however_often_they_began(tmp_path: Path) -> None:
    """Parts, packed ones too, and processes that wrote nothing."""
    told: list[Height] = []
    for start in range(12):
        async with at_work(tmp_path, start, snapshot_bytes=2_000) as store:
            for first in range(0, (start % 4) * 10, 5):
                before = store.seq
                await store.process_batch(messages(100 * start + first, 5))
                told += [of(store, seq) for seq in range(before + 1, store.seq + 1)]
                await store.packer.pack()
    assert len({at.branch for at in told}) > 12
    async with at_work(tmp_path, 30) as store:
        assert [of(store, at.seq) for at in told] == told
        for at in told:
            assert store.heights.hear([f"compras/00000001/1/7 {written([('tokens', at)])}"], store.seq)
    assert not any(one.excludes(other) for one, other in pairwise(told))
    # In any order, twice, and late: nobody doubts.
    heights, random = BookHeights("usuarios", "0000000a", 1), Random(1)
    for at in random.sample(told * 2, len(told) * 2):
        heights.heard = heights.hear([written([("tokens", at)])], 0)
    assert heights.heard == {"tokens": told[-1]}


async def test_of_a_book_that_was_put_back_nobody_knows_who_wrote_what_was_there(tmp_path: Path) -> None:
    """It comes out of tables as the same generation, and in other segments."""
    async with at_work(tmp_path, 1) as store:
        await store.process_batch(messages(1, 10))
        told, backup = of(store, 9), list(all_records(store))

        async def given() -> AsyncIterator[Sequence[bytes]]:
            yield backup

        same = BookHeights("tokens", store.heights.book, 1)
        await store.put_back(same, given())
    async with at_work(tmp_path, 2) as store:
        assert (store.seq, of(store, 9).branch) == (10, "")
        assert store.heights.hear([f"compras/00000001/1/7 {written([('tokens', told)])}"], store.seq)
        await store.process_batch(messages(50, 1))
        assert of(store, 11).branch.startswith("11-")


def test_copies_that_went_on_exclude_each_other_and_nothing_else_does(tmp_path: Path) -> None:
    """Of two histories that have their first records in common only what is behind those is ever excluded; and always
    what both wrote before they began once more."""
    for seed in range(300):
        random = Random(seed)
        common, firsts = random.randint(1, 30), [1]
        while random.random() < 0.6:
            firsts.append(firsts[-1] + random.randint(0, 5))
        histories = []
        for side in ("aaaa", "bbbb"):
            starts = [(first, f"{first}-0000") for first in firsts if first <= common]
            begins = common + 1
            while random.random() < 0.7:
                starts.append((begins, f"{begins}-{side}"))
                begins += random.randint(0, 6)
            histories.append([Height("0000000a", 1, seq, _branch(starts, seq)) for seq in range(1, begins + 5)])
        for history in histories:
            assert not any(one.excludes(other) for one in history for other in history)
        for one in histories[0]:
            for other in histories[1]:
                found = one.excludes(other)
                assert found == other.excludes(one)
                assert not found or (one.seq > common and other.seq > common)
                if {one.branch, other.branch} == {f"{common + 1}-aaaa", f"{common + 1}-bbbb"}:
                    assert found


def _branch(starts: Sequence[tuple[int, str]], seq: int) -> str:
    return [name for first, name in starts if first <= seq][-1]
