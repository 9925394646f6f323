"""The JSON store against a plain model of what it is to do, and in the moments at which it is easiest to be wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from patience import PATIENCE_SECONDS
from store_builders import (
    FIRST,
    Clock,
    HeldDisk,
    confirmada,
    copied,
    disk_on,
    life,
    pagado,
    publicado,
    reader,
    recarga,
    reservado,
    same,
    solicitada,
    state,
    usuario,
    vendida,
    without_marks,
    writer,
)

from broker.messages import AltaAplicada, Message, SaldoRecargado, SaldoRechazado, encode_word
from services.compras.domain import DOMAIN as COMPRAS
from services.shared.decision import Domain
from services.shared.journal.disk import LocalDisk
from services.shared.journal.segments import segment_names
from services.shared.journal.store import JsonStore
from services.shared.store import Damaged, Fenced, StoreBroken
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

SECOND = "journal-00000002-000001.jsonl"
FECHAS = [f"2026-01-01T00:00:0{second}.000Z" for second in range(10)]


# A model


@dataclass
class Model:
    """What a store is to do, without a disk."""

    domain: Domain[Any]
    rows: dict[str, Any] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    last: dict[str, tuple[bytes, ...]] = field(default_factory=dict)

    def process_batch(self, message: Message) -> tuple[tuple[bytes, ...], bool, bool]:
        """What to publish, whether it was seen before, whether it failed."""
        if message.id in self.seen:
            return self.last.get(message.subject, ()), True, False
        try:
            key = self.domain.key(message)
            decision = self.domain.decide(self.rows.get(key), message)
        except Exception:
            return (), False, True
        self.seen.add(message.id)
        self.rows[key] = decision.row
        self.last[message.subject] = ()
        for word in decision.messages:
            self.last[word.subject] = (encode_word(word),)
        return tuple(encode_word(word) for word in decision.messages), False, False


def anything(rng: random.Random) -> Message:
    """A message about few purchases, users and tokens: mostly out of turn, often for another service."""
    compra = solicitada(rng.randint(1, 6), token=rng.randint(101, 103), key=str(rng.randint(1, 4)))
    number = rng.randint(1, 6)
    choices: list[Callable[[], Message]] = [
        lambda: compra,
        lambda: compra,
        lambda: reservado(compra),
        lambda: pagado(compra),
        lambda: SaldoRechazado(**same(compra), motivo="saldo-insuficiente"),
        lambda: confirmada(compra),
        lambda: vendida(compra),
        lambda: rng.choice(life(compra, number)),
        lambda: usuario(number, saldo=rng.randint(0, 300)),
        lambda: recarga(rng.randint(1, 30), usuario=number, monto=rng.randint(1, 9)),
        lambda: publicado(rng.randint(101, 103)),
        lambda: AltaAplicada(alta_id=f"semilla:{number}", fecha=FECHAS[0]),
    ]
    return rng.choice(choices)().received(rng.choice(FECHAS))


@pytest.mark.parametrize("domain", [COMPRAS, TOKENS, USUARIOS, TRANSACCIONES], ids=lambda domain: domain.name)
async def test_whatever_comes_it_answers_as_the_model_does_over_restarts_and_segments(
    tmp_path: Path, domain: Domain[Any]
) -> None:
    rng = random.Random(domain.name)
    model = Model(domain)
    decided = repeated = 0
    with reader(tmp_path, domain) as follower:
        for _ in range(8):
            async with writer(tmp_path, domain, kind=HeldDisk, snapshot_bytes=rng.choice([1500, 6000])) as store:
                for _ in range(25):
                    batch = [anything(rng) for _ in range(rng.randint(1, 12))]
                    answers = await store.process_batch(batch)
                    for message, answer in zip(batch, answers, strict=True):
                        expected = model.process_batch(message)
                        told = tuple(encode_word(word) for word in answer.messages)
                        assert (told, answer.repeated, answer.failure is not None) == expected
                        decided += not answer.repeated and answer.failure is None
                        repeated += bool(answer.repeated and answer.messages)
                    if rng.random() < 0.2:
                        follower.follow()
                        assert state(follower) == state(store)
                for key, row in model.rows.items():
                    assert store.find(key) == row
                assert store.seq == decided
                assert {message for message in model.seen if store.knows(message.rsplit(":", 1)[0])} == model.seen
    # The model was worth asking.
    assert decided > 20 and (repeated > 5 or domain is COMPRAS)


async def test_how_messages_are_cut_into_batches_changes_nothing(tmp_path: Path) -> None:
    rng = random.Random(7)
    messages = [anything(rng) for _ in range(400)]
    told = []
    for size in (1, 7, 400):
        async with writer(tmp_path / str(size), TOKENS, kind=HeldDisk) as store:
            answers = []
            for first in range(0, len(messages), size):
                answers += await store.process_batch(messages[first : first + size])
            told.append((answers, dict(store.rows), store.seq))
    assert told[0] == told[1] == told[2]


# Ids


@pytest.mark.parametrize(
    "ids",
    [
        ["zzzzzzzz-0000-0000-0000-000000000000"],
        ["12345678-123456789012345678901234567"],
        ["f-", "-" * 80, "00000000-0000", "semilla:-00000000-0000-0000-0000-00000"],
    ],
)
async def test_every_legal_id_is_remembered_through_a_snapshot(tmp_path: Path, ids: list[str]) -> None:
    entries = [SaldoRecargado(alta_id=one, usuario_id=1, monto=1, fecha=FECHAS[0]) for one in ids]
    async with writer(tmp_path, USUARIOS, snapshot_bytes=300) as store:
        await store.process_batch([usuario(saldo=0)])
        for entry in entries:
            await store.process_batch([entry])
        await store.process_batch([recarga(1, monto=100)])
        assert list(tmp_path.glob("*.snapshot"))
    async with writer(tmp_path, USUARIOS) as store:
        assert all(answer.repeated for answer in await store.process_batch(entries))
        assert store.rows["1"].saldo == 100 + len(ids)


async def test_an_entry_whose_id_has_a_purchases_digits_is_not_that_purchase(tmp_path: Path) -> None:
    compra = solicitada(1)
    twisted = compra.compra_id.replace("-", "")
    twisted = "-".join((twisted[:8], twisted[8:10], twisted[10:14], twisted[14:18], twisted[18:]))
    async with writer(tmp_path, USUARIOS) as store:
        await store.process_batch([usuario(), SaldoRecargado(alta_id=twisted, usuario_id=1, monto=1, fecha=FECHAS[0])])
        assert not store.knows(compra.compra_id)


# Damage that no start would meet


async def many_segments(folder: Path) -> None:
    """A reservation in the first segment, and snapshots that spare every start from reading it."""
    async with writer(folder, TOKENS, snapshot_bytes=3000) as store:
        await store.process_batch([publicado()])
        await store.process_batch([solicitada(1)])
        for token in range(200, 230):
            await store.process_batch([publicado(token)])
        assert len(segment_names(store.disk)) > 2
    assert list(folder.glob("*.snapshot"))


async def test_a_changed_word_in_an_old_segment_is_never_said_again(tmp_path: Path) -> None:
    await many_segments(tmp_path)
    raw = (tmp_path / FIRST).read_bytes()
    at = raw.index(b'"precio":50', raw.index(b'"token.reservado"'))
    (tmp_path / FIRST).write_bytes(raw[:at] + b'"precio":51' + raw[at + 11 :])

    async with writer(tmp_path, TOKENS) as store:
        await told_alone(store, solicitada(1))


async def test_a_token_that_was_sold_and_cannot_be_read_costs_only_those_who_ask_for_it(tmp_path: Path) -> None:
    """It is not in memory any more: a message that is new has nothing to be decided on."""
    async with writer(tmp_path, TOKENS, snapshot_bytes=2000) as store:
        await store.process_batch([publicado(), publicado(102), solicitada(1), pagado(solicitada(1))])
        await store.process_batch([publicado(token) for token in range(200, 230)])
    flip(tmp_path / FIRST, b'"vendido":true')

    async with writer(tmp_path, TOKENS) as store:
        assert "101" not in store.rows
        await told_alone(store, solicitada(2))


async def told_alone(store: JsonStore[Any], asked: Message) -> None:
    """The batch that holds it is decided, and it alone fails, each time, and says where the damage is."""
    for number in (1, 2):
        other = solicitada(7, token=102 if number == 1 else 205, key=str(number))
        before, failed, behind = await store.process_batch([publicado(300 + number), asked, other])
        assert (failed.messages, before.failure, behind.failure) == ((), None, None)
        assert re.search(rf"{FIRST} is damaged at byte \d+", failed.failure or "")
        assert before.messages and behind.messages


def flip(file: Path, where: bytes) -> None:
    """Change one bit of the first place where this stands."""
    raw = bytearray(file.read_bytes())
    raw[raw.index(where)] ^= 1
    file.write_bytes(raw)


async def test_an_old_segment_that_was_cut_is_refused_at_the_start(tmp_path: Path) -> None:
    await many_segments(tmp_path)
    raw = (tmp_path / FIRST).read_bytes()
    (tmp_path / FIRST).write_bytes(raw[:-1])

    with pytest.raises(Damaged, match=FIRST), reader(tmp_path, TOKENS):
        pass


async def test_a_segment_under_anothers_name_is_refused(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as store:
        await store.process_batch([usuario()])
        older = (tmp_path / FIRST).read_bytes()
        await store.process_batch([recarga(1)])
    (tmp_path / SECOND).write_bytes(older)

    with pytest.raises(Damaged, match=SECOND), reader(tmp_path, USUARIOS, to_the_end=True):
        pass


async def test_a_snapshot_of_another_journal_is_passed_over_though_its_segment_has_this_name(tmp_path: Path) -> None:
    async def bought(folder: Path, monto: int) -> tuple[Any, ...]:
        async with writer(folder, USUARIOS, snapshot_bytes=2000) as store:
            await store.process_batch([usuario(1), usuario(2, saldo=monto)])
            for number in range(20):
                await store.process_batch([recarga(number)])
            return state(store)

    mine = await bought(tmp_path / "mine", 1)
    await bought(tmp_path / "other", 1000)
    for file in (tmp_path / "other").glob("*.snapshot"):
        shutil.copy(file, tmp_path / "mine")

    with reader(tmp_path / "mine", USUARIOS) as store:
        assert state(store) == mine


async def test_without_room_for_snapshots_there_are_no_more_segments_than_with(tmp_path: Path) -> None:
    class NoSnapshots(LocalDisk):
        async def replace(self, name: str, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    counts = []
    for kind in (LocalDisk, NoSnapshots):
        async with writer(tmp_path / kind.__name__, USUARIOS, kind=kind, snapshot_bytes=2000) as store:
            await store.process_batch([usuario()])
            for number in range(60):
                await store.process_batch([recarga(number)])
            counts.append(len(segment_names(store.disk)))
    assert counts[0] == counts[1] > 3


# Between two system calls


class Interrupted(LocalDisk):
    """Does something else, once, at a moment that a test chose."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.before: Callable[[str, str], bool] = lambda what, name: False
        self.after: Callable[[str, str], bool] = lambda what, name: False
        self.meanwhile: Callable[[], None] | None = None

    def now(self, chosen: bool) -> None:
        if chosen and (work := self.meanwhile):
            self.meanwhile = None
            work()

    def names(self) -> list[str]:
        self.now(self.before("names", ""))
        return super().names()

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        data = super().read(name, offset, size)
        self.now(self.after("read", name))
        return data


async def taken_over(folder: Path, elsewhere: Path) -> dict[str, bytes]:
    """The files that a takeover of this folder will add."""
    async with writer(folder, USUARIOS) as store:
        await store.process_batch([usuario()])
    async with writer(copied(folder, elsewhere), USUARIOS):
        pass
    return {path.name: path.read_bytes() for path in elsewhere.glob("journal-00000002*")}


@pytest.mark.parametrize("there", [b"", b'{"format":1,'], ids=["empty", "half"])
async def test_a_header_that_is_written_while_it_is_read_is_not_taken_for_damage(tmp_path: Path, there: bytes) -> None:
    new = await taken_over(tmp_path / "folder", tmp_path / "elsewhere")
    (tmp_path / "folder" / SECOND).write_bytes(there)

    with disk_on(tmp_path / "folder", Interrupted) as disk:
        disk.after = lambda what, name: name == SECOND
        disk.meanwhile = lambda: [(tmp_path / "folder" / name).write_bytes(raw) for name, raw in new.items()]
        follower = JsonStore(disk, USUARIOS, Clock())
        follower.load()
        follower.follow()
        assert disk.meanwhile is None
        assert (follower.seq, follower.segment) == (1, SECOND)


@pytest.mark.parametrize("calls", [1, 2, 3])
async def test_a_takeover_between_two_looks_at_the_folder_is_not_taken_for_a_loss(tmp_path: Path, calls: int) -> None:
    new = await taken_over(tmp_path / "folder", tmp_path / "elsewhere")

    def counted(what: str, name: str) -> bool:
        nonlocal calls
        calls -= what == "names"
        return calls == 0

    with disk_on(tmp_path / "folder", Interrupted) as disk:
        disk.before = counted
        disk.meanwhile = lambda: [(tmp_path / "folder" / name).write_bytes(raw) for name, raw in new.items()]
        follower = JsonStore(disk, USUARIOS, Clock())
        follower.load()
        follower.follow()
        assert disk.meanwhile is None
        assert (follower.seq, follower.segment) == (1, SECOND)


async def test_a_batch_that_was_given_up_is_the_last_thing_the_store_takes(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS, kind=HeldDisk) as store:
        await store.process_batch([usuario(saldo=0)])
        assert isinstance(store.disk, HeldDisk)
        store.disk.hold()
        writing = asyncio.ensure_future(store.process_batch([recarga(1, monto=5)]))
        await store.disk.waiting.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        store.disk.go.set()
        with pytest.raises((Fenced, StoreBroken)):
            await store.process_batch([recarga(2, monto=7)])
    async with writer(tmp_path, USUARIOS) as store:
        assert store.rows["1"].saldo in (0, 5)


async def test_after_a_failed_sync_the_store_takes_nothing_more(tmp_path: Path) -> None:
    class FailsOnce(LocalDisk):
        fails = False

        async def sync(self, name: str) -> None:
            if self.fails:
                self.fails = False
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            await super().sync(name)

    async with writer(tmp_path, USUARIOS, kind=FailsOnce) as store:
        await store.process_batch([usuario(saldo=0)])
        store.disk.fails = True  # type: ignore[attr-defined]
        with pytest.raises(StoreBroken):
            await store.process_batch([recarga(1, monto=5)])
        with pytest.raises((Fenced, StoreBroken)):
            await store.process_batch([recarga(2, monto=7)])
        assert store.rows["1"].saldo == 0


async def test_a_takeover_while_half_a_batch_is_on_a_full_disk_leaves_a_whole_journal(tmp_path: Path) -> None:
    took: list[int] = []

    def take_over() -> None:
        """What a process does that has found no lock, while this one is paused."""

        async def lead() -> None:
            (tmp_path / "lock").unlink()
            async with writer(tmp_path, USUARIOS) as new:
                took.append(new.seq)
                await new.process_batch([recarga(1000)])

        asyncio.run(lead())

    class Paused(LocalDisk):
        full = False

        def append(self, name: str, data: bytes) -> None:
            if not self.full:
                super().append(name, data)
                return
            super().append(name, data[: len(data) // 2])
            other = threading.Thread(target=take_over)
            other.start()
            other.join()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with writer(tmp_path, USUARIOS, kind=Paused) as old:
        await old.process_batch([usuario()])
        old.disk.full = True  # type: ignore[attr-defined]
        with pytest.raises(Fenced):
            await old.process_batch([recarga(number) for number in range(20)])
    # The new writer has believed half of the batch, and nobody may take that back now.
    assert took and took[0] > 1
    async with writer(tmp_path, USUARIOS) as later:
        assert later.seq == took[0] + 1
        assert later.rows["1"].saldo == 100 + took[0]


async def test_what_a_takeover_read_outlives_a_power_cut(tmp_path: Path) -> None:
    synced: dict[str, int] = {}

    class Noted(HeldDisk):
        async def sync(self, name: str) -> None:
            size = self.size(name)
            await super().sync(name)
            synced[name] = max(size, synced.get(name, 0))

    async with writer(tmp_path, USUARIOS, kind=Noted) as old:
        await old.process_batch([usuario(saldo=0)])
        assert isinstance(old.disk, Noted)
        old.disk.hold()
        dying = asyncio.ensure_future(old.process_batch([recarga(1, monto=5)]))
        await old.disk.waiting.wait()
        # It dies between its write and its sync: what it wrote is in the page cache.
        dying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dying
        old.disk.go.set()
    async with writer(tmp_path, USUARIOS, kind=Noted) as new:
        (again,) = await new.process_batch([recarga(1, monto=5)])
        assert again.repeated and again.messages
    for path in tmp_path.glob("*.jsonl"):
        os.truncate(path, synced[path.name])
    without_marks(tmp_path)
    async with writer(tmp_path, USUARIOS) as store:
        assert store.rows["1"].saldo == 5


# Real processes


SELLER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from store_builders import Clock, confirmada, solicitada
from services.shared.journal.disk import LocalDisk
from services.shared.store import Fenced
from services.shared.journal.store import JsonStore
from services.transacciones.domain import DOMAIN

async def main():
    store = JsonStore(LocalDisk(Path(sys.argv[1])), DOMAIN, Clock())
    store.load()
    while not await store.lead():
        store.follow()
        await asyncio.sleep(0.02)
    while True:
        for answer in await store.process_batch([confirmada(solicitada(store.seq + one)) for one in range(1, 4)]):
            (word,) = answer.messages
            print(word.usuario_id, word.transaccion_id, flush=True)

try:
    asyncio.run(main())
except Fenced as error:
    print("fenced", error, flush=True)
"""


def seller(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        script = SELLER.format(here=str(Path(__file__).parent))
        return subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=file)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


def said(log: Path) -> Sequence[str]:
    """The whole lines that a process printed."""
    return log.read_text().rpartition("\n")[0].splitlines()


def test_a_frozen_writer_that_wakes_up_says_nothing_that_is_not_in_the_books(tmp_path: Path) -> None:
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    folder = tmp_path / "books"
    sellers: list[subprocess.Popen[bytes]] = []
    try:
        for number, log in enumerate(logs):
            sellers.append(seller(folder, log))
            until(lambda log=log: len(said(log)) >= 5, f"{log.name} to sell")
            if number < 2:
                sellers[-1].send_signal(signal.SIGSTOP)
                # Somebody tidied up.
                (folder / "lock").unlink()
        for frozen in sellers[:2]:
            frozen.send_signal(signal.SIGCONT)
        for log in logs[:2]:
            until(lambda log=log: said(log)[-1].startswith("fenced"), f"{log.name} to be fenced")
        until(lambda: len(said(logs[2])) >= 50, "the last one to go on")
    finally:
        for process in sellers:
            process.kill()
            process.wait()
    with reader(folder, TRANSACCIONES, to_the_end=True) as books:
        sold = [books.word(books.list_index.place(number)) for number in range(1, len(books.list_index) + 1)]
    assert [word["transaccionId"] for word in sold] == list(range(1, len(sold) + 1))
    written = {f"{word['usuarioId']} {word['transaccionId']}" for word in sold}
    told = [line for log in logs for line in said(log) if not line.startswith("fenced")]
    assert set(told) <= written and len(told) == len(set(told)) >= 60


async def test_a_token_that_an_older_version_sold_stays_until_a_record_holds_all_of_it(
    tmp_path: Path,
) -> None:
    # It wrote of a sale what had changed, and no token ever left its memory.
    older = replace(TOKENS, finished=lambda row: False)
    async with writer(tmp_path, older) as store:
        await store.process_batch([publicado(101), publicado(102), solicitada(1), solicitada(2), pagado(solicitada(1))])
    async with writer(tmp_path, TOKENS) as store:
        assert {key: row.vendido for key, row in store.rows.items()} == {"101": True, "102": False}
        (late,) = await store.process_batch([solicitada(3)])
        assert [word.type for word in late.messages] == ["compra.rechazada"]
        sold = store.find("101")
        assert sold is not None
        assert store.rows["101"] == sold
        later = publicado(101, precio=70).model_copy(update={"alta_id": "later", "fecha": "2030-01-01T00:00:00Z"})
        await store.process_batch([later])
        assert "101" not in store.rows
    with reader(tmp_path, TOKENS) as again:
        assert [*again.rows] == ["102"]
        assert again.find("101") == structs.replace(sold, precio=70, publicado=later.fecha)
