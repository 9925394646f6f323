"""The readable view of a book: `transacciones.json` as the journal has it, whatever was written before."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from store_builders import all_records, confirmada, reader, solicitada, writer

from services.shared.heights import BookHeights
from services.shared.journal.json_file import ListingFile
from services.shared.journal.store import JsonStore
from services.transacciones.domain import DOMAIN, public


def view_of(store: JsonStore[Any], folder: Path) -> ListingFile[Any]:
    return ListingFile(store, folder / "transacciones.json", public)


def shown(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "transacciones.json").read_text(encoding="utf-8"))
    return rows


def expected(count: int) -> list[dict[str, Any]]:
    return [
        {"id": number, "usuarioId": number, "tokenId": 101, "fecha": solicitada().fecha}
        for number in range(1, count + 1)
    ]


async def sell(store: JsonStore[Any], first: int, last: int) -> None:
    # Every sale is repeated: a repeated one leaves a record in nobody's book.
    for number in range(first, last + 1):
        await store.process_batch([confirmada(solicitada(number)), confirmada(solicitada(number))])


@pytest.mark.parametrize("snapshot_bytes", [1, 1000, 1_000_000])
async def test_the_view_of_a_book_has_each_sale_once_and_in_order(tmp_path: Path, snapshot_bytes: int) -> None:
    async with writer(tmp_path, DOMAIN, snapshot_bytes=snapshot_bytes) as store:
        view = view_of(store, tmp_path)
        await view.write()
        assert shown(tmp_path) == []
        for last in (1, 2, 9, 9, 20):
            await sell(store, len(store.list_index) + 1, last)
            await view.write()
            assert shown(tmp_path) == expected(last)
    async with writer(tmp_path, DOMAIN, snapshot_bytes=snapshot_bytes) as store:
        await sell(store, 21, 30)
        await view_of(store, tmp_path).write()
        assert shown(tmp_path) == expected(30)


@pytest.mark.parametrize("left", [b"", b"[]\n", b'[{"id":1,"usua', b'[{"id":7}]\n', b"no JSON"])
async def test_a_view_that_a_crash_left_unfinished_is_begun_anew(tmp_path: Path, left: bytes) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await sell(store, 1, 5)
        (tmp_path / "transacciones.json").write_bytes(left)
        await view_of(store, tmp_path).write()
        assert shown(tmp_path) == expected(5)


@pytest.mark.parametrize("count", [1, 5, 30])
async def test_the_view_of_a_book_that_was_thrown_away_is_begun_anew(tmp_path: Path, count: int) -> None:
    """As when a backup took the place of what a shop had begun to sell."""
    backup, shop = tmp_path / "backup", tmp_path / "shop"
    async with writer(backup, DOMAIN) as kept, writer(shop, DOMAIN) as lost:
        await sell(kept, 1, 30)
        await sell(lost, 101, 100 + count)
        await view_of(lost, shop).write()

        async def records() -> AsyncIterator[list[bytes]]:
            yield list(all_records(kept))

        await lost.put_back(BookHeights("transacciones", kept.heights.book, 2), records())
    async with writer(shop, DOMAIN) as store:
        await view_of(store, shop).write()
        assert shown(shop) == expected(30)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("room", [0, 1, 40, 200])
async def test_a_view_for_which_there_was_no_room_is_whole_again_when_there_is(
    tmp_path: Path, room: int, restart: bool
) -> None:
    file = tmp_path / "transacciones.json"
    async with writer(tmp_path, DOMAIN) as store:
        await sell(store, 1, 5)
        view = view_of(store, tmp_path)
        await view.write()
        await sell(store, 6, 9)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + room, hard))
        try:
            for _ in range(2):
                with pytest.raises(OSError, match="File too large"):
                    await view.write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await sell(store, 10, 12)
        if restart:
            view = view_of(store, tmp_path)
        await view.write()
        assert shown(tmp_path) == expected(12)
        # And it is gone on with, not only begun anew.
        await sell(store, 13, 14)
        await view.write()
        assert shown(tmp_path) == expected(14)


async def test_a_view_of_a_large_book_is_written_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.journal.json_file.CHUNK_BYTES", 1)
    async with writer(tmp_path, DOMAIN) as store:
        await sell(store, 1, 5)
        await view_of(store, tmp_path).write()
        assert shown(tmp_path) == expected(5)


async def test_a_line_is_listed_as_it_is_in_the_view(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await sell(store, 1, 5)
    with reader(tmp_path, DOMAIN, to_the_end=True) as follower:
        lines = await follower.listed(2, after=2, where={})
        assert [public(line) for _, line in lines] == expected(5)[2:4]
