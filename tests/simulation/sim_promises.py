"""What must hold when all is quiet: read from the bytes of the journals, without the code that wrote them."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

from sim_disk import Folder, SimDisk
from sim_world import DOMAINS, Broken, World

from loadgen.audit import Books, audit
from loadgen.books import Record
from services.shared.store_json import JsonStore


class _Reader:
    """A reader of a disk that nobody kills."""

    def alive(self) -> None: ...


def records(folder: Folder, service: str) -> list[Record]:
    names = sorted(name for name in folder.files if re.fullmatch(r"journal-\d{8}-\d{6}\.jsonl", name))
    chain: list[tuple[str, int | None]] = []
    wanted: str | None = None
    end: int | None = None
    for name in reversed(names):
        if (chain and name != wanted) or (not chain and b"\n" not in folder.files[name].data):
            continue
        head = json.loads(folder.files[name].data.split(b"\n")[0])
        chain.append((name, end))
        wanted, end = head["previous"], head["end"]
        if wanted is None:
            break
    found: list[Record] = []
    for name, last in reversed(chain):
        data = bytes(folder.files[name].data)
        for raw in data[:last].split(b"\n")[1:-1]:
            body, _, seal = raw.rpartition(b',"crc":"')
            if seal != b'%08x"}' % zlib.crc32(body):
                raise Broken(f"{service}: {name} is damaged")
            line = json.loads(raw)
            if line["seq"] != len(found) + 1:
                raise Broken(f"{service}: record {line['seq']} stands where {len(found) + 1} should")
            about, kind = line["id"].rsplit(":", 1)
            found.append(Record(name, line["seq"], about, kind, line["row"], line["change"], line["words"]))
    return found


def check(world: World) -> None:
    books = {name: records(folder, name) for name, folder in world.folders.items()}
    stores = {name: pod.store for name in DOMAINS if (pod := world.writer(name))}
    live = {
        "usuarios": [
            {"id": row.id, "nombre": row.nombre, "saldo": row.saldo}
            for row in stores["usuarios"].rows.values()
            if row.nombre is not None
        ],
        "tokens": [
            {"id": row.id, "nombre": row.nombre, "imagen": row.imagen, "precio": row.precio, "vendido": row.vendido}
            for row in stores["tokens"].rows.values()
        ],
        "transacciones": [_sale(stores["transacciones"], line) for line in stores["transacciones"].book.lines()],
    }
    verdict = audit(Books(**books, clients=world.told, dead_letters=world.broker.dead_letters, live=live))
    if not verdict.holds:
        first = verdict.breaches[0]
        reasons = "; ".join(world.broker.reasons[:2])
        raise Broken(f"promise {first.promise}: {first.about}: {first.says} {reasons}")
    _prices(books["tokens"])
    for (name, _), pod in world.slots.items():
        if not pod.dead and not pod.store.leads:
            pod.store.follow()
            _same(f"{name}: follower", pod.store, stores[name])
    for name in DOMAINS:
        for snapshots in (True, False):
            folder = world.folders[name].copy(snapshots=snapshots)
            fresh: Any = JsonStore(SimDisk(folder, _Reader()), DOMAINS[name], lambda: "")
            fresh.load(to_the_end=True)
            _same(f"{name}: read anew, snapshots={snapshots}", fresh, stores[name])


def _sale(store: Any, line: int) -> dict[str, Any]:
    word = store.word(store.book.place(line))
    return {"id": line, "usuarioId": word.usuario_id, "tokenId": word.token_id, "fecha": word.fecha}


def _same(what: str, one: Any, other: Any) -> None:
    for field in ("seq", "rows", "_memory"):
        if getattr(one, field) != getattr(other, field):
            raise Broken(f"promise 8: {what}: {field} {getattr(one, field)} is not {getattr(other, field)}")
    if one.book.columns() != other.book.columns():
        raise Broken(f"promise 8: {what}: the book differs")


def _prices(book: list[Record]) -> None:
    """Who holds a token, holds it at the price it had at that record, and never above what they would pay."""
    price: dict[str, int] = {}
    most: dict[str, int | None] = {}
    for record in book:
        if record.change and "precio" in record.change:
            price[record.row] = record.change["precio"]
        for waits in ((record.change or {}).get("cola") or {}).get("joined", ()):
            most[waits["compra_id"]] = waits["precio_maximo"]
        for word in record.words:
            if word["type"] == "token.reservado":
                limit = most.get(word["compraId"])
                if word["precio"] != price[record.row] or (limit is not None and limit < word["precio"]):
                    raise Broken(f"{word['compraId']} holds at {word['precio']}, the price is {price[record.row]}")
