"""What a purchase costs a store for good: memory when it is over, and the journal's bytes when a line is long."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from generated_books import generate
from store_builders import (
    FIRST,
    all_records,
    confirmada,
    life,
    pagado,
    publicado,
    reader,
    recarga,
    solicitada,
    state,
    usuario,
    without_marks,
    writer,
)

from broker.messages import Message
from services.compras.domain import DOMAIN as COMPRAS
from services.shared.decision import Domain
from services.shared.journal import segments as journal
from services.shared.records import with_checksum
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

PURCHASES = 100_000
BATCH = 5_000
# A key, a number and a hash table's place for them; three numbers in the book.
MAX_BYTES = 150
TOKENS_SOLD = 1_000
# Bytes of a journal for each purchase.
KEPT = 3_000
MOST_OF_COMPRAS, MOST_OF_ALL = 450, 800


def sale(number: int) -> Sequence[Message]:
    return [confirmada(solicitada(number))]


def whole_life(number: int) -> Sequence[Message]:
    return life(solicitada(number), number)


def beginning_and_end(number: int) -> Sequence[Message]:
    """What lies between leaves nothing of its own."""
    first, *_, last = whole_life(number)
    return [first, last]


@pytest.mark.parametrize(
    ("domain", "messages", "rows"),
    [(COMPRAS, beginning_and_end, 0), (TRANSACCIONES, sale, 1)],
    ids=["compras", "transacciones"],
)
async def test_a_finished_purchase_leaves_little_in_memory(
    tmp_path: Path, domain: Domain[Any], messages: Callable[[int], Sequence[Message]], rows: int
) -> None:
    async with writer(tmp_path, domain) as store:
        for first in range(1, PURCHASES, BATCH):
            await store.process_batch([m for number in range(first, first + BATCH) for m in messages(number)])
        assert (len(store.list_index), len(store.rows)) == (PURCHASES, rows)
        parts = [
            *store._dedup.items(),
            store._dedup,
            *store.list_index._columns,
            store.list_index._places,
        ]
        size = sum(total_size(part) for part in parts) / PURCHASES
        touched = store._touched.__sizeof__() / PURCHASES
        print(f"{domain.name}: {size:.0f} bytes a purchase, and {touched:.0f} until the next snapshot")
        assert size <= MAX_BYTES


async def test_a_sold_token_leaves_memory_and_no_snapshot_holds_it_twice(tmp_path: Path) -> None:
    async with writer(tmp_path, TOKENS, snapshot_bytes=1_000_000) as store:

        async def sell(first: int) -> None:
            tokens = range(first, first + TOKENS_SOLD)
            await store.process_batch([publicado(token) for token in tokens])
            await store.process_batch([solicitada(token, token=token) for token in tokens])
            await store.process_batch([pagado(solicitada(token, token=token)) for token in tokens])

        await sell(1)
        first_sold = store.find("1")
        for number in range(1, 10):
            await sell(1 + number * TOKENS_SOLD)
        sizes = [file.stat().st_size for file in sorted(tmp_path.glob("*.snapshot"))]
        shelf = store.public_rows
        size = sum(total_size(part) for part in (shelf._text, shelf._numbers, shelf._starts, shelf._places))
        print(f"{size / len(shelf):.0f} bytes for a sold token; snapshots of {sizes} bytes")
        assert (len(store.rows), len(shelf)) == (0, 10 * TOKENS_SOLD)
        assert size <= MAX_BYTES * len(shelf)
        assert len(sizes) > 5
        assert max(sizes[2:]) < 1.2 * min(sizes[2:])
        # It is all there, and whoever comes later hears that it is sold.
        assert first_sold is not None
        assert store.find("1") == first_sold
        assert first_sold.vendido
        (answer,) = await store.process_batch([solicitada(2, token=1, key="late")])
        assert [word.type for word in answer.messages] == ["compra.rechazada"]
    with reader(tmp_path, TOKENS) as again:
        assert (again.find("1"), len(again.rows)) == (first_sold, 0)
        assert json.loads(again.public_rows.body()) == json.loads(shelf.body())


def total_size(part: Any) -> int:
    """The parts of a tuple, or the thing itself; the garbage collector's share is in neither."""
    return sum(item.__sizeof__() for item in part) if isinstance(part, tuple) else int(part.__sizeof__())


async def test_one_more_in_line_costs_the_same_at_any_length(tmp_path: Path) -> None:
    async with writer(tmp_path, TOKENS) as store:
        # Numbers of as many digits in every record that is compared.
        await store.process_batch([publicado(), *refused(10_001)])
        await store.process_batch([solicitada(number) for number in range(100_001, 100_012)])

        async def one_more(number: int) -> int:
            before = store.disk.size(str(store.segment))
            await store.process_batch([solicitada(number)])
            return store.disk.size(str(store.segment)) - before

        assert len(store.rows["101"].cola) == 10
        few = await one_more(200_000)
        # Found out here, before a line that costs more as it grows takes minutes to grow.
        await store.process_batch([solicitada(number) for number in range(400_000, 400_090)])
        assert await one_more(200_002) == few
        await store.process_batch([solicitada(number) for number in range(300_000, 300_000 + 8_898)])
        assert len(store.rows["101"].cola) == 9_000
        many = await one_more(200_001)

    print(f"{few} bytes of journal for one more with 10 who wait, {many} with 9,000")
    assert few == many


def refused(count: int) -> Sequence[Message]:
    """Purchases of a token that is not there: they fill the journal and no line."""
    return [solicitada(number, token=999) for number in range(900_000, 900_000 + count)]


async def test_the_journal_itself_is_not_kept_in_memory(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS, snapshot_bytes=200_000) as store:

        async def grown(first: int) -> int:
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for number in range(first, first + 1000, 100):
                await store.process_batch([m for one in range(number, number + 100) for m in whole_life(one)])
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before

        tracemalloc.start()
        try:
            await grown(1)
            bytes_each = await grown(1_001) / 1000
        finally:
            tracemalloc.stop()
        written = sum(store.disk.size(name) for name in journal.segment_names(store.disk)) / 2000
        print(f"{bytes_each:.0f} bytes of memory for {written:.0f} bytes of journal")
        # A table that doubles may do so in these thousand.
        assert bytes_each < 4 * MAX_BYTES < written


@pytest.mark.parametrize("domain", [COMPRAS, TOKENS], ids=lambda domain: domain.name)
async def test_who_follows_holds_no_more_than_two_segments_worth_for_its_next_snapshot(
    tmp_path: Path, domain: Domain[Any]
) -> None:
    """And when it leads, its own snapshots hold all that the writer's do not."""

    def messages(number: int) -> Sequence[Message]:
        if domain is COMPRAS:
            return life(solicitada(number), number)
        return [publicado(number), solicitada(number, token=number), pagado(solicitada(number, token=number))]

    with reader(tmp_path, domain) as follower:
        async with writer(tmp_path, domain, snapshot_bytes=8_000) as store:
            for number in range(1, 301):
                await store.process_batch(messages(number))
                follower.follow()
            assert len(follower._touched) + len(follower._touched_before) < 60
            assert len(follower.public_rows._fresh) + len(follower.public_rows._fresh_before) < 60
        assert await follower.lead()
        follower._snapshot_bytes = 8_000
        for number in range(301, 340):
            await follower.process_batch(messages(number))
        now = state(follower)
    with reader(tmp_path, domain) as quick:
        assert state(quick) == now and quick._snapshot == follower._snapshot
    for snapshot in tmp_path.glob("*.snapshot"):
        snapshot.unlink()
    with reader(tmp_path, domain) as slow:
        assert state(slow) == now


async def test_a_top_up_that_waits_costs_the_same_however_many_wait_before_it(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS, snapshot_bytes=100_000) as store:
        for first in range(0, 4_000, 500):
            await store.process_batch([recarga(number, monto=2) for number in range(first, first + 500)])
        waiting = store.rows["1"]
        sizes = [len(raw) for raw in all_records(store)]
        assert max(sizes) < min(sizes) + 60
    async with writer(tmp_path, USUARIOS) as store:
        assert store.rows["1"] == waiting
        (answer,) = await store.process_batch([usuario(saldo=7)])
        assert store.rows["1"].saldo == 8_007 and len(answer.messages) == 4_001
        assert list(all_records(store))[-1].count(b'"esperan":[]') == 1


async def test_the_whole_line_that_an_older_version_wrote_with_each_top_up_is_read(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as store:
        await store.process_batch([recarga(1), recarga(2), recarga(3)])
        now = store.rows["1"]
    without_marks(tmp_path)
    file = tmp_path / FIRST
    lines, waiting = [], []
    for raw in file.read_bytes().splitlines():
        line = json.loads(raw)
        if (moved := line.get("change", {}).get("esperan")) is not None:
            waiting += moved["joined"] if isinstance(moved, dict) else moved
            line["change"]["esperan"] = [*waiting]
        line.pop("crc")
        lines.append(with_checksum(json.dumps(line, separators=(",", ":")).encode()[:-1]))
    file.write_bytes(b"".join(lines))
    assert file.read_bytes().count(b"alta_id") == 6
    with reader(tmp_path, USUARIOS, to_the_end=True) as old:
        assert old.rows["1"] == now


async def test_a_purchase_takes_half_a_kilobyte_of_compras_disk_for_good_and_less_than_one_of_all_four(
    tmp_path: Path,
) -> None:
    """Of what is packed, the heights that books tell each other included; the entries of users and tokens, too."""
    await generate(tmp_path, KEPT)
    took = {}
    for domain in (COMPRAS, TOKENS, USUARIOS, TRANSACCIONES):
        async with writer(tmp_path / domain.name, domain) as store:
            await store.packer.pack()
            assert list((tmp_path / domain.name).glob("*.zst"))
        took[domain.name] = sum(file.stat().st_size for file in (tmp_path / domain.name).iterdir()) / KEPT
    assert took["compras"] <= MOST_OF_COMPRAS, took
    assert sum(took.values()) <= MOST_OF_ALL, took
