"""Events from a real store's journal: from any record on, exactly once, on any replica, and never in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from store_builders import FIRST, life, reader, recarga, solicitada, vendida, writer

from services.compras.domain import DOMAIN as COMPRAS
from services.compras.streams import MAX_LISTENERS, Events, Listeners
from services.compras.telling import CHUNK_BYTES, SHARED_CHUNKS
from services.shared.http.problems import Problem

WAIT_SECONDS = 60


def read(text: bytes) -> list[tuple[int, str, dict[str, Any]]]:
    """The events in what was sent: id, kind, data."""
    events = []
    for block in text.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "id" in fields:
            events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return events


async def sent(stream: AsyncIterator[bytes], until: int) -> bytes:
    """What a stream sends, up to the event with this id."""
    text = b""
    async with asyncio.timeout(WAIT_SECONDS):
        async for piece in stream:
            text += piece
            if text.endswith(f"id: {until}\n\n".encode()):
                break
    await stream.aclose()  # type: ignore[attr-defined]
    return text


async def bought(store: Any, count: int) -> None:
    for number in range(1, count + 1):
        await store.process_batch(life(solicitada(number), number))


def listened(store: Any, **options: Any) -> Events:
    events = Events(store, **options)
    store.watch(lambda change: events.heard())
    return events


async def test_whoever_was_away_gets_just_the_rest_here_on_a_follower_and_after_a_restart(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS, snapshot_bytes=4_000) as store:
        await bought(store, 12)
        whole = await sent(Events(store).all(0), store.seq)
        ids = [number for number, _, _ in read(whole)]
        assert ids == list(range(1, store.seq + 1))
        with reader(tmp_path, COMPRAS) as follower:
            for after in range(store.seq):
                rest = await sent(Events(follower).all(after), store.seq)
                assert read(rest) == read(whole)[after:]
    async with writer(tmp_path, COMPRAS, snapshot_bytes=4_000) as again:
        assert read(await sent(Events(again).all(20), store.seq)) == read(whole)[20:]


async def test_a_damaged_record_is_the_only_one_that_listeners_do_not_hear_of(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await bought(store, 12)
        whole = read(await sent(Events(store).all(0), store.seq))
        file = tmp_path / FIRST
        raw = file.read_bytes()
        # The second state of the fifth purchase: how it ended is read elsewhere.
        file.write_bytes(raw.replace(b'{"seq":18,', b'{"seq":19,', 1))
        heard = read(await asyncio.wait_for(sent(Events(store).all(3), store.seq), WAIT_SECONDS))
        assert heard == [event for event in whole if event[0] > 3 and event[0] != 18]


async def test_an_event_says_how_the_purchase_stood_then_and_not_how_it_stands_now(tmp_path: Path) -> None:
    compra = solicitada(1)
    async with writer(tmp_path, COMPRAS) as store:
        live = []
        events = listened(store)
        for message in life(compra, 7):
            await store.process_batch([message])
            live.append(read(await sent(events.all(store.seq - 1), store.seq))[0])
        assert [event[2]["estado"] for event in live] == ["solicitada", "reservada", "pagada", "registrada"]
        assert live[-1][2]["transaccionId"] == 7 and "transaccionId" not in live[-2][2]
        assert read(await sent(Events(store).all(0), store.seq)) == live


async def test_without_a_last_event_news_begin_now_and_their_place_is_said_first(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await bought(store, 2)
        events = listened(store)
        stream = events.all(None)
        hearing = asyncio.create_task(sent(stream, store.seq + 1))
        while not events.listeners.waiting:
            await asyncio.sleep(0)
        await store.process_batch([solicitada(9)])
        start, news = read(await hearing)
        assert start[:2] == (8, "inicio")
        assert (news[0], news[2]["usuarioId"]) == (9, 9)
        assert events.listeners.waiting == 0


async def test_an_id_that_this_journal_never_gave_begins_anew_and_says_so(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await bought(store, 1)
        assert read(await sent(listened(store).all(10**9), store.seq)) == [(4, "inicio", {"registro": 4})]


async def test_operators_entries_are_told_without_saying_whose(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await store.process_batch([recarga(1)])
        assert read(await sent(Events(store).all(0), 1)) == [
            (1, "alta", {"tipo": "saldo.recargado", "estado": "solicitada"})
        ]


async def test_one_purchase_is_told_until_its_end_and_no_other(tmp_path: Path) -> None:
    compra = solicitada(1)
    async with writer(tmp_path, COMPRAS) as store:
        first, *rest = life(compra, 1)
        await store.process_batch([first])
        events = listened(store)

        async def listen(after: int | None) -> list[tuple[int, str, dict[str, Any]]]:
            async with asyncio.timeout(WAIT_SECONDS):
                return read(b"".join([piece async for piece in events.of(compra.compra_id, after)]))

        anew, resumed = asyncio.create_task(listen(None)), asyncio.create_task(listen(1))
        while events.listeners.waiting < 2:
            await asyncio.sleep(0)
        for number, message in enumerate(rest, 2):
            await store.process_batch([solicitada(number), message])
        told, continued = await anew, await resumed
        assert [event[2]["estado"] for event in told] == ["solicitada", "reservada", "pagada", "registrada"]
        assert continued == told[1:]
        assert {event[2]["id"] for event in told} == {compra.compra_id}
        assert await events.missed(compra.compra_id, told[-2][0])
        assert not await events.missed(compra.compra_id, told[-1][0])
        assert [event[2]["estado"] for event in await listen(None)] == ["registrada"]


async def test_a_follower_that_is_behind_is_waited_for(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await store.process_batch([solicitada(1)])
        with reader(tmp_path, COMPRAS) as follower:
            events = listened(follower)
            await store.process_batch([solicitada(2)])
            await store.process_batch([vendida(solicitada(2))])
            hearing = asyncio.create_task(sent(events.all(2), 3))
            known = asyncio.create_task(events.known(solicitada(2).compra_id, WAIT_SECONDS))
            while events.listeners.waiting < 2:
                await asyncio.sleep(0)
            follower.follow()
            assert [event[0] for event in read(await hearing)] == [3]
            assert await known is not None


async def test_a_slow_listener_holds_one_piece_and_a_long_way_is_sent_in_pieces(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await store.process_batch([solicitada(number) for number in range(1, 5_001)])
        events = listened(store)
        pieces = []
        stream = events.all(0)
        while len(pieces) < 2 or read(pieces[-1])[-1][0] < store.seq:
            pieces.append(await anext(stream))
            if len(pieces) > 1:
                assert len(pieces[-1]) < 2 * CHUNK_BYTES
        assert len(pieces) > 10
        kept = [*events._pieces._at_end.values(), *events._pieces._before.values()]
        assert sum(len(text) for text, _ in kept) < (SHARED_CHUNKS + 1) * 2 * CHUNK_BYTES
        await stream.aclose()  # type: ignore[attr-defined]


async def test_of_all_who_catch_up_from_records_of_their_own_one_is_read_for_at_a_time(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await bought(store, 500)
        rows_of, reading, most = store.rows_of, 0, 0

        async def counted(keys: Any) -> Any:
            nonlocal reading, most
            reading += 1
            most = max(most, reading)
            await asyncio.sleep(0)
            found = await rows_of(keys)
            reading -= 1
            return found

        store.rows_of = counted  # type: ignore[method-assign]
        events = listened(store)
        hearing = [asyncio.create_task(sent(events.all(after), store.seq)) for after in range(30)]
        one = asyncio.create_task(sent(events.of(solicitada(500).compra_id, 0), store.seq))
        for after, told in enumerate(await asyncio.gather(*hearing)):
            assert [number for number, _, _ in read(told)] == list(range(after + 1, store.seq + 1))
        assert len(read(await one)) == 4
        # And one that is near the end.
        assert most <= 2


async def test_those_who_catch_up_share_what_is_read_wherever_each_of_them_begins(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await bought(store, 200)
        records, reads = store.records, 0

        async def counted(after: int, size_bytes: int) -> list[bytes]:
            nonlocal reads
            reads += 1
            return await records(after, size_bytes)

        store.records = counted  # type: ignore[method-assign]
        await sent(listened(store).all(0), store.seq)
        alone, reads = reads, 0
        events = listened(store)
        hearing = [asyncio.create_task(sent(events.all(after), store.seq)) for after in range(30)]
        for after, told in enumerate(await asyncio.gather(*hearing)):
            assert [number for number, _, _ in read(told)] == list(range(after + 1, store.seq + 1))
        # Each at most once, until they come upon what was made for another.
        assert reads <= alone + 30


async def test_silence_is_broken_by_a_comment_and_the_end_of_the_process_ends_every_stream(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        events = listened(store, heartbeat_seconds=0.01)
        stream = events.all(0)
        pieces = [await anext(stream), await anext(stream), await anext(stream)]
        assert pieces[1:] == [b": ping\n\n"] * 2
        events.stop()
        async with asyncio.timeout(WAIT_SECONDS):
            assert [piece async for piece in stream if not piece.startswith(b":")] == []


async def test_who_stands_in_line_to_catch_up_hears_a_comment_now_and_then_and_keeps_their_place(
    tmp_path: Path,
) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await bought(store, 200)
        records, go = store.records, asyncio.Event()

        async def slow(after: int, size_bytes: int) -> list[bytes]:
            await go.wait()
            return await records(after, size_bytes)

        store.records = slow  # type: ignore[method-assign]
        events = listened(store, heartbeat_seconds=0.01)
        streams = [events.all(after, f"address {after}") for after in range(3)]
        for stream in streams:
            await anext(stream)
        async with asyncio.timeout(5):
            pieces = [piece for _ in range(3) for piece in await asyncio.gather(*map(anext, streams))]
        assert set(pieces) == {b": ping\n\n"}
        gone = streams.pop()
        await gone.aclose()  # type: ignore[attr-defined]
        go.set()
        for after, told in enumerate(await asyncio.gather(*(sent(one, store.seq) for one in streams))):
            assert [number for number, _, _ in read(told)] == list(range(after + 1, store.seq + 1))


async def test_the_end_of_the_process_ends_the_line_of_those_who_catch_up(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        await bought(store, 200)
        reading = asyncio.Event()

        async def silent(after: int, size_bytes: int) -> list[bytes]:
            reading.set()
            await asyncio.Event().wait()
            return []

        store.records = silent  # type: ignore[method-assign]
        events = listened(store)

        async def listens(after: int) -> list[bytes]:
            return [piece async for piece in events.all(after, f"address {after % 9}")]

        asked = [asyncio.create_task(listens(after)) for after in range(100)]
        missed = asyncio.create_task(events.missed(solicitada(1).compra_id, 4))
        await reading.wait()
        await asyncio.sleep(0)
        events.stop()
        _, waiting = await asyncio.wait([*asked, missed], timeout=5)
        assert not waiting
        # Whoever comes again elsewhere is told.
        assert await missed and {b"".join(one.result()) for one in asked} == {b"retry: 1000\n\n"}
        assert await listens(0) == [b"retry: 1000\n\n"]
        events._pieces._catching_up._going.cancel()  # type: ignore[union-attr]


async def test_where_nobody_listens_nothing_is_read_and_nothing_kept(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        events = listened(store)
        await bought(store, 20)
        assert events.listeners._telling is None
        assert not events._pieces._at_end


async def test_a_thousand_listeners_hear_of_everything_and_the_loop_is_free_in_between(tmp_path: Path) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        events = listened(store)
        hearing = [asyncio.create_task(sent(events.all(0), 40)) for _ in range(1_000)]
        while events.listeners.waiting < 1_000:
            await asyncio.sleep(0)
        turns = 0
        for number in range(1, 41):
            await store.process_batch([solicitada(number)])
            await asyncio.sleep(0)
        while not all(one.done() for one in hearing):
            turns += 1
            await asyncio.sleep(0)
        # News come to 1,000 in 50 groups; somebody else had a turn after each.
        assert turns > 50
        assert {tuple(number for number, _, _ in read(one.result())) for one in hearing} == {tuple(range(1, 41))}


def test_one_address_does_not_get_all_places() -> None:
    listeners, places = Listeners(), ExitStack()
    with pytest.raises(Problem, match="too many of them from this address") as refused:
        for _ in range(MAX_LISTENERS):
            places.enter_context(listeners.place("stranger"))
    assert refused.value.status == 503 and refused.value.headers["Retry-After"] == "5"
    assert listeners.count == MAX_LISTENERS * 9 // 10
    for _ in range(100):
        places.enter_context(listeners.place("neighbour"))
    places.close()
    assert listeners.count == 0
