"""What must hold when all is quiet, from the bytes of the journals; shares nothing with what is checked."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sim_disk import Folder, SimDisk, written
from sim_loop import Process
from sim_world import DOMAINS, Broken, World

from services.shared.clock import AHEAD_SECONDS, ahead_seconds
from services.shared.journal.store import JsonStore
from services.shared.store import Damaged

NAMESPACE = uuid5(NAMESPACE_URL, "urn:zoco:compra")


@dataclass
class Record:
    seq: int
    subject: str
    type: str
    row: str
    before: dict[str, Any]
    after: dict[str, Any]
    words: list[dict[str, Any]]


@dataclass
class Book:
    records: list[Record] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def words(self, *types: str) -> list[dict[str, Any]]:
        return [word for record in self.records for word in record.words if word["type"] in types]

    def said(self, type_name: str) -> dict[str, dict[str, Any]]:
        return {subject(word): word for word in self.words(type_name)}


def subject(word: dict[str, Any]) -> str:
    return word.get("compraId") or word["altaId"]


def require(condition: Any, promise: str, says: Any) -> None:
    if not condition:
        raise Broken(promise, str(says))


def whole(raw: bytes) -> bool:
    body, mark, seal = raw.rpartition(b',"crc":"')
    return bool(mark) and seal == b'%08x"}\n' % zlib.crc32(body)


def read(service: str, folder: Folder) -> Book:
    heads: dict[str, dict[str, Any]] = {}
    segments: dict[str, bytes] = {}
    for file_name in sorted(folder.files, reverse=True):
        # What is there both ways is read as it was packed.
        name = file_name.removesuffix(".zst")
        if re.fullmatch(r"journal-\d{8}-\d{6}\.jsonl", name) and name not in segments:
            segments[name] = written(file_name, bytes(folder.files[file_name].data))
            first = segments[name].partition(b"\n")
            if whole(first[0] + first[1]):
                heads[name] = json.loads(first[0])
    book = Book()
    if not heads:
        return book
    chain: list[tuple[str, int | None]] = [(max(heads), None)]
    while (head := heads[chain[-1][0]])["previous"]:
        chain.append((head["previous"], head["end"]))
    for name, end in reversed(chain):
        raw = segments[name][:end]
        lines = raw.splitlines(keepends=True)
        for line in lines[1:]:
            require(whole(line), "8", f"{service}: {name} has a damaged line")
            take(service, book, json.loads(line))
        require(end is None or len(raw) == end, "8", f"{service}: {name} is too short")
    return book


def take(service: str, book: Book, line: dict[str, Any]) -> None:
    require(line["seq"] == len(book.records) + 1, "8", f"{service}: record {line['seq']} is out of its turn")
    about_id, _, type_name = line["id"].rpartition(":")
    before = book.rows.get(line["row"], {})
    after = dict(before)
    for name, value in (line["change"] or {}).items():
        if isinstance(value, dict) and value.keys() == {"left", "joined"}:
            after[name] = (before.get(name, []) + value["joined"])[value["left"] :]
        else:
            after[name] = value
    if after:
        book.rows[line["row"]] = after
    book.records.append(Record(line["seq"], about_id, type_name, line["row"], before, after, line["words"]))


@dataclass
class Books:
    compras: Book
    tokens: Book
    usuarios: Book
    transacciones: Book
    seeds: dict[str, dict[str, Any]]
    max_cola: int
    told: list[Any]


def books_of(world: World) -> Books:
    return Books(
        **{name: read(name, folder) for name, folder in world.folders.items()},
        seeds={
            entry.subject: json.loads(entry.model_dump_json(by_alias=True)) | {"type": entry.type}
            for entries in world.seeds.values()
            for entry in entries
        },
        max_cola=world.max_cola,
        told=world.told,
    )  # fmt: skip


def check(world: World) -> None:
    """Raises Broken."""
    books = books_of(world)
    for promise in PROMISES:
        promise(books)
    for service, letters in world.broker.letters.items():
        unexplained = [letter for letter in letters if letter[0] != "poison"]
        require(not unexplained, "11", f"{service}: {unexplained[:2]}")
    for pod in world.processes():
        held = pod.door.acceptance._held if pod.door else None
        require(not held, "12", f"nothing is on its way, and addresses are counted for {held}")
    replay(world, books)
    for record in books.tokens.records:
        for word in record.words:
            if "motivo" in word:
                world.counts[word["motivo"]] += 1
    world.counts["sold"] += len(books.tokens.said("compra.confirmada"))


def money(books: Books) -> None:
    """1 and 2, record by record."""
    entered = {**books.seeds, **{subject(w): w for w in books.compras.words("usuario.registrado", "saldo.recargado")}}
    waiting: Counter[str] = Counter()
    for r in books.usuarios.records:
        before, after = r.before.get("saldo", 0), r.after.get("saldo", 0)
        known, known_now = r.before.get("nombre") is not None, r.after.get("nombre") is not None
        gain = 0
        if r.type == "usuario.registrado":
            word = entered.get(r.subject)
            require(word, "7", f"{r.subject} was entered by nobody")
            require(known_now, "1", f"{r.row} was registered and has no name")
            if not known:
                gain = (word["saldo"] or 0 if "saldo" in word else 0) + waiting.pop(r.row, 0)
        elif r.type == "saldo.recargado":
            word = entered.get(r.subject)
            require(word, "7", f"{r.subject} was entered by nobody")
            if known:
                gain = word["monto"]
            else:
                waiting[r.row] += word["monto"]
        paid = sum(w["precio"] for w in r.words if w["type"] == "saldo.reservado")
        require(after == before + gain - paid, "1", f"user {r.row} had {before}, got {gain}, paid {paid}, has {after}")
        require(after >= 0, "2", f"user {r.row} has {after}")
    require(not waiting, "1", f"top-ups wait: {waiting}")
    prices = sum(w["precio"] for w in books.tokens.words("compra.confirmada"))
    paid = sum(w["precio"] for w in books.usuarios.words("saldo.reservado"))
    require(prices == paid, "1", f"sold for {prices}, paid {paid}")


def one_buyer(books: Books) -> None:
    for token, count in Counter(w["tokenId"] for w in books.tokens.words("compra.confirmada")).items():
        require(count == 1, "3", f"token {token} was sold {count} times")


def one_end(books: Books) -> None:
    ends = Counter(w["compraId"] for w in books.tokens.words("compra.confirmada", "compra.rechazada"))
    asked = books.compras.said("compra.solicitada")
    refused = books.tokens.said("compra.rechazada")
    for compra, row in books.compras.rows.items():
        if compra in asked:
            require(ends[compra] == 1, "4", f"{compra} has {ends[compra]} ends")
            end = "rechazada" if compra in refused else "registrada"
            require(row["estado"] == end, "4", f"{compra} is {row['estado']}, should be {end}")
            require(row["motivo"] == refused.get(compra, {}).get("motivo"), "12", f"{compra}: motivo {row['motivo']}")
        else:
            require(row["estado"] == "aplicada", "4", f"{compra} is {row['estado']}")
    for told in books.told:
        if told.status in (200, 202):
            require(told.answer["id"] in asked, "4", f"{told} is in no book")


def records(books: Books) -> None:
    sales = books.transacciones.words("transaccion.registrada")
    require([w["transaccionId"] for w in sales] == [*range(1, len(sales) + 1)], "5", "the numbers have gaps")
    confirmed = books.tokens.said("compra.confirmada")
    require(Counter(w["compraId"] for w in sales) == Counter(confirmed.keys()), "5", "records and sales differ")
    for word in sales:
        sold = confirmed[word["compraId"]]
        same = all(word[name] == sold[name] for name in ("usuarioId", "tokenId", "fecha"))
        require(same, "5", f"{word} records {sold}")


def together(books: Books) -> None:
    paid = Counter(w["compraId"] for w in books.usuarios.words("saldo.reservado"))
    confirmed = books.tokens.said("compra.confirmada")
    require(paid == Counter(confirmed.keys()), "6", f"paid and sold differ: {paid.keys() ^ confirmed.keys()}")
    took = books.usuarios.said("saldo.reservado")
    for compra, word in confirmed.items():
        row = books.tokens.rows[str(word["tokenId"])]
        require(row["vendido"] and row["reserva"]["compra_id"] == compra, "6", f"{compra} has not got its token")
        require(took[compra]["precio"] == word["precio"] == row["reserva"]["precio"], "6", f"{compra}: prices differ")
    for token, row in books.tokens.rows.items():
        sold = any(w["tokenId"] == int(token) for w in confirmed.values())
        require(row["vendido"] == sold, "6", f"token {token} is sold to nobody")
        require(sold or row["reserva"] is None, "6", f"token {token} is still held")
        require(not row["cola"], "13", f"somebody still waits for token {token}")


SOURCES = {
    "compra.solicitada": "compras", "token.reservado": "tokens", "saldo.reservado": "usuarios",
    "saldo.rechazado": "usuarios", "compra.confirmada": "tokens", "compra.rechazada": "tokens",
    "transaccion.registrada": "transacciones", "usuario.registrado": "compras", "saldo.recargado": "compras",
    "token.publicado": "compras",
}  # fmt: skip


def causes(books: Books) -> None:
    said = {
        (service, subject(word), word["type"])
        for service in ("compras", "tokens", "usuarios", "transacciones")
        for record in getattr(books, service).records
        for word in record.words
    }
    for service in ("compras", "tokens", "usuarios", "transacciones"):
        for r in getattr(books, service).records:
            if r.subject in books.seeds or (service, SOURCES.get(r.type)) == ("compras", "compras"):
                continue
            sources = (SOURCES[r.type],) if r.type in SOURCES else ("usuarios", "tokens")
            require(
                any((s, r.subject, r.type) in said for s in sources),
                "7",
                f"{service}: nobody said {r.subject}:{r.type}",
            )


def once(books: Books) -> None:
    for service in ("compras", "tokens", "usuarios", "transacciones"):
        book = getattr(books, service)
        for key, count in Counter((r.subject, r.type) for r in book.records).items():
            require(count == 1, "9", f"{service} acted {count} times on {key}")
        for key, count in Counter((subject(w), w["type"]) for r in book.records for w in r.words).items():
            require(count == 1, "9", f"{service} said {key} {count} times")


def clients(books: Books) -> None:
    accepted: dict[str, Any] = {}
    for told in books.told:
        if told.status not in (200, 202):
            require(told.status == 422, "12", f"{told}")
            continue
        told_id, row = told.answer["id"], books.compras.rows[told.answer["id"]]
        require(told_id == str(uuid5(NAMESPACE, f"{told.user}:{told.key}")), "10", f"{told_id} is not of its key")
        same = accepted.setdefault(told_id, (told.token, told.most, told.answer["fecha"]))
        require(same == (told.token, told.most, told.answer["fecha"]), "10", f"{told_id}: two answers")
        shown = (row["token_id"], row["precio_maximo"], row["fecha"], row["usuario_id"])
        require(shown == (*same, told.user), "12", f"{told_id}: told {same}, the book has {shown}")
        states = [step["estado"] for step in row["historia"]]
        require(told.answer["estado"] in states, "12", f"{told_id} never was {told.answer['estado']}")
        if "motivo" in told.answer:
            require(told.answer["motivo"] == row["motivo"], "12", f"{told_id} was refused for another reason")
        if "transaccionId" in told.answer:
            require(told.answer["transaccionId"] == row["transaccion_id"], "12", f"{told_id} has another number")
    for told in books.told:
        if told.status == 422:
            row = books.compras.rows[str(uuid5(NAMESPACE, f"{told.user}:{told.key}"))]
            require((row["token_id"], row["precio_maximo"]) != (told.token, told.most), "12", f"422 for {told}")


def buyers(token: Any) -> list[int]:
    """Who holds it, and who waits for it."""
    return [one["usuario_id"] for one in (token["reserva"], *token["cola"]) if one]


def line(books: Books) -> None:
    """13, and that every reason is true, and every price the one of its moment."""
    asked = books.compras.said("compra.solicitada")
    position: dict[str, int] = {}
    refusal = books.tokens.said("compra.rechazada")
    balances = {}
    for r in books.usuarios.records:
        for w in r.words:
            if w["type"] == "saldo.rechazado":
                balances[w["compraId"]] = r.before
    holds: dict[int, str | None] = {}
    for r in books.tokens.records:
        if r.type == "compra.solicitada":
            position[r.subject] = r.seq
        token = r.after or r.before
        if token and not token["vendido"]:
            waiting = buyers(token)
            require(len(set(waiting)) == len(waiting), "13", f"{r.subject}: a buyer stands in the line twice")
        for w in r.words:
            compra = subject(w)
            most = asked.get(compra, {}).get("precioMaximo")
            if w["type"] == "token.reservado":
                require(w["precio"] == r.before["precio"] == r.after["precio"], "6", f"{compra} holds at {w['precio']}")
                require(
                    most is None or most >= w["precio"], "6", f"{compra} would pay {most} and holds at {w['precio']}"
                )
                holds[w["tokenId"]] = compra
            elif w["type"] == "compra.rechazada":
                true = {
                    "token-inexistente": not token,
                    "token-vendido": token.get("vendido"),
                    "precio-mayor": most is not None and token and most < token["precio"],
                    "token-disputado": token and len(token["cola"]) >= books.max_cola,
                    "ya-en-cola": token and token["reserva"] and w["usuarioId"] in buyers(token),
                    "saldo-insuficiente": balances.get(compra, {}).get("saldo", 10**9)
                    < books.tokens.said("token.reservado").get(compra, {"precio": 0})["precio"]
                    if w["motivo"] == "saldo-insuficiente" else None,
                    "usuario-inexistente": compra in balances and balances[compra].get("nombre") is None,
                }[w["motivo"]]  # fmt: skip
                require(true, "13", f"{compra} was refused as {w['motivo']}, which is not true")
            elif w["type"] == "compra.confirmada":
                require(holds.get(w["tokenId"]) == compra, "6", f"{compra} was sold what another holds")
    for compra, sale in books.tokens.said("compra.confirmada").items():
        require(compra in position, "13", f"{compra} got a token and never asked")
        for other, seq in position.items():
            if asked.get(other, {}).get("tokenId") == sale["tokenId"] and seq < position[compra]:
                motivo = refusal.get(other, {}).get("motivo")
                own = (
                    "saldo-insuficiente",
                    "usuario-inexistente",
                    "precio-mayor",
                    "token-disputado",
                    "ya-en-cola",
                    "token-inexistente",
                )
                require(motivo in own, "13", f"{other} asked before {compra} and was told {motivo}")


def entered(word: Any) -> tuple[int, str]:
    return word.get("orden") or 0, word["fecha"].removesuffix("Z")


def entries(books: Books) -> None:
    """What is shown of a token is its newest entry; a user's name too."""
    newest: dict[str, Any] = {}
    every = [*books.seeds.values(), *books.compras.words("token.publicado")]
    for word in every:
        if word["type"] == "token.publicado":
            key = str(word["tokenId"])
            if key not in newest or entered(word) > entered(newest[key]):
                newest[key] = word
    for key, word in newest.items():
        row = books.tokens.rows.get(key)
        require(row and row["precio"] == word["precio"] and row["nombre"] == word["nombre"], "entries", f"token {key}")
    # Of two top-ups it does not matter which is the later one: whoever takes over may date one as the last before it.
    entries = books.compras.words("token.publicado", "usuario.registrado")
    if any(ahead_seconds(one["fecha"], later["fecha"]) > AHEAD_SECONDS for one, later in pairwise(entries)):
        # The clock was wrong: those that are numbered go by that.
        entries = [word for word in entries if "orden" in word]
    dated = [(w.get("orden"), w["fecha"], w.get("tokenId"), w.get("usuarioId")) for w in entries]
    require(len(set(dated)) == len(dated), "entries", "two entries about the same have one fecha")


PROMISES = (once, causes, money, one_buyer, one_end, records, together, clients, line, entries)


def replay(world: World, books: Books) -> None:
    """8: a fresh reading, with snapshots and without, is what the writer and its followers have."""
    for service, folder in world.folders.items():
        writer = world.writer(service)
        assert writer is not None
        book: Book = getattr(books, service)
        live = writer.store
        same(f"{service}: the journal", live, book)
        for pod in world.pods[service]:
            if pod is not writer:
                equal(f"{service}: a follower", pod.store, live)
        for keep in (lambda name: True, lambda name: not name.endswith(".snapshot")):
            fresh: Any = JsonStore(SimDisk(folder.copy(keep), Process()), DOMAINS[service], lambda: "")
            try:
                fresh.load(to_the_end=True)
            except Damaged as error:
                raise Broken("not damaged", f"{service}, read anew: {error}") from error
            equal(f"{service}: read anew", fresh, live)
            for key in book.rows:
                require(fresh.find(key) == live.find(key), "8", f"{service}: row {key} read anew")


def same(what: str, live: Any, book: Book) -> None:
    require(live.seq == len(book.records), "8", f"{what} has {len(book.records)} records, the store {live.seq}")
    codec = live._codec
    for key, row in book.rows.items():
        shown = live.find(key)
        require(shown is not None, "8", f"{what} has row {key}")
        plain = json.loads(json.dumps(codec.change(None, shown), default=vars_of))
        plain = {
            n: v["joined"] if isinstance(v, dict) and v.keys() == {"left", "joined"} else v for n, v in plain.items()
        }
        require(plain == row, "8", f"{what} has {row}, the store {plain}")


def vars_of(value: Any) -> Any:
    return {name: getattr(value, name) for name in value.__slots__}


def equal(what: str, one: Any, other: Any) -> None:
    for name in ("seq", "rows", "_dedup"):
        require(getattr(one, name) == getattr(other, name), "8", f"{what}: {name} differs")
    require(one.list_index.parts() == other.list_index.parts(), "8", f"{what}: the book differs")
    # The same rows in the same order; how much room each has differs.
    require(
        json.loads(one.public_rows.body()) == json.loads(other.public_rows.body()),
        "8",
        f"{what}: what is shown differs",
    )
