"""A shop without a broker, for books to audit: the four real stores, given each other's real words as a seed says.

Messages are delivered in batches of several sizes, and, if a story asks for it, late, twice, in another order or not at
all; processes end and begin again, with torn ends and a fenced writer's lines in their folders. What a client was told
is written down as `zoco load` does, and what the services answer over HTTP is made by the services' own functions.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import uuid5

from broker.messages import (
    CONSUMERS,
    NAMESPACE,
    AltaMessage,
    CompraSolicitada,
    Message,
    SaldoRecargado,
    TokenPublicado,
    UsuarioRegistrado,
    compra_id,
    decode,
    encode,
)
from services.compras.clock import MonotonicClock
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.domain import Alta, Compra, finished, pregunta
from services.compras.domain import public as vista
from services.shared.journal import segments as journal
from services.shared.journal.disk import LocalDisk
from services.shared.journal.store import JsonStore
from services.shared.records import with_checksum
from services.shared.seed import SEED_FECHA, seed_id
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.transacciones.domain import public as record_shown
from services.usuarios.domain import DOMAIN as USUARIOS

DOMAINS: Final[dict[str, Any]] = {domain.name: domain for domain in (COMPRAS, TOKENS, USUARIOS, TRANSACCIONES)}
CLIENT: Final = "client.jsonl"
LIVE: Final = "live.json"
SEEDS: Final = "seeds.json"
BEGINNING: Final = datetime(2025, 9, 10, 17, tzinfo=UTC)
# No story needs more rounds of asking again than this.
NUDGES: Final = 50


class Clock:
    """Time that passes a little whenever somebody looks: the same for the same seed."""

    def __init__(self, random: Random) -> None:
        self._random, self._now = random, BEGINNING

    def seconds(self) -> float:
        self._now += timedelta(milliseconds=self._random.randrange(30))
        return self._now.timestamp()

    @property
    def last_seconds(self) -> float:
        """What it showed last: looking at that takes no time."""
        return self._now.timestamp()

    def text(self, skew_seconds: int = 0) -> str:
        self.seconds()
        return (self._now + timedelta(seconds=skew_seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass(frozen=True)
class Ask:
    """One POST /compras, and whether its answer reaches the client: "told", "lost", "503" or, unstored, "busy"."""

    usuario: int
    token: int
    key: str
    maximo: int | None = None
    fate: str = "told"

    @property
    def subject(self) -> str:
        return compra_id(self.usuario, self.key)


@dataclass
class Faults:
    """How often a message is lost, comes twice, or comes after all that was said later."""

    lost: float = 0
    twice: float = 0
    late: float = 0
    shuffled: float = 0


@dataclass
class Shop:
    """Use `begin` first and `end` last."""

    folder: Path
    random: Random
    snapshot_bytes: int = 20_000
    faults: Faults = field(default_factory=Faults)
    # By how many seconds each service's clock is wrong.
    skews: dict[str, int] = field(default_factory=dict)

    async def begin(self) -> None:
        self.clock = Clock(self.random)
        self.disks: dict[str, LocalDisk] = {}
        self.stores: dict[str, JsonStore[Any]] = {}
        self.waiting: dict[str, list[Message]] = defaultdict(list)
        self._late: list[tuple[str, Message]] = []
        self._fechas = MonotonicClock(lambda: self._now("compras"))
        self._number = self._keys = 0
        self._notes: list[dict[str, Any]] = []
        self._told: set[str] = set()
        # The seed files, with each entry as it was when it was new.
        self._seeds: dict[str, dict[int, dict[str, Any]]] = {"usuarios": {}, "tokens": {}}
        self._followed: set[str] = set()
        for name in DOMAINS:
            await self._lead(name)

    async def end(self) -> None:
        """All is quiet: write what the client knows and what the services answer, and let go of the folders."""
        await self.settle()
        self._follow()
        live = self.live()
        for disk in self.disks.values():
            disk.close()
        (self.folder / LIVE).write_text(json.dumps(live, ensure_ascii=False), encoding="utf-8")
        seeds = {service: list(entries.values()) for service, entries in self._seeds.items()}
        (self.folder / SEEDS).write_text(json.dumps(seeds, ensure_ascii=False), encoding="utf-8")
        first = json.loads(self._first_segment("compras").read_bytes().splitlines()[1])
        shop = {"shop": {name: first[name] for name in ("seq", "time", "crc")}}
        begun = {"client": 1, "url": "http://127.0.0.1:8000", "started": "2025-09-10T17:00:00.000Z"}
        lines = [begun, shop, *self._notes]
        lines.append({"t": self.clock.seconds(), "closed": True, "lines": len(lines), "clockSet": 0.0})
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (self.folder / CLIENT).write_text(text, encoding="utf-8")

    # What a client does

    def key(self) -> str:
        self._keys += 1
        return f"clave-{self._keys}"

    async def buy(self, *asks: Ask) -> list[str]:
        """These POSTs at once, in one batch of compras, with some of what waits for it. The purchases' ids."""
        store, messages = self.stores["compras"], []
        for ask in asks:
            self._note_ask(ask)
            message = CompraSolicitada(
                compra_id=ask.subject,
                usuario_id=ask.usuario,
                token_id=ask.token,
                precio_maximo=ask.maximo,
                fecha=max(self._now("compras"), store.time),
            )
            messages.append(message)
        wanted = [
            message
            for ask, message in zip(asks, messages, strict=True)
            if ask.fate != "busy" and store.find(ask.subject) is None
        ]
        await self._decide("compras", [*wanted, *self._take("compras", self.random.randrange(4))])
        for number, (ask, message) in enumerate(zip(asks, messages, strict=True), self._number - len(asks) + 1):
            self._note_answer(number, ask, message)
        return [ask.subject for ask in asks]

    def ask_badly(self, raw: str, status: int) -> None:
        """A request that no client should send is answered so, and changes nothing."""
        self._number += 1
        self._note({"n": self._number, "asks": None, "raw": raw})
        self._note({"n": self._number, "status": status, "answer": problem(status, "that is no request to buy")})

    def _note_ask(self, ask: Ask) -> None:
        self._number += 1
        asks = {"usuarioId": ask.usuario, "tokenId": ask.token}
        if ask.maximo is not None:
            asks["precioMaximo"] = ask.maximo
        self._note({"n": self._number, "key": ask.key, "asks": asks})

    def _note_answer(self, number: int, ask: Ask, message: CompraSolicitada) -> None:
        row = self.stores["compras"].find(ask.subject)
        if ask.fate == "lost":
            self._note({"n": number, "status": None, "lost": "TimeoutError"})
        elif ask.fate in ("503", "busy") or row is None:
            self._note({"n": number, "status": 503, "answer": problem(503, "the disk does not keep up")})
        elif pregunta(row).model_copy(update={"fecha": message.fecha}) != message:
            self._note({"n": number, "status": 422, "answer": problem(422, "this Idempotency-Key was used")})
        else:
            self._told.add(ask.subject)
            self._note({"n": number, "status": 200 if finished(row) else 202, "answer": vista(row)})

    def _follow(self) -> None:
        """The client sees the ends of its purchases."""
        for subject in sorted(self._told - self._followed):
            row = self.stores["compras"].find(subject)
            if isinstance(row, Compra) and finished(row):
                self._followed.add(subject)
                motivo = {"motivo": row.motivo} if row.estado == "rechazada" else {}
                self._note({"ended": subject, "estado": row.estado, **motivo})

    def _note(self, note: dict[str, Any]) -> None:
        number = {"n": note.pop("n")} if "n" in note else {}
        self._notes.append({**number, "t": round(self.clock.seconds(), 3), **note})

    # What an operator does

    async def user(self, number: int, nombre: str, saldo: int | None = None) -> str:
        body = {"nombre": nombre} if saldo is None else {"nombre": nombre, "saldo": saldo}
        return await self._enter(UsuarioRegistrado, f"/usuarios/{number}", body, usuario_id=number)

    async def top_up(self, number: int, monto: int) -> str:
        return await self._enter(SaldoRecargado, f"/usuarios/{number}/recargas", {"monto": monto}, usuario_id=number)

    async def publish(
        self, number: int, precio: int, nombre: str = "Gato Cósmico", imagen: str = "gato.jpg", orden: int | None = None
    ) -> str:
        shown = {"nombre": nombre, "imagen": imagen, "precio": precio}
        given = {} if orden is None else {"orden": orden}
        return await self._enter(TokenPublicado, f"/tokens/{number}", shown, token_id=number, **given)

    async def _enter(self, model: type[AltaMessage], path: str, body: dict[str, Any], **whose: int) -> str:
        self._fechas.last = max(self._fechas.last, self.stores["compras"].time)
        key = self.key()
        alta_id, fecha = str(uuid5(NAMESPACE, f"operador:{key}")), self._fechas.next(path.removesuffix("/recargas"))
        self._number += 1
        note = {"n": self._number, "t": round(self.clock.last_seconds, 3)}
        self._notes.append({**note, "key": key, "enters": path, "body": body})
        await self._decide("compras", [model(alta_id=alta_id, fecha=fecha, **whose, **body)])
        row = self.stores["compras"].find(alta_id)
        assert isinstance(row, Alta)
        self._notes.append({**note, "status": 200 if finished(row) else 202, "answer": vista(row)})
        return alta_id

    async def seed(self, service: str, *entries: dict[str, Any]) -> None:
        """Import a seed file, as its writer does; its answers are told to nobody."""
        messages: list[Message] = []
        for entry in entries:
            self._seeds[service].setdefault(entry["id"], entry)
            fields = {name: value for name, value in entry.items() if name not in ("id", "vendido")}
            model, whose = (UsuarioRegistrado, "usuario_id") if service == "usuarios" else (TokenPublicado, "token_id")
            messages.append(
                model(alta_id=seed_id(entry["id"]), fecha=SEED_FECHA, **{whose: entry["id"]}, **fields)  # type: ignore[arg-type]
            )
        for answer in await self.stores[service].process_batch(messages):
            assert answer.failure is None, answer.failure

    # What travels

    async def deliver(self, service: str, count: int) -> None:
        """Give the next of its messages to a service, in one batch."""
        if batch := self._take(service, count):
            await self._decide(service, batch)

    async def deliver_all(self, *services: str) -> None:
        """Until nothing waits for any of these (None named: for anybody)."""
        names = services or tuple(DOMAINS)
        while ready := [name for name in names if self.waiting[name]]:
            await self.deliver(self.random.choice(ready), self.random.choice((1, 2, 3, 5, 8, 20)))

    async def settle(self) -> None:
        """Deliver all, also what is late, and ask again for what does not get on, until there is no news."""
        for _ in range(NUDGES):
            await self.deliver_all()
            self._follow()
            if self._late:
                for name, message in self._late:
                    self.waiting[name].append(message)
                self._late.clear()
                continue
            rows = [row for row in self.stores["compras"].rows.values() if not finished(row) and not self._waits(row)]
            if not rows:
                return
            for row in rows:
                self.say(pregunta(row))
        raise AssertionError(f"{len(rows)} purchases and entries do not get on")

    def _waits(self, row: Any) -> bool:
        """A top-up of somebody who is not registered."""
        if not isinstance(row, Alta) or row.tipo != "saldo.recargado":
            return False
        usuario = self.stores["usuarios"].find(str(json.loads(row.mensaje)["usuarioId"]))
        return usuario is not None and usuario.nombre is None and any(one.alta_id == row.id for one in usuario.esperan)

    def say(self, message: Message) -> None:
        """Put it into the queue of each who hears it, as the faults will have it."""
        faults, random = self.faults, self.random
        for name in CONSUMERS[type(message)]:
            if random.random() < faults.lost:
                continue
            for _ in range(2 if random.random() < faults.twice else 1):
                queue = self.waiting[name]
                if random.random() < faults.late:
                    self._late.append((name, message))
                elif random.random() < faults.shuffled:
                    queue.insert(random.randrange(len(queue) + 1), message)
                else:
                    queue.append(message)

    def _take(self, service: str, count: int) -> list[Message]:
        queue = self.waiting[service]
        batch, queue[:] = queue[:count], queue[count:]
        return [decode(message.type, encode(message), self._now(service)) for message in batch]

    async def _decide(self, service: str, batch: Sequence[Message]) -> None:
        for answer in await self.stores[service].process_batch(batch):
            assert answer.failure is None, answer.failure
            for message in answer.messages:
                self.say(message)

    # What happens to processes

    async def restart(self, service: str, *, torn: bytes = b"", fenced: bool = False) -> None:
        """The writer ends, and another begins: after a torn end, or while the first still writes a line more."""
        self.disks[service].close()
        newest = self._newest_segment(service)
        with newest.open("ab") as file:
            file.write(torn)
        await self._lead(service)
        if fenced and not torn:
            _write_fenced(newest)

    def tear(self, service: str, torn: bytes) -> None:
        """A process died while it wrote; nobody has taken over yet."""
        with self._newest_segment(service).open("ab") as file:
            file.write(torn)

    def stillborn(self, service: str) -> None:
        """A writer made its segment, and died before there was a header in it."""
        newest = max((self.folder / service).glob("journal-*.jsonl")).name
        (self.folder / service / journal.segment_name(int(newest[8:16]) + 1, 1)).touch()

    async def _lead(self, service: str) -> None:
        self.disks[service] = disk = LocalDisk(self.folder / service)
        domain = DOMAINS[service]
        self.stores[service] = JsonStore(disk, domain, lambda: self._stamp(service), snapshot_bytes=self.snapshot_bytes)
        assert await self.stores[service].lead()

    def _now(self, service: str) -> str:
        return self.clock.text(self.skews.get(service, 0))

    def _stamp(self, service: str) -> str:
        """As records are dated: at compras never before an entry."""
        return max(self._now(service), self._fechas.last) if service == "compras" else self._now(service)

    def _first_segment(self, service: str) -> Path:
        return min(path for path in (self.folder / service).glob("journal-*.jsonl") if path.stat().st_size)

    def _newest_segment(self, service: str) -> Path:
        """The newest that has a header."""
        return max(path for path in (self.folder / service).glob("journal-*.jsonl") if path.stat().st_size)

    # What is answered over HTTP

    def live(self) -> dict[str, list[dict[str, Any]]]:
        """GET /compras, /tokens, /usuarios and /transacciones, all of their pages."""
        compras, transacciones = self.stores["compras"], self.stores["transacciones"]
        bought = [compras.word(compras.list_index.place(line))["compraId"] for line in compras.list_index.lines()]
        recorded = [
            transacciones.word(transacciones.list_index.place(line)) for line in transacciones.list_index.lines()
        ]
        return {
            "compras": [vista(compras.find(subject)) for subject in bought],  # type: ignore[arg-type]
            "tokens": json.loads(self.stores["tokens"].public_rows.body()),
            "usuarios": json.loads(self.stores["usuarios"].public_rows.body()),
            "transacciones": [record_shown(word) for word in recorded],
        }


def _write_fenced(segment: Path) -> None:
    """A record more, whole and right, that was never believed: a new writer had begun before it was synced."""
    last = json.loads(segment.read_bytes().splitlines()[-1])
    last |= {"seq": last["seq"] + 1, "batch": last["seq"] + 1}
    last.pop("crc")
    with segment.open("ab") as file:
        file.write(with_checksum(json.dumps(last, separators=(",", ":"), ensure_ascii=False).encode()[:-1]))


def problem(status: int, detail: str) -> dict[str, Any]:
    """An error as the services answer it (RFC 9457)."""
    return {"type": "about:blank", "title": str(status), "status": status, "detail": detail}
