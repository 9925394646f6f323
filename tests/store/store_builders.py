"""Messages, clocks, disks and folders for the store's tests. pytest puts this folder on the path."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kept_story import Clock

from broker.amqp.bus import Delivery
from broker.messages import (
    CompraConfirmada,
    CompraRechazada,
    CompraSolicitada,
    Message,
    SaldoRecargado,
    SaldoReservado,
    TokenPublicado,
    TokenReservado,
    TransaccionRegistrada,
    UsuarioRegistrado,
    compra_id,
)
from services.shared.decision import Domain
from services.shared.heights import Doubted
from services.shared.journal.disk import LocalDisk
from services.shared.journal.store import JsonStore
from services.shared.processor import Processor

FECHA = "2025-09-10T17:00:00.000Z"
GATO = 101
FIRST = "journal-00000001-000001.jsonl"


def solicitada(usuario: int = 1, *, token: int = GATO, key: str = "k") -> CompraSolicitada:
    return CompraSolicitada(compra_id=compra_id(usuario, key), usuario_id=usuario, token_id=token, fecha=FECHA)


def same(compra: CompraSolicitada) -> dict[str, Any]:
    """What every message of a purchase has in common."""
    return {
        "compra_id": compra.compra_id,
        "usuario_id": compra.usuario_id,
        "token_id": compra.token_id,
        "fecha": compra.fecha,
    }


def reservado(compra: CompraSolicitada, precio: int = 50) -> TokenReservado:
    return TokenReservado(**same(compra), precio=precio)


def pagado(compra: CompraSolicitada, precio: int = 50) -> SaldoReservado:
    return SaldoReservado(**same(compra), precio=precio)


def confirmada(compra: CompraSolicitada, precio: int = 50) -> CompraConfirmada:
    return CompraConfirmada(**same(compra), precio=precio)


def vendida(compra: CompraSolicitada) -> CompraRechazada:
    return CompraRechazada(**same(compra), motivo="token-vendido")


def registrada(compra: CompraSolicitada, numero: int = 1) -> TransaccionRegistrada:
    return TransaccionRegistrada(**same(compra), transaccion_id=numero)


def usuario(number: int = 1, *, saldo: int = 100) -> UsuarioRegistrado:
    return UsuarioRegistrado(alta_id=f"semilla:{number}", usuario_id=number, nombre="Ana", saldo=saldo, fecha=FECHA)


def recarga(number: int, *, usuario: int = 1, monto: int = 1) -> SaldoRecargado:
    return SaldoRecargado(alta_id=f"r:{number}", usuario_id=usuario, monto=monto, fecha=FECHA)


def publicado(token: int = GATO, *, precio: int = 50) -> TokenPublicado:
    return TokenPublicado(
        alta_id=f"semilla:{token}", token_id=token, nombre="Gato", imagen="gato.jpg", precio=precio, fecha=FECHA
    )


def life(compra: CompraSolicitada, numero: int) -> list[Message]:
    """All that compras hears of a purchase that ends well."""
    return [compra, *(m.received(FECHA) for m in (reservado(compra), pagado(compra), registrada(compra, numero)))]


@contextmanager
def disk_on(folder: Path, kind: type[LocalDisk] = LocalDisk) -> Iterator[Any]:
    disk = kind(folder)
    try:
        yield disk
    finally:
        disk.close()


@asynccontextmanager
async def writer(
    folder: Path, domain: Domain[Any], *, kind: type[LocalDisk] = LocalDisk, **options: Any
) -> AsyncIterator[JsonStore[Any]]:
    """A store that leads, until the block ends. What ends it is no different from a crash, but for the lock."""
    with disk_on(folder, kind) as disk:
        store = JsonStore(disk, domain, Clock(), **options)
        store.load()
        assert await store.lead()
        yield store


@contextmanager
def reader(folder: Path, domain: Domain[Any], *, to_the_end: bool = False) -> Iterator[JsonStore[Any]]:
    """A store that has read the folder and follows."""
    with disk_on(folder) as disk:
        store = JsonStore(disk, domain, Clock())
        store.load(to_the_end=to_the_end)
        yield store


def all_records(store: JsonStore[Any], after: int = 0) -> Iterator[bytes]:
    while some := store.some_records(after, 1000):
        yield from some
        after += len(some)


def state(store: JsonStore[Any]) -> tuple[Any, ...]:
    """All that a store knows, fit for ==."""
    lists = store.list_index.parts(), json.loads(store.public_rows.body())
    return dict(store.rows), +store._kinds, dict(store._dedup), *lists, store.seq


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that was written, by name. The lock is none of them."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "lock"}


def copied(folder: Path, to: Path) -> Path:
    """The folder as it is now, elsewhere; what was there goes."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(folder, to))


def without_marks(folder: Path) -> None:
    for path in folder.glob("*.mark"):
        path.unlink()


class HeldDisk(LocalDisk):
    """Its syncs wait for `go` once `hold` was called."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.go = asyncio.Event()
        self.go.set()
        self.waiting = asyncio.Event()

    def hold(self) -> None:
        self.go.clear()
        self.waiting.clear()

    async def sync(self, name: str) -> None:
        self.waiting.set()
        await self.go.wait()
        await super().sync(name)


class HeldBroker:
    """What is put in `queue` comes; what is said is taken while `takes` is set."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Message] = asyncio.Queue()
        self.takes = asyncio.Event()
        self.takes.set()
        self.said: list[Message] = []
        self.acked = 0

    async def receive(self, limit: int) -> list[Delivery]:
        raw: Any = None
        return [Delivery(await self.queue.get(), None, False, raw)]

    async def publish(self, messages: Sequence[Message]) -> None:
        await self.takes.wait()
        self.said += messages

    async def settle(self, batch: Sequence[Delivery], reasons: object) -> None:
        self.acked += len(batch)


# Who counts nothing.
NOBODY: Any = SimpleNamespace(decided=lambda *_: None, poisoned=lambda _: None, published=lambda _: None)


async def cut_off_by_a_doubt(store: Any, broker: HeldBroker) -> None:
    """The token is sold to the first of three buyers; before the broker takes what is said of that, a message makes a
    book doubtful. The doubt passes, and the message about the first comes again, as it was not acked."""
    processor = Processor(store, broker, NOBODY)
    running = asyncio.ensure_future(processor.run())
    for message in (publicado(), *map(solicitada, (1, 2, 3))):
        broker.queue.put_nowait(message)
    async with asyncio.timeout(20):
        while broker.acked < 4:
            await asyncio.sleep(0.01)
    broker.takes.clear()
    sold = pagado(solicitada(1)).received("", "usuarios/00000001/1/5")
    broker.queue.put_nowait(sold)
    async with asyncio.timeout(20):
        while store.seq < 5:
            await asyncio.sleep(0.01)
    broker.queue.put_nowait(pagado(solicitada(2)).received("", "usuarios/00000002/1/6"))
    with pytest.raises(ExceptionGroup) as ended:
        await running
    assert ended.group_contains(Doubted)
    broker.takes.set()
    broker.queue.put_nowait(sold)
    running = asyncio.ensure_future(processor.run())
    while broker.acked < 5:
        await asyncio.sleep(0.01)
    await asyncio.wait_for(processor.idle(), 20)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class NoBroker:
    """Nothing comes, and whatever is said is taken."""

    async def receive(self, limit: int) -> Any:
        await asyncio.Event().wait()

    async def publish(self, messages: object) -> None: ...

    async def settle(self, batch: object, reasons: object) -> None: ...
