"""Another book takes the place of the one that was read: a backup that was put back, or the same, written again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from store_builders import all_records, contents, reader, solicitada, writer

from services.compras.domain import DOMAIN as COMPRAS
from services.compras.telling import Listener, Pieces
from services.shared.heights import BookHeights
from services.shared.journal.store import JsonStore
from services.shared.store import Fenced

Replacing = Callable[[JsonStore[Any], Path], Awaitable[None]]


async def given(*batches: Sequence[Any]) -> AsyncIterator[Sequence[Any]]:
    for batch in batches:
        yield batch


async def told_from_the_first(pieces: Pieces) -> bytes:
    with Listener(None, 0, "") as one:
        return await pieces.behind(one, at_end=True) or b""


def orders(*tokens: int) -> list[Any]:
    return [solicitada(token, token=token) for token in tokens]


async def put_back(store: JsonStore[Any], aside: Path) -> None:
    async with writer(aside, COMPRAS) as other:
        await other.process_batch(orders(701, 702, 703))
        later = BookHeights("compras", other.heights.book, other.heights.generation + 1)
        await store.put_back(later, given(list(all_records(other))))


async def written_again(store: JsonStore[Any], _: Path) -> None:
    later = BookHeights("compras", store.heights.book, store.heights.generation + 1)
    await store.begin_again(later, given(orders(701, 702, 703)))


@pytest.mark.parametrize("replaced", [put_back, written_again])
@pytest.mark.parametrize("leads", [False, True])
async def test_who_follows_ends_when_another_book_is_there_and_tells_nothing_of_it(
    tmp_path: Path, replaced: Replacing, leads: bool
) -> None:
    folder = tmp_path / "compras"
    async with writer(folder, COMPRAS) as store:
        await store.process_batch(orders(901, 902, 903, 904, 905))
        with reader(folder, COMPRAS) as replica:
            pieces = Pieces(replica)
            told = await told_from_the_first(pieces)
            await replaced(store, tmp_path / "other")
            store.disk.unlock()
            before = contents(folder)
            with pytest.raises(Fenced, match="another book"):
                await replica.lead() if leads else replica.follow()
            assert not replica.leads
            assert contents(folder) == before
            assert (replica.seq, await told_from_the_first(pieces)) == (5, told)
    async with writer(folder, COMPRAS) as anew:
        told = await told_from_the_first(Pieces(anew))
        assert (told.count(b"id: "), b'"tokenId":701' in told) == (3, True)


async def test_who_follows_reads_on_when_the_one_who_wrote_is_replaced(tmp_path: Path) -> None:
    with reader(tmp_path, COMPRAS) as replica:
        for token in (901, 902, 903):
            async with writer(tmp_path, COMPRAS) as store:
                await store.process_batch(orders(token))
            replica.follow()
        assert replica.seq == 3
