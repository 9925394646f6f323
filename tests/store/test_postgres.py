"""What only the store on PostgreSQL promises: several processes decide, connections are lost, somebody is wrong."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import msgspec
import pytest
from memory_store import MemoryStore
from postgres_server import (
    away,
    new_database,
    not_injected,
    running_pair,
    running_postgres,
    url_in,
    waits_for_standby,
    without_standby,
)
from pydantic import SecretStr
from silence import tells_of_silence
from store_builders import (
    FECHA,
    HeldBroker,
    cut_off_by_a_doubt,
    pagado,
    publicado,
    recarga,
    registrada,
    reservado,
    solicitada,
    usuario,
)
from structlog.testing import capture_logs

from broker.messages import CompraConfirmada, CompraMessage, CompraRechazada, CompraSolicitada, Message, TokenReservado
from ops.postgres import Database, freeze, thaw
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.domain import Compra
from services.shared.clock import utc_now
from services.shared.decision import Domain
from services.shared.heights import BookHeights, Doubted
from services.shared.postgres.link import PASSING, Connection, Link, leave_replaced
from services.shared.postgres.reads import PATIENCE_SECONDS
from services.shared.postgres.store import PostgresStore
from services.shared.runtime import Runtime
from services.shared.settings import Settings, WrongSetting
from services.shared.store import Away, Change, Fenced, StoreBroken
from services.tokens.domain import DOMAIN as TOKENS
from services.tokens.main import SERVICE
from services.usuarios.domain import DOMAIN as USUARIOS

Kind = TypeVar("Kind")
Opened = Callable[[Domain[Any]], Awaitable[PostgresStore[Any]]]


@pytest.fixture
async def database(postgres: Database) -> str:
    return await new_database(postgres)


@pytest.fixture
async def opened(postgres: Database, database: str) -> AsyncIterator[Opened]:
    """Each time another process of a service, with the same books."""
    stores: list[PostgresStore[Any]] = []

    async def opened(domain: Domain[Any]) -> PostgresStore[Any]:
        store: PostgresStore[Any] = PostgresStore(url_in(postgres, domain.name, database), domain)
        stores.append(store)
        await store.open()
        assert store.opened, store.trouble
        return store

    yield opened
    for store in stores:
        await store.close()


@asynccontextmanager
async def beside(work: Awaitable[None]) -> AsyncIterator[asyncio.Future[None]]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def records_of(store: PostgresStore[Any]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    while some := await store.records(len(records), 1 << 20):
        records += map(json.loads, some)
    return records


async def eventually(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


async def test_who_waits_for_a_machine_that_lost_its_power_is_told(opened: Opened) -> None:
    """By the kernel: the machine itself says nothing. tests/k8s/test_ha.py takes its power away."""
    store = await opened(TOKENS)
    for link in (store._writing, store._reading, store._voices.link):
        connection = await link.get()
        tells_of_silence(connection._transport.get_extra_info("socket"))
        if sys.platform == "linux":
            # And the database is told of a dead process, whose rows are locked.
            assert await connection.fetchval("SHOW tcp_user_timeout") == "15000"


async def test_of_two_hosts_the_one_that_is_silent_keeps_nobody(postgres: Database, database: str) -> None:
    """It takes the connection, as a frozen one does, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        named = f"@127.0.0.1:{silent.getsockname()[1]},127.0.0.1:"
        both = url_in(postgres, TOKENS.name, database).replace("@127.0.0.1:", named)
        store: PostgresStore[Any] = PostgresStore(both, TOKENS)
        try:
            async with asyncio.timeout(60):
                await store.until_leading("")
            assert (await store.process_batch([publicado(7)]))[0].failure is None
        finally:
            await store.close()


async def test_who_stands_still_in_a_transaction_keeps_nobody_waiting(opened: Opened) -> None:
    """A frozen process, whose machine answers for it: its rows, and its service's turn, are free after 10 s."""
    frozen, other = await opened(TOKENS), await opened(TOKENS)
    connection = await frozen._writing.get()
    await connection.execute("BEGIN")
    await frozen._decide(connection, [publicado(7)])
    async with asyncio.timeout(60):
        assert (await other.process_batch([publicado(7, precio=51)]))[0].failure is None
    # It wakes up, and what it had decided is not there.
    with pytest.raises(PASSING):
        await connection.execute("COMMIT")
    assert (await frozen.process_batch([publicado(8)]))[0].failure is None
    assert [record["row"] for record in await records_of(other)] == ["7", "8"]


async def test_reads_of_a_silent_database_end_together(postgres: Database, database: str) -> None:
    """Each waits 5 s, and not 3 s for each that asked before it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = url_in(postgres, TOKENS.name, database).replace(f":{postgres.port}/", f":{silent.getsockname()[1]}/")
        store: PostgresStore[Any] = PostgresStore(url, TOKENS)
        began = asyncio.get_running_loop().time()
        told = await asyncio.gather(*(store.rows_of([str(one)]) for one in range(10)), return_exceptions=True)
        assert all(isinstance(one, Away) for one in told), told
        assert asyncio.get_running_loop().time() - began < 3 * PATIENCE_SECONDS
        await store.close()


async def test_a_database_that_stands_still_and_was_replaced_is_left(tmp_path: Path) -> None:
    """Its connections live, and say nothing. Who leads now is found by a new one, and is asked instead."""
    async with running_pair(tmp_path / "pair", strict=False) as pair:
        store: PostgresStore[Any] = PostgresStore(pair.url(TOKENS.name), TOKENS)
        await store.open()
        assert store.opened, store.trouble
        assert (await store.process_batch([publicado(7)]))[0].failure is None
        async with beside(store.tend()):
            await eventually(lambda: all(link.server for link in store._links if link is not store._asks))
            freeze(pair.primary.data)
            try:
                await pair.other.promote()
                async with asyncio.timeout(90):
                    assert (await store.process_batch([publicado(8)]))[0].failure is None
            finally:
                thaw(pair.primary.data)
        await store.close()


async def test_one_that_stands_still_while_it_is_connected_to_is_left_too(tmp_path: Path) -> None:
    async with running_pair(tmp_path / "pair", strict=False) as pair:

        async def asked_of_a_frozen_one(connection: Any) -> None:
            freeze(pair.primary.data)
            await connection.fetchval("SELECT 1")

        async def asked(connection: Any) -> None:
            await connection.fetchval("SELECT 1")

        new = Link(pair.url(TOKENS.name), TOKENS.name, "writes", asked_of_a_frozen_one)
        newest = Link(pair.url(TOKENS.name), TOKENS.name, "reads", asked)
        try:
            async with beside(new.get()) as getting:
                await eventually(lambda: new.server)
                await pair.other.promote()
                await until_led(newest)
                leave_replaced([new, newest])
                await eventually(getting.done)
                assert isinstance(getting.exception(), PASSING) and not new.server
        finally:
            thaw(pair.primary.data)
            await newest.close()


async def until_led(link: Link) -> None:
    async with asyncio.timeout(60):
        while not link.server:
            with suppress(*PASSING):
                await link.get()


async def test_a_database_that_is_silent_while_the_others_are_asked_ends_no_process(tmp_path: Path) -> None:
    class Silent(MemoryStore):
        asked = 0

        async def latest(self) -> int:
            self.asked += 1
            if self.asked == 1:
                raise Away("PostgreSQL does not answer")
            return await super().latest()

    store = Silent(TOKENS, utc_now)
    await store.until_leading("")
    settings = Settings(data=tmp_path, rabbitmq_url=SecretStr("amqp://guest:guest@127.0.0.1:1/"))
    runtime = Runtime(SERVICE, settings, lambda *_: store)
    assert runtime.bus and runtime.processor
    async with beside(runtime._work(runtime.bus, runtime.processor)) as work:
        await eventually(lambda: runtime.writing.is_set() or work.done())
        assert not work.done()


async def test_four_processes_sell_each_token_once_whatever_comes_to_whom(opened: Opened) -> None:
    stores = [await opened(TOKENS) for _ in range(4)]
    tokens = range(101, 111)
    await stores[0].process_batch([publicado(token) for token in tokens])
    chance = random.Random(7)
    todo: list[Message] = [solicitada(buyer, token=chance.choice(tokens)) for buyer in range(1, 301)]
    todo += chance.sample(todo, 60)
    chance.shuffle(todo)
    said: list[Message] = []

    async def consume(store: PostgresStore[Any]) -> None:
        while todo:
            batch = [todo.pop() for _ in range(min(len(todo), chance.randint(1, 12)))]
            for answer in await store.process_batch(batch):
                assert answer.failure is None
                for word in answer.messages:
                    said.append(word)
                    if isinstance(word, TokenReservado):
                        # Paid by whichever process gets it, and told twice now and then.
                        todo.extend([pagado(solicitada_of(word))] * chance.choice((1, 1, 2)))

    await asyncio.gather(*map(consume, stores))

    sold = {(word.token_id, word.compra_id) for word in said if isinstance(word, CompraConfirmada)}
    assert sorted(token for token, _ in sold) == list(tokens)
    asked = {solicitada(buyer, token=token).compra_id for buyer in range(1, 301) for token in tokens}
    ended = {word.compra_id for word in said if isinstance(word, CompraConfirmada | CompraRechazada)}
    records = await records_of(stores[0])
    assert {record["id"].rsplit(":", 1)[0] for record in records} & asked == ended and len(ended) == 300
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert len({record["id"] for record in records}) == len(records)
    # Who decided is known of each: they all did.
    everyone = await rows(stores[0], "SELECT instancia, count(*) FROM diario GROUP BY 1")
    assert {instance for instance, _ in everyone} == {store.instance for store in stores}


def solicitada_of(word: CompraMessage) -> CompraSolicitada:
    return CompraSolicitada(
        compra_id=word.compra_id, usuario_id=word.usuario_id, token_id=word.token_id, fecha=word.fecha
    )


async def rows(store: PostgresStore[Any], query: str) -> list[Any]:
    found: list[Any] = await store._ask(lambda connection: connection.fetch(query))
    return found


async def test_who_asks_for_a_token_that_is_published_just_then_never_waits_for_ever(opened: Opened) -> None:
    """A decision about a row that is not there holds it, too: else both would think that they are the first."""
    one, other = await opened(TOKENS), await opened(TOKENS)
    for token in range(200, 260):
        (asked,), (_,) = await asyncio.gather(
            one.process_batch([solicitada(token, token=token)]), other.process_batch([publicado(token)])
        )
        row = await one.row(str(token))
        (word,) = asked.messages
        assert isinstance(word, TokenReservado) == (row.reserva is not None)
    assert [record["seq"] for record in await records_of(one)] == list(range(1, 121))


async def test_a_line_that_another_process_has_changed_is_taken_over_as_it_is_now(opened: Opened) -> None:
    one, other = await opened(TOKENS), await opened(TOKENS)
    await one.process_batch([publicado(), *(solicitada(buyer) for buyer in range(1, 6))])
    await other.process_batch([solicitada(6)])
    await one.process_batch([solicitada(7)])
    assert [espera.usuario_id for espera in (await other.row("101")).cola] == [2, 3, 4, 5, 6, 7]
    (sold,) = await other.process_batch([pagado(solicitada(1))])
    assert len(sold.messages) == 7
    (late,) = await one.process_batch([solicitada(8)])
    assert isinstance(late.messages[0], CompraRechazada) and late.messages[0].motivo == "token-vendido"
    assert not (await one.row("101")).cola and await rows(one, "SELECT 1 FROM esperas") == []


async def test_money_is_taken_once_when_the_same_message_comes_to_all_at_once(opened: Opened) -> None:
    stores = [await opened(USUARIOS) for _ in range(4)]
    await stores[0].process_batch([usuario(saldo=1_000), recarga(1, monto=1)])
    held = [reservado(solicitada(1, key=str(number)), precio=10) for number in range(50)]
    answers = await asyncio.gather(*(store.process_batch(held) for store in stores))
    assert (await stores[0].row("1")).saldo == 1_001 - 500
    for same in zip(*answers, strict=True):
        assert len({answer.messages for answer in same}) == 1 and sum(not answer.repeated for answer in same) == 1


async def test_a_row_that_another_batch_has_changed_is_not_even_read_before_that_is_committed(
    opened: Opened, postgres: Database, database: str
) -> None:
    """Nothing but the row's lock sees to it, and here there is always somebody who would come too early."""
    first, second = await opened(USUARIOS), await opened(USUARIOS)
    await first.process_batch([usuario(saldo=1_000)])
    await second.process_batch([recarga(1, monto=1)])
    committed, go = first._commit, asyncio.Event()

    async def late(connection: Any) -> None:
        await go.wait()
        await committed(connection)

    first._commit = late  # type: ignore[method-assign]
    same, other = reservado(solicitada(1, key="same"), precio=10), reservado(solicitada(1, key="other"), precio=100)
    paying = asyncio.ensure_future(first.process_batch([same]))
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1"
    written = """
        SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = $1 AND l.locktype = 'advisory' AND l.objsubid = 2 AND l.objid = 0
    """
    async with postgres.connected(database) as owner, asyncio.timeout(20):
        while not await owner.fetchval(written, database):
            await asyncio.sleep(0.02)
        also = asyncio.ensure_future(second.process_batch([same, other]))
        while not await owner.fetchval(waits, database):
            await asyncio.sleep(0.02)
    go.set()
    await paying
    assert [answer.repeated for answer in await also] == [True, False]
    assert (await second.row("1")).saldo == 1_001 - 10 - 100


async def test_who_waited_for_the_database_says_so_only_until_it_answers(
    opened: Opened, postgres: Database, database: str
) -> None:
    """Nothing is decided meanwhile: a read is enough. And a batch that comes to wait is told of in the log, whatever
    had been read in vain before."""
    store = await opened(TOKENS)
    async with beside(store.tend()):
        async with away(postgres, database):
            await eventually(lambda: store.trouble)
        await eventually(lambda: store.trouble is None)
        with capture_logs() as log:
            async with away(postgres, database):
                await eventually(lambda: store.trouble)
                selling = asyncio.ensure_future(store.process_batch([publicado()]))
                await eventually(lambda: any("this process waits" in line["event"] for line in log))
            await selling
        assert store.trouble is None


async def test_who_decided_nothing_for_long_reads_no_more_than_the_last_of_what_was_heard(
    opened: Opened, postgres: Database, database: str
) -> None:
    store = await opened(TOKENS)
    await store.process_batch([publicado()])
    async with postgres.connected(database) as owner:
        await owner.execute(
            "INSERT INTO tokens.diario SELECT n, n, hora, instancia, registro, 'usuarios/00000001/1/' || n "
            "FROM tokens.diario, generate_series(2, 5000) AS n WHERE seq = 1"
        )
        leer = "SELECT count(*), min(a) FROM tokens.leer('{}', '{}', '{}', '{}', 0) WHERE que = 'o'"
        await owner.execute("SET search_path = tokens")
        assert tuple(await owner.fetchrow(leer)) == (1_000, 4_001)
    await store.process_batch([publicado(102)])
    assert store.heights.known() == "usuarios/00000001/1/5000" and store._heard_upto == 5_000


async def test_an_answer_that_is_late_does_not_shift_the_clock(opened: Opened) -> None:
    store = await opened(TOKENS)
    connection = await store._writing.get()

    async def late(query: str, *values: Any) -> Any:
        found = await connection.fetchrow(query, *values)
        await asyncio.sleep(2)
        return found

    store._writing._connection = Wrapped(connection, fetchrow=late)
    await store.process_batch([publicado()])
    wrong = datetime.fromisoformat(store.now()) - datetime.now(UTC)
    assert abs(wrong.total_seconds()) < 0.5
    # One that really is ahead is followed.
    now = datetime.now(UTC)
    store._set_clock(now, now + timedelta(seconds=30))
    assert 29 < (datetime.fromisoformat(store.now()) - datetime.now(UTC)).total_seconds() < 31


async def test_the_front_doors_know_of_each_other_and_hear_all_in_the_same_order(opened: Opened) -> None:
    doors = [await opened(COMPRAS) for _ in range(3)]
    heard: list[list[Change[Any]]] = [[] for _ in doors]
    for door, changes in zip(doors, heard, strict=True):
        door.watch(changes.append)
    async with beside(doors[0].tend()), beside(doors[1].tend()), beside(doors[2].tend()):
        asked = [solicitada(buyer) for buyer in range(1, 61)]
        await asyncio.gather(*(door.process_batch(asked[place::3]) for place, door in enumerate(doors)))
        await asyncio.gather(*(door.process_batch([reservado(asked[0])]) for door in doors))
        ended = [registrada(compra).received(FECHA) for compra in asked[:10]]
        await doors[1].process_batch(ended)
        await eventually(lambda: all(len(changes) == 71 for changes in heard))
    assert [(one.type, one.subject) for one in heard[0]] == [(one.type, one.subject) for one in heard[1]]
    assert [one.row for one in heard[1]] == [one.row for one in heard[2]]
    # Each knows which of them it has decided itself.
    assert sum(not one.elsewhere for changes in heard for one in changes) == 71
    assert [(door.unfinished, door.unfinished_of(Compra)) for door in doors] == [(50, 50)] * 3
    assert doors[0].seq == 71 and not any(door._own for door in doors)
    assert await doors[0].unfinished_rows() == await doors[2].unfinished_rows()


async def test_a_commit_whose_answer_is_lost_is_decided_again_and_counts_once(opened: Opened) -> None:
    store, witness = await opened(USUARIOS), await opened(USUARIOS)
    await store.process_batch([usuario(saldo=100)])
    committed = store._commit

    async def lost(connection: Any) -> None:
        store._commit = committed  # type: ignore[method-assign]
        await committed(connection)
        connection.terminate()
        raise ConnectionResetError("the answer never came")

    store._commit = lost  # type: ignore[method-assign]
    (answer,) = await store.process_batch([recarga(1, monto=7)])
    assert answer.repeated and len(answer.messages) == 1
    assert (await witness.row("1")).saldo == 107


@pytest.mark.parametrize("step", ["leer", "escribir", "COMMIT"])
async def test_a_connection_that_is_cut_at_any_step_costs_nothing(
    opened: Opened, postgres: Database, database: str, step: str
) -> None:
    store, witness = await opened(TOKENS), await opened(TOKENS)
    await store.process_batch([publicado()])
    connection = await store._writing.get()
    pid = connection.get_server_pid()
    send = "execute" if step == "COMMIT" else "fetch" if step == "leer" else "fetchrow"
    real = getattr(connection, send)

    async def cut(query: str, *values: Any) -> Any:
        if step in query:
            async with postgres.connected(database) as owner:
                await owner.execute("SELECT pg_terminate_backend($1)", pid)
        return await real(query, *values)

    store._writing._connection = Wrapped(connection, **{send: cut})
    (answer,) = await store.process_batch([solicitada(1)])
    assert isinstance(answer.messages[0], TokenReservado)
    assert (await witness.row("101")).reserva.usuario_id == 1 and len(await records_of(witness)) == 2


class Wrapped:
    """A connection, one of whose methods is another."""

    def __init__(self, connection: Any, **methods: Any) -> None:
        self._connection = connection
        self.__dict__ |= methods

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_words_of_a_front_door_that_died_are_said_by_another(opened: Opened) -> None:
    dead, other = await opened(COMPRAS), await opened(COMPRAS)
    published: list[Message] = []

    async def publish(messages: Sequence[Message]) -> None:
        published.extend(messages)

    other.speaks(publish)
    async with beside(dead.tend()), beside(other.tend()):
        (told,) = await dead.process_batch([solicitada(1)])
        dead.told(told.messages)
        await eventually(lambda: dead._voices._said == dead.seq)
        await until(other, "SELECT 1 FROM voces WHERE dicho >= 1 AND instancia = " + str(dead.instance))
        await dead.process_batch([solicitada(2), solicitada(3)])
        # It lives: what it has not said is its own.
        await asyncio.sleep(2.5)
        assert published == []
        instance = dead.instance
        for link in (dead._writing, dead._reading, dead._voices.link):
            link.drop()
        dead._writing.get = never  # type: ignore[method-assign]
        await eventually(lambda: len(published) == 2)
        # Once they are said, it is forgotten.
        await until(other, f"SELECT 1 WHERE NOT EXISTS (SELECT FROM voces WHERE instancia = {instance})")
    assert [word.subject for word in published] == [solicitada(2).subject, solicitada(3).subject]
    assert {word.heights.partition(" ")[0] for word in published} == {
        f"compras/{other.heights.book}/1/{seq}" for seq in (2, 3)
    }


async def test_what_a_lost_commit_had_to_say_of_others_is_said_all_the_same(
    opened: Opened, postgres: Database, database: str
) -> None:
    """Who decides it again hears only of its own purchase: those who waited in the line are told as a dead one's."""
    store = await opened(TOKENS)
    published: list[Message] = []

    async def publish(messages: Sequence[Message]) -> None:
        published.extend(messages)

    store.speaks(publish)
    for answer in await store.process_batch([publicado(), *map(solicitada, (1, 2, 3))]):
        store.told(answer.messages)
    async with beside(store.tend()):
        await until(store, "SELECT 1 FROM voces WHERE dicho = 4")
        async with without_standby(postgres) as owner:
            selling = asyncio.ensure_future(store.process_batch([pagado(solicitada(1))]))
            pid = await waits_for_standby(owner, database, "zoco tokens writes%")
            await owner.execute("SELECT pg_terminate_backend($1)", pid)
            await eventually(lambda: store.seq == 5)
            # A round of who notes down what was said.
            await asyncio.sleep(1.5)
        (answer,) = await selling
        assert answer.repeated
        await eventually(lambda: len(published) >= 3)
    refused = [word.subject for word in published if isinstance(word, CompraRechazada)]
    assert refused == [solicitada(2).subject, solicitada(3).subject]


async def test_what_a_doubt_cut_off_is_said_once_it_is_over(opened: Opened) -> None:
    """No message asks for what there is to say of the others in the line; and it counts as said only then."""
    store, broker = await opened(TOKENS), HeldBroker()
    async with beside(cut_off_by_a_doubt(store, broker)) as work, beside(store.tend()):
        await eventually(lambda: store.seq == 5)
        await asyncio.wait_for(work, 60)
        await until(store, "SELECT 1 FROM voces WHERE dicho = 5")
    refused = [word.subject for word in broker.said if isinstance(word, CompraRechazada)]
    assert refused == [solicitada(2).subject, solicitada(3).subject]


async def never() -> Any:
    await asyncio.Event().wait()


async def until(store: PostgresStore[Any], query: str) -> None:
    async with asyncio.timeout(20):
        while not await rows(store, query):
            await asyncio.sleep(0.05)


async def test_one_alone_asks_again_and_another_one_once_it_is_gone(opened: Opened) -> None:
    one, other = await opened(COMPRAS), await opened(COMPRAS)
    await one.alone()
    second = asyncio.ensure_future(other.alone())
    await asyncio.sleep(1.5)
    assert not second.done()
    await one.close()
    await asyncio.wait_for(second, 10)


async def test_another_process_starts_while_one_alone_asks_again(opened: Opened) -> None:
    first = await opened(COMPRAS)
    await asyncio.wait_for(first.alone(), 10)
    # This one makes no tables, and waits for nobody who would.
    second = await asyncio.wait_for(opened(COMPRAS), 10)
    await second.process_batch([solicitada(1)])


async def test_two_entries_at_two_doors_never_have_the_same_date_or_go_back(opened: Opened) -> None:
    doors = [await opened(COMPRAS), await opened(COMPRAS)]
    dates = [await doors[turn % 2].moment() for turn in range(50)]
    assert dates == sorted(set(dates), key=str)


@pytest.mark.parametrize("least", ["warning", "error"])
async def test_a_commit_that_gave_up_waiting_for_its_standby_is_not_believed(
    opened: Opened, postgres: Database, database: str, least: str
) -> None:
    """It is there, for everybody to see; a failover may take it back. A role that hears no warnings does hear this."""
    async with postgres.connected() as owner:
        await owner.execute(f"ALTER ROLE tokens IN DATABASE {database} SET client_min_messages = {least}")
    store = await opened(TOKENS)
    await store.process_batch([publicado()])
    async with without_standby(postgres) as owner:
        selling = asyncio.ensure_future(store.process_batch([solicitada(1)]))
        await owner.execute("SELECT pg_cancel_backend($1)", await waits_for_standby(owner, database))
        with pytest.raises(StoreBroken, match="standby"):
            await selling


def test_that_it_gave_up_is_known_whatever_language_the_server_speaks() -> None:
    link = Link("", TOKENS.name, "writes", asked_nothing)
    told = {"R": "ProcessInterrupts", "M": "la transacción ya fue comprometida localmente"}
    for function, alone in (("ProcessInterrupts", False), ("SyncRepWaitForLSN", True)):
        link._heard(None, asyncpg.PostgresLogMessage.new(told | {"R": function}))
        assert link.alone == alone


async def asked_nothing(connection: Any) -> None: ...


@asynccontextmanager
async def waiting_to_open(
    postgres: Database, database: str
) -> AsyncIterator[tuple[PostgresStore[Any], asyncio.Future[None], Connection]]:
    """A process of tokens that opens its book while no standby is there; and who owns the database."""
    fresh: PostgresStore[Any] = PostgresStore(url_in(postgres, "tokens", database), TOKENS)
    async with without_standby(postgres) as owner:
        opening = asyncio.ensure_future(fresh.open())
        await waits_for_standby(owner, database)
        yield fresh, opening, owner


async def test_who_gave_up_waiting_while_it_connected_is_not_behind_its_standby(
    opened: Opened, postgres: Database, database: str
) -> None:
    """Nor is it read there: what it would see may be gone after a failover."""
    await opened(TOKENS)
    async with waiting_to_open(postgres, database) as (fresh, opening, owner):
        cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = $1"
        async with asyncio.timeout(20):
            while not opening.done():
                await owner.execute(cancel, database)
                await asyncio.sleep(0.02)
        assert not fresh.opened and "standby" in (fresh.trouble or "")
    await fresh.open()
    assert fresh.opened
    await fresh.close()


async def test_words_of_a_dead_process_that_no_standby_has_are_not_said(
    opened: Opened, postgres: Database, database: str
) -> None:
    dead, other = await opened(COMPRAS), await opened(COMPRAS)
    published: list[Message] = []

    async def publish(messages: Sequence[Message]) -> None:
        published.extend(messages)

    other.speaks(publish)
    await dead.process_batch([solicitada(1)])
    await other._voices.link.get()
    async with without_standby(postgres) as owner:
        for link in dead._links:
            link.drop()
        async with beside(other._voices.run()):
            for _ in range(3):
                pid = await waits_for_standby(owner, database, "zoco compras locks%")
                await owner.execute("SELECT pg_cancel_backend($1)", pid)
                await asyncio.sleep(0.5)
                assert not published
            await owner.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await owner.execute("SELECT pg_reload_conf()")
            await eventually(lambda: published)


async def test_a_book_that_is_replaced_is_not_believed_either_before_a_standby_has_it(
    opened: Opened, postgres: Database, database: str
) -> None:
    store = await opened(TOKENS)
    await store.process_batch([publicado()])
    some = await store.records(0, 1000)
    async with without_standby(postgres) as owner:
        putting = asyncio.ensure_future(store.put_back(BookHeights("tokens", store.heights.book, 2), nothing_but(some)))
        await owner.execute("SELECT pg_cancel_backend($1)", await waits_for_standby(owner, database))
        with pytest.raises(StoreBroken, match="standby"):
            await asyncio.wait_for(putting, 20)
        with pytest.raises(Fenced):
            await asyncio.wait_for(store.process_batch([solicitada(1)]), 20)


async def test_who_does_not_know_whether_its_book_was_replaced_starts_anew(opened: Opened) -> None:
    """It decides nothing more, and would wait for a message to notice."""
    store = await opened(TOKENS)
    await store.process_batch([publicado()])

    async def lost(connection: Any) -> None:
        raise ConnectionResetError("nobody knows whether it was committed")

    store._commit = lost  # type: ignore[method-assign]
    with pytest.raises(OSError, match="nobody knows"):
        await store.put_back(BookHeights("tokens", store.heights.book, 2), nothing_but(await store.records(0, 1000)))
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(store.tend(), 20)
    assert ended.group_contains(Fenced)


async def test_who_asked_for_another_book_and_went_away_cancels_no_commit(
    opened: Opened, postgres: Database, database: str
) -> None:
    store = await opened(TOKENS)
    await store.process_batch([publicado()])
    generation = "SELECT generacion FROM tokens.libro"
    async with without_standby(postgres), postgres.connected(database) as owner:
        anew = store.begin_again(BookHeights("tokens", store.heights.book, 2), nothing_but([publicado()]))
        beginning = asyncio.ensure_future(anew)
        await waits_for_standby(owner, database)
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)
        await asyncio.sleep(1)
        assert await waits_for_standby(owner, database) and await owner.fetchval(generation) == 1
        with pytest.raises(Fenced):
            await asyncio.wait_for(store.process_batch([solicitada(1)]), 20)
        await owner.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await owner.execute("SELECT pg_reload_conf()")
        async with asyncio.timeout(20):
            while await owner.fetchval(generation) != 2:
                await asyncio.sleep(0.05)


async def test_nothing_is_read_before_all_that_can_be_seen_is_with_a_standby(
    opened: Opened, postgres: Database, database: str
) -> None:
    """After a restart what waited for its standby can be seen, and a failover may take it back."""
    await opened(TOKENS)
    async with waiting_to_open(postgres, database) as (fresh, opening, _):
        assert not opening.done() and not fresh.opened
    await opening
    await fresh.until_leading("")
    assert fresh.opened
    await fresh.close()


async def test_who_waits_for_a_standby_is_there_all_the_same_and_says_so(
    opened: Opened, postgres: Database, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that starts then serves: whoever looks whether it lives gets an answer."""
    monkeypatch.setattr("services.shared.postgres.store.OPEN_SECONDS", 1.0)
    store = await opened(TOKENS)
    fresh: PostgresStore[Any] = PostgresStore(url_in(postgres, "tokens", database), TOKENS)
    async with without_standby(postgres) as owner:
        for _ in range(2):
            await asyncio.wait_for(fresh.open(), 20)
            assert not fresh.opened and "standby" in (fresh.trouble or "")
        assert len(await waiting(owner, database)) == 1
        selling = asyncio.ensure_future(store.process_batch([publicado()]))
        await eventually(lambda: "standby" in (store.trouble or ""))
    await selling
    assert store.trouble is None
    await asyncio.wait_for(fresh.until_leading(""), 20)
    assert fresh.opened and fresh.trouble is None
    await fresh.close()


async def waiting(owner: Any, database: str) -> list[int]:
    """The backends that wait for a standby."""
    waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = $1"
    return [pid for (pid,) in await owner.fetch(waits, database)]


async def test_who_only_reads_and_gives_up_leaves_one_connection_that_waits_for_the_standby(
    opened: Opened, postgres: Database, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not notice on the server that nobody wants it any more: at each try another one would stay."""
    monkeypatch.setattr("services.shared.postgres.reads.PATIENCE_SECONDS", 0.5)
    store = await opened(TOKENS)
    await store.process_batch([publicado()])
    async with without_standby(postgres) as owner:
        store._reading.drop()
        for _ in range(3):
            with pytest.raises(Away):
                await store.rows_of(["101"])
        assert len(await waiting(owner, database)) == 1
    monkeypatch.undo()
    assert await store.rows_of(["101"])


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_door_that_has_heard_of_what_a_failover_took_back_starts_anew(
    opened: Opened, postgres: Database, database: str, goes_on: bool
) -> None:
    """No standby had it. What is there now is something else, or nothing."""
    one, other, third = await opened(COMPRAS), await opened(COMPRAS), await opened(COMPRAS)
    await one.process_batch([solicitada(1)])
    await one.process_batch([solicitada(2)])
    await other.follow()
    assert solicitada(2).subject in await other.unfinished_rows()
    async with postgres.connected(database) as owner:
        await owner.execute("SET search_path = compras")
        await owner.execute("DELETE FROM diario WHERE seq = 2")
        await owner.execute("DELETE FROM filas WHERE clave = $1", solicitada(2).subject)
        await owner.execute("DELETE FROM recuerdo WHERE sobre::text = $1", solicitada(2).subject)
        if goes_on:
            await third.process_batch([solicitada(7)])
        mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
        await owner.execute(mine, database)
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(other.tend(), 20)
    assert ended.group_contains(Fenced)


async def test_a_list_is_not_remembered_over_a_failover_that_took_a_record_back(
    opened: Opened, postgres: Database, database: str
) -> None:
    """Another record has its number now."""
    store, other = await opened(TOKENS), await opened(TOKENS)
    await store.process_batch([publicado(101)])
    assert [row["id"] for row in json.loads((await store.public_list())[0])] == [101]
    async with postgres.connected(database) as owner:
        await owner.execute("SET search_path = tokens")
        for table in ("diario", "filas", "recuerdo"):
            await owner.execute(f"DELETE FROM {table}")
        await other.process_batch([publicado(102)])
        mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
        await owner.execute(mine, database)
    assert [row["id"] for row in json.loads((await store.public_list())[0])] == [102]


async def test_a_row_that_cannot_be_read_keeps_nobody_from_those_that_are_asked_for_with_it(
    opened: Opened, postgres: Database, database: str
) -> None:
    await (await opened(TOKENS)).process_batch([publicado(101), publicado(102), publicado(103)])
    async with postgres.connected(database) as owner:
        await owner.execute("UPDATE tokens.filas SET datos = 'no row' WHERE clave = '102'")
    store = await opened(TOKENS)
    first, damaged, last = await asyncio.gather(*map(store.row, ("101", "102", "103")), return_exceptions=True)
    assert (first.id, last.id) == (101, 103)
    assert isinstance(damaged, msgspec.DecodeError)


async def test_a_book_that_is_replaced_and_a_batch_never_wait_for_each_other(opened: Opened) -> None:
    one, other = await opened(TOKENS), await opened(TOKENS)
    await one.process_batch([publicado()])
    ended: list[BaseException | None] = []

    async def sell() -> None:
        try:
            for number in range(10_000):
                await other.process_batch([solicitada(1 + number)])
        except BaseException as error:
            ended.append(error)
            raise

    async with beside(sell()):
        await eventually(lambda: other.seq > 20)
        await one.put_back(BookHeights("tokens", one.heights.book, 2), nothing_but(await one.records(0, 1000)))
        await eventually(lambda: ended)
    assert isinstance(ended[0], Fenced)


async def nothing_but(some: Sequence[Kind]) -> AsyncIterator[Sequence[Kind]]:
    yield some


async def test_who_waited_in_a_line_hears_of_its_end_when_who_decided_it_died(opened: Opened) -> None:
    """No message asks for that: each is about one purchase, and the resender asks when all queues are empty."""
    dead, other = await opened(TOKENS), await opened(TOKENS)
    published: list[Message] = []

    async def publish(messages: Sequence[Message]) -> None:
        published.extend(messages)

    other.speaks(publish)
    async with beside(other.tend()):
        await dead.process_batch([publicado(), *(solicitada(buyer) for buyer in (1, 2, 3))])
        await dead.process_batch([pagado(solicitada(1))])
        for link in (dead._writing, dead._reading, dead._voices.link):
            link.drop()
        await eventually(lambda: len(published) >= 4)  # held, sold, and the two
    assert [word.subject for word in published if isinstance(word, CompraRechazada)] == [
        solicitada(2).subject,
        solicitada(3).subject,
    ]
    assert not [word for word in published if word.subject.startswith("semilla:")]


async def test_a_batch_that_only_repeats_waits_for_the_standby_too(
    opened: Opened, postgres: Database, database: str
) -> None:
    store = await opened(TOKENS)
    await store.process_batch([publicado(), solicitada(1)])
    async with without_standby(postgres) as owner, asyncio.timeout(20):
        again = asyncio.ensure_future(store.process_batch([solicitada(1)]))
        await waits_for_standby(owner, database)
        assert not again.done()
    assert (await again)[0].repeated


async def test_a_database_that_was_put_back_to_an_earlier_time_decides_nothing(
    opened: Opened, postgres: Database, database: str
) -> None:
    store = await opened(TOKENS)
    await store.process_batch([publicado(), solicitada(1)])
    later = solicitada(2).received("", f"compras/00000001/1/9 tokens/{store.heights.book}/1/7")
    with pytest.raises(Doubted, match="ends at record 2"):
        await store.process_batch([later])
    assert len(await records_of(store)) == 2


async def test_who_has_read_a_book_that_another_process_replaced_ends(opened: Opened) -> None:
    one, other = await opened(TOKENS), await opened(TOKENS)
    await one.process_batch([publicado()])
    await other.process_batch([])

    await one.put_back(BookHeights("tokens", one.heights.book, 2), nothing_but(await one.records(0, 1000)))
    with pytest.raises(Fenced):
        await other.process_batch([solicitada(1)])
    assert len(await records_of(await opened(TOKENS))) == 1
    # Who has nothing to decide learns of it, too.
    for store in (one, other):
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(store.tend(), 20)
        assert ended.group_contains(Fenced)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.replace("postgresql", "mysql"), "invalid DSN"),
        (lambda url: url.replace(url.split(":")[2].split("@")[0], "wr0ng-s3cret"), "password authentication failed"),
        (lambda url: url.rpartition("/")[0] + "/nowhere", "does not exist|permission denied"),
        (lambda url: url.replace("tokens:", "nobody:"), "password authentication failed"),
        (lambda url: f"{url}?foo=bar", 'unrecognized configuration parameter "foo"'),
    ],
)
async def test_a_wrong_address_is_named_without_its_password(
    postgres: Database, database: str, change: Callable[[str], str], says: str
) -> None:
    url = change(url_in(postgres, "tokens", database))
    store: PostgresStore[Any] = PostgresStore(url, TOKENS)
    with pytest.raises(WrongSetting, match=says) as refused:
        await store.open()
    password = url.split(":")[2].split("@")[0]
    assert password not in f"{refused.value!r} {refused.value.__cause__!r}"


async def test_the_role_of_another_service_or_tables_of_another_version_are_refused(
    opened: Opened, postgres: Database, database: str
) -> None:
    with pytest.raises(WrongSetting, match="schema usuarios"):
        await PostgresStore(url_in(postgres, "usuarios", database), TOKENS).open()
    await opened(TOKENS)
    async with postgres.connected(database) as owner:
        await owner.execute("UPDATE tokens.libro SET esquema = 99")
    with pytest.raises(WrongSetting, match="version 99"):
        await PostgresStore(url_in(postgres, "tokens", database), TOKENS).open()


async def test_a_schema_that_has_something_else_in_it_is_named(postgres: Database, database: str) -> None:
    async with postgres.connected(database) as owner:
        await owner.execute("CREATE TYPE tokens.leido AS (i int)")
    with pytest.raises(WrongSetting, match="already exists"):
        await PostgresStore(url_in(postgres, "tokens", database), TOKENS).open()


async def test_a_database_that_is_away_is_waited_for_and_named(postgres: Database, database: str) -> None:
    url = url_in(postgres, "tokens", database).replace(f":{postgres.port}/", ":1/")
    store: PostgresStore[Any] = PostgresStore(url, TOKENS)
    await store.open()
    assert not store.opened and "Connect call failed" in (store.trouble or "")
    with pytest.raises(Fenced):
        await store.process_batch([publicado()])


async def test_one_that_can_only_be_read_and_one_without_its_standby_are_waited_for(
    postgres: Database, database: str
) -> None:
    async with postgres.connected(database) as owner:
        await owner.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        store: PostgresStore[Any] = PostgresStore(url_in(postgres, "tokens", database), TOKENS)
        await store.open()
        assert not store.opened and store.trouble
        await owner.execute("SET default_transaction_read_only = off")
        await owner.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    promised: PostgresStore[Any] = PostgresStore(url_in(postgres, "tokens", database), TOKENS, standbys=1)
    await promised.open()
    assert not promised.opened and "ZOCO_STORE_STANDBYS" in (promised.trouble or "")
    await store.open()
    assert store.opened
    await store.close()


def test_a_deadlock_that_is_made_is_found_in_the_log_and_what_was_done_to_it_is_not(
    tmp_path: Path,
) -> None:
    """The log of the PostgreSQL of all tests is read at its end, by whoever started it."""
    with pytest.raises(AssertionError, match="deadlock detected"), closing(running_postgres(tmp_path)) as servers:
        server = next(servers)
        asyncio.run(_deadlock(server))
        next(servers)
    assert not not_injected("2026 [1] zoco@zoco ERROR:  permission denied for schema compras at character 15")


async def _deadlock(server: Database) -> None:
    async with server.connected() as one, server.connected() as other:
        for connection, first in ((one, 1), (other, 2)):
            await connection.execute("BEGIN")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", first)
        await asyncio.gather(
            one.execute("SELECT pg_advisory_xact_lock(2)"),
            other.execute("SELECT pg_advisory_xact_lock(1)"),
            return_exceptions=True,
        )
