"""Breaches made by walking through real records: every field of every change and message, every header, every answer.

A field that is added to a record later is walked through like the others, and has no promise in `PROMISES_OF` until
somebody says which it breaks: the test fails until then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from audit_shop import CLIENT, LIVE
from breaches import NOBODYS, Breach
from edited_books import SERVICES, Edited, Journal, Record, Segment, at, copied, drop_at, leaves, put_at

Path_ = tuple[str | int, ...]
# How many records of one kind are changed in each of its fields.
OF_EACH: Final = 1

# Which promise a field is about: the first that fits, by service, part of the record, and field. Where the design
# leaves it open there are several: that a row does not follow from its message is always promise 7, too.
PROMISES_OF: Final[dict[str, dict[str, set[int]]]] = {
    "compras": {
        "change.id": {4, 7},
        "change.usuario_id": {6, 7},
        "change.token_id": {6, 7},
        "change.fecha": {7},
        "change.precio_maximo": {7, 12, 13},
        "change.estado": {4, 7},
        "change.historia": {4, 7},
        "change.motivo": {7, 13},
        "change.precio": {6, 7},
        "change.transaccion_id": {5, 7},
        "change.tipo": {7},
        "change.mensaje": {7},
        "words.type": {4, 7},
        "words.compraId": {4, 6, 7},
        "words.altaId": {4, 7},
        "words.usuarioId": {1, 6, 7},
        "words.tokenId": {6, 7},
        "words.fecha": {7},
        "words.precioMaximo": {7, 12, 13},
        "words.nombre": {7},
        "words.imagen": {7},
        "words.precio": {7},
        "words.saldo": {1, 7},
        "words.monto": {1, 7},
    },
    "tokens": {
        "change.id": {7},
        "change.nombre": {7},
        "change.imagen": {7},
        "change.precio": {6, 7},
        "change.publicado": {7},
        "change.vendido": {6, 7},
        "change.reserva": {6, 7},
        "change.cola": {7, 13},
        "words.type": {4, 6, 7, 13},
        "words.compraId": {4, 6, 7},
        "words.altaId": {4, 7},
        "words.usuarioId": {6, 7},
        "words.tokenId": {6, 7},
        "words.fecha": {7},
        "words.precio": {1, 6, 7},
        "words.motivo": {7, 13},
    },
    "usuarios": {
        "change.id": {7},
        "change.nombre": {7},
        "change.saldo": {1},
        "change.registrado": {7},
        "change.esperan": {1, 7},
        "words.type": {4, 6, 7, 13},
        "words.compraId": {4, 6, 7},
        "words.altaId": {4, 7},
        "words.usuarioId": {6, 7},
        "words.tokenId": {6, 7},
        "words.fecha": {7},
        "words.precio": {1, 6, 7},
        "words.motivo": {7, 13},
    },
    "transacciones": {
        "change.ultimo": {5},
        "words.type": {5, 7},
        "words.compraId": {5, 6, 7},
        "words.usuarioId": {5, 6, 7},
        "words.tokenId": {5, 6, 7},
        "words.fecha": {5, 7},
        "words.transaccionId": {5},
    },
}

# What is not in the catalogue, since a shop that keeps every promise could have written it.
LEFT_OUT: Final = {
    "a record's `time` that is still in order": "only that service's clock knew it",
    "a `time` that is more than a minute before the one before it": "the clock may have been ahead until then",
    "a `time` before the one before it, in a backup, over HTTP or in what was put back": "a writer may have begun "
    "there, with its clock put right",
    "a header's `time` that is later than it was": "clocks may be put back, and a header is no record",
    "a `batch` that is split, or two that are one": "only that process knew what one sync carried",
    "a state's `fecha` in the record that brings it, but for solicitada's": "only the front door's clock knew it",
    "a seed's name, picture, price or balance, if nothing later rests on it": "the seed file is not in the books",
    "news at compras of a state between the first and the last that is missing": "a message may be lost, and whoever "
    "has reached the end is not asked about again",
    "an entry's `orden` that does not count what came within the hour before, or is not there": "a request may wait; "
    "older versions gave none",
    "the order of records that say a `generation`, against compras' book": "that is a guess, and each row's own",
    "an operator's entry, or a purchase, changed in all books and in what clients were told": "nobody contradicts it",
    "a purchase that no client of the journals at hand asked for, but in a drill's own shop": "others buy, too",
    "a `from` that is a later record than that which said it first": "a later one says it again",
    "a `heard` that says less, or that is gone": "what came late says less",
    "no `from`, but in a drill's own shop": "older versions said none",
    "an operator's entry that no client of the journals at hand sent, but in a drill's own shop": "others enter, too",
    "a client's `t`, but in a drill's own shop; its `url` and `started`, and the words of a problem's detail": (
        "nothing rests on them"
    ),
    "what was told or seen before anybody asked for it, where others buy, too": "only the order "
    "of the lines in one journal is known",
    "one client's purchases accepted in another order than it asked, if it knew of no sale between": "their dates are "
    "a clock's, which may have been ahead",
    "an answer's headers": "a client's journal has none",
    "an answer's `estado` that the purchase did have, then": "the answer may have been late",
    "the numbers of two entries exchanged between their `alta.aplicada` at compras": "two messages may change places",
}


def generated(stories: Mapping[str, Path]) -> Iterator[Breach]:
    """The catalogue's greater part, from the books of these stories."""
    seen: set[str] = set()
    for story, folder in stories.items():
        if story == "full line":
            continue
        books = Edited(folder)
        if story == "telling":
            for service in SERVICES:
                yield from _of_origins(story, service, books, seen)
            continue
        for service in SERVICES:
            yield from _of_fields(story, service, books, seen)
            yield from _of_records(story, service, books.book(service), seen)
        if story in ("ordinary", "disordered"):
            for service in SERVICES:
                yield from _of_the_chain(story, service, books.book(service))
        if story in ("ordinary", "topped up"):
            yield from _of_what_is_shown(story, folder, seen)
        if story in ("ordinary", "crowded"):
            yield from _of_answers(story, folder, seen)


# Whose record it heard


def _of_origins(story: str, service: str, books: Edited, seen: set[str]) -> Iterator[Breach]:
    journal = books.book(service)
    for place, record in enumerate(journal.records):
        for field in ("from", "heard", "message"):
            for what, new in _other_origins(books, field, record.get(field)):
                if (name := f"{service}: {_kind(record)}: {field} {what}") not in seen:
                    seen.add(name)
                    edit = _changed(service, place, (field,), new)
                    promises = frozenset({4} if what == "past its end" else {7})
                    yield Breach(name, story, promises, edit, refusable=what == "of another kind")


def _other_origins(books: Edited, field: str, value: Any) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """What may stand there instead. Of what was heard of others less says nothing, nor does a later record that said
    the same again."""
    if value is None:
        return
    yield "of another kind", lambda _: [1]
    if field != "heard":
        yield "gone", lambda _: GONE
    if field == "message":
        return
    by, book, generation, seq, *branch = value.split(" ")[0].split("/")
    ends = {name: len(books.book(name).records) for name in SERVICES}

    def height(*parts: Any) -> Callable[[Any], Any]:
        return lambda _: "/".join(map(str, (*parts, *branch)))

    yield "nonsense", lambda _: "nonsense"
    yield "of no service", height("bodegas", book, generation, seq)
    yield "past its end", height(by, book, generation, ends[by] + 1)
    if field == "from":
        yield "before it was said", height(by, book, generation, int(seq) - 1)
        yield "of another service", height(next(name for name in SERVICES if name != by), book, generation, seq)
        yield "of another book", height(by, "00000000", generation, seq)


# Every field


def _of_fields(story: str, service: str, books: Edited, seen: set[str]) -> Iterator[Breach]:
    journal = books.book(service)
    for place, record in enumerate(journal.records):
        kind = _kind(record)
        for path, value in leaves({"change": record["change"], "words": record["words"]}):
            if len(path) < 2 or _says_nothing(service, journal, record, path):
                continue
            field = _name(record, path)
            for what, new in _others(path, value, record):
                name = f"{service}: {kind}: {field} {what}"
                if name not in seen:
                    seen.add(name)
                    promises = frozenset(_promises(service, path))
                    wrong_kind = what in ("gone", "of another kind")
                    yield Breach(name, story, promises, _changed(service, place, path, new), refusable=wrong_kind)
        for what, new_id, promises in _other_ids(journal, record):
            if (name := f"{service}: {kind}: its id {what}") not in seen:
                seen.add(name)
                yield Breach(
                    name, story, frozenset(promises), _changed(service, place, ("id",), lambda _, new=new_id: new)
                )
        for what, row in _other_rows(journal, record):
            if (name := f"{service}: {kind}: its row {what}") not in seen:
                seen.add(name)
                rows = {"transacciones": {5, 7}, "usuarios": {1, 7}, "compras": {4, 7}, "tokens": {6, 7}}[service]
                yield Breach(name, story, frozenset(rows), _changed(service, place, ("row",), lambda _, new=row: new))


GONE: Final = object()


def _changed(service: str, place: int, path: Path_, new: Callable[[Any], Any]) -> Callable[[Edited], None]:
    def edit(books: Edited) -> None:
        record = books.book(service).records[place]
        value = new(at(record, path))
        if value is GONE:
            drop_at(record, path)
        else:
            put_at(record, path, value)

    return edit


def _kind(record: Record) -> str:
    """The message of a record and what is said because of it, each type once."""
    said = dict.fromkeys(word["type"] for word in record["words"])
    first = "" if record["change"] is None or "id" not in record["change"] else " first"
    return f"{record['id'].rpartition(':')[2]}{first} -> {', '.join(said) or 'nothing'}"


def _name(record: Record, path: Path_) -> str:
    """The way to a field, without the places in lists; a message by its type, a step of a history by its state."""
    steps = []
    for number, step in enumerate(path):
        if isinstance(step, str):
            steps.append(step)
            continue
        inside = at(record, path[: number + 1])
        if isinstance(inside, dict) and (label := inside.get("type") or inside.get("estado")):
            steps[-1] += f"[{label}]"
    return ".".join(steps)


def _promises(service: str, path: Path_) -> set[int]:
    field = path[1] if path[0] == "change" else path[2]
    return PROMISES_OF[service][f"{path[0]}.{field}"]


def _others(path: Path_, value: Any, record: Record) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """What may stand there instead, in a word each."""
    name = str(path[-1])
    if isinstance(value, bool):
        yield "turned round", lambda old: not old
    elif isinstance(value, int):
        yield "one more", lambda old: old + 1
        yield "one less", lambda old: old - 1
    elif isinstance(value, str):
        yield "another", lambda old: _another(name, old)
    elif value is None:
        yield "is there", lambda _: _made_up(name)
    elif isinstance(value, list | dict) and not value:
        yield "is there", lambda _: [1] if isinstance(value, list) else {"x": 1}
    yield "gone", lambda _: GONE
    if value is not None:
        yield "of another kind", lambda _: {"x": [1]}
    if isinstance(value, str) and name in ("fecha", "publicado", "registrado"):
        yield "no date", lambda _: "ayer"
    if name == "motivo" and isinstance(value, str):
        yield "unknown", lambda _: "no-me-gusta"
    if name == "estado":
        yield "unknown", lambda _: "vendida"


def _another(name: str, old: str) -> str:
    if name in ("fecha", "publicado", "registrado"):
        return "2025-09-10T17:00:00.777Z" if old != "2025-09-10T17:00:00.777Z" else "2025-09-10T17:00:00.778Z"
    choices = {
        "motivo": ("token-vendido", "precio-mayor"),
        "estado": ("confirmada", "solicitada"),
        "type": ("saldo.rechazado", "token.reservado"),
        "tipo": ("saldo.recargado", "token.publicado"),
    }
    if name in choices:
        one, other = choices[name]
        return other if old == one else one
    if name == "mensaje":
        return old.replace('"fecha":"2025', '"fecha":"2024')
    if old.count("-") == 4 and len(old) == 36:
        return NOBODYS
    return old + "x"


def _made_up(name: str) -> Any:
    return {
        "reserva": {"compra_id": NOBODYS, "usuario_id": 1, "fecha": "2025-09-10T17:00:00.777Z", "precio": 1},
        "motivo": "token-vendido",
    }.get(name, 1)


def _says_nothing(service: str, journal: Journal, record: Record, path: Path_) -> bool:
    """Whether nobody could contradict this field: see LEFT_OUT."""
    if path[-1] == "fecha" and path[1] == "historia":
        step = record["change"]["historia"][path[2]]
        return step["estado"] != "solicitada" and not _stands_elsewhere(journal, record, step)
    if not record["id"].startswith("semilla:"):
        return False
    if path[0] == "words":
        return False
    return path[1] in ("nombre", "imagen", "saldo", "precio", "publicado", "registrado")


def _stands_elsewhere(journal: Journal, record: Record, step: Record) -> bool:
    """Whether another record of this purchase has the same step."""
    return any(
        step in (one["change"] or {}).get("historia", ())
        for one in journal.records
        if one["row"] == record["row"] and one is not record
    )


def _other_ids(journal: Journal, record: Record) -> Iterator[tuple[str, str, set[int]]]:
    about, _, kind = record["id"].rpartition(":")
    other = next(
        (
            one["id"].rpartition(":")[0]
            for one in journal.records
            if one["id"].endswith(f":{kind}") and one["id"] != record["id"]
        ),
        None,
    )
    if other:
        yield "is another's of its kind", f"{other}:{kind}", {7, 9}
    yield "has no type", "nada", {7, 8}
    yield "is of nothing that was asked", f"{NOBODYS}:{kind}", {4, 5, 7}
    yield (
        "is of another type",
        f"{about}:{'saldo.rechazado' if kind != 'saldo.rechazado' else 'saldo.reservado'}",
        {4, 7},
    )


def _other_rows(journal: Journal, record: Record) -> Iterator[tuple[str, str]]:
    other = next((one["row"] for one in journal.records if one["row"] != record["row"]), None)
    if other:
        yield "is another", other
    yield "does not exist", "424242" if record["row"].isdecimal() else NOBODYS


# Every record: gone, twice, in another place; every message of it: gone, twice, another one more


def _of_records(story: str, service: str, journal: Journal, seen: set[str]) -> Iterator[Breach]:
    records = journal.records
    for place, record in enumerate(records):
        kind = _kind(record)
        if _gone(service, record) and (name := f"{service}: {kind}: the record gone") not in seen:
            seen.add(name)
            yield Breach(name, story, frozenset(_gone(service, record)), _record_gone(service, place))
        if (name := f"{service}: {kind}: the record twice") not in seen:
            seen.add(name)
            yield Breach(name, story, frozenset({9}), _record_twice(service, place))
        if record["change"] and (name := f"{service}: {kind}: no change") not in seen:
            seen.add(name)
            yield Breach(
                name,
                story,
                frozenset(_no_change(service, record)),
                _changed(service, place, ("change",), lambda _: None),
            )
        if (name := f"{service}: {kind}: a field that no row has") not in seen:
            seen.add(name)
            yield Breach(
                name,
                story,
                frozenset({7, 8}),
                _changed(service, place, ("change",), lambda old: {**(old or {}), "descuento": 1}),
                refusable=True,
            )
        yield from _of_said(story, service, place, record, seen)
        later = _later_of_row(records, place)
        if later is not None and _one_rests_on_the_other(record["change"] or {}, records[later]["change"] or {}):
            pair = f"{_kind(record)} / {_kind(records[later])}"
            if (name := f"{service}: {pair}: changed places") not in seen:
                seen.add(name)
                promises = {"compras": {4, 7, 13}, "tokens": {6, 7, 13}, "usuarios": {1, 7}, "transacciones": {5}}[
                    service
                ]
                yield Breach(name, story, frozenset(promises), _swapped(service, place, later))


def _gone(service: str, record: Record) -> set[int]:
    """Which promise it breaks that this record is missing; empty if none."""
    kind = record["id"].rpartition(":")[2]
    if record["id"].startswith("semilla:"):
        return set()
    if service == "compras":
        if kind in ("token.reservado", "saldo.reservado", "saldo.rechazado", "compra.confirmada"):
            return set()
        return {4, 7}
    if service == "usuarios" and kind == "saldo.recargado":
        return {1, 4, 7}
    return {4, 5, 6, 7}


def _no_change(service: str, record: Record) -> set[int]:
    change = record["change"]
    if service == "transacciones":
        return {5}
    if service == "usuarios":
        return {1, 4, 7} if change.keys() & {"saldo", "esperan"} else {4, 7}
    if service == "compras":
        return {4, 7} if "estado" in change else {7, 13}
    return {4, 7, 13} if "cola" in change else {4, 6, 7}


def _record_gone(service: str, place: int) -> Callable[[Edited], None]:
    return lambda books: books.book(service).remove(books.book(service).records[place])


def _record_twice(service: str, place: int) -> Callable[[Edited], None]:
    def edit(books: Edited) -> None:
        record = books.book(service).records[place]
        books.book(service).put(record, after=record)

    return edit


def _swapped(service: str, place: int, later: int) -> Callable[[Edited], None]:
    def edit(books: Edited) -> None:
        records = books.book(service).records
        books.book(service).swap(records[place], records[later])

    return edit


def _one_rests_on_the_other(change: Record, later: Record) -> bool:
    """Records that change different fields may well have come in the other order."""
    return bool(change.keys() & later.keys())


def _later_of_row(records: list[Record], place: int) -> int | None:
    row = records[place]["row"]
    return next((at_ for at_ in range(place + 1, len(records)) if records[at_]["row"] == row), None)


def _of_said(story: str, service: str, place: int, record: Record, seen: set[str]) -> Iterator[Breach]:
    promises = frozenset({"transacciones": {5, 7}}.get(service, {4, 6, 7}))
    for number, word in enumerate(record["words"]):
        kind = f"{service}: {_kind(record)}: {word['type']}"
        edits: dict[str, tuple[frozenset[int], Callable[[Any], Any]]] = {
            "not said": (promises, lambda old, at_=number: old[:at_] + old[at_ + 1 :]),
            "said twice": (promises | {9}, lambda old, at_=number: [*old, copied(old[at_])]),
            "said of another, too": (
                _of_another_purchase(word),
                lambda old, at_=number: [*old, _of_another(old[at_])],
            ),
            "with a field too many": (
                frozenset({5, 7} if service == "transacciones" else {7}),
                lambda old, at_=number: [*old[:at_], {**old[at_], "descuento": 1}, *old[at_ + 1 :]],
            ),
        }
        for what, (broken, new) in edits.items():
            if (name := f"{kind} {what}") not in seen:
                seen.add(name)
                refusable = what == "with a field too many"
                yield Breach(name, story, broken, _changed(service, place, ("words",), new), refusable=refusable)
    types = [word["type"] for word in record["words"]]
    if len(types) > 1 and (name := f"{service}: {_kind(record)}: said in another order") not in seen:
        seen.add(name)
        yield Breach(name, story, frozenset({7, 13}), _changed(service, place, ("words",), lambda old: old[::-1]))


def _of_another_purchase(word: Record) -> frozenset[int]:
    """Which promise it breaks that the same is said of another, too."""
    if word["type"] in ("saldo.rechazado", "compra.rechazada"):
        return frozenset({4, 7, 13})
    return frozenset({5, 6, 7} if "compraId" in word else {4, 7})


def _of_another(word: Record) -> Record:
    return {**word, "compraId" if "compraId" in word else "altaId": NOBODYS}


# The chain: what a service refuses to start with


def _of_the_chain(story: str, service: str, journal: Journal) -> Iterator[Breach]:
    last = len(journal.segments) - 1
    for number, segment in enumerate(journal.segments):
        if number not in (0, 1, last):
            continue
        which = {0: "the first", last: "the last"}.get(number, "a middle")
        follows = any(earlier.records for earlier in journal.segments[:number])
        for field, value in segment.header.items():
            if field == "crc":
                continue
            for what, new in _other_headers(field, value, follows):
                yield Breach(
                    f"{service}: {which} segment's header in {story} books: {field} {what}",
                    story,
                    frozenset({8}),
                    _header(service, number, field, new),
                    refusable=True,
                )
        if segment.records:
            for what, change in _other_records(segment.records):
                yield Breach(
                    f"{service}: {which} segment in {story} books: {what}",
                    story,
                    frozenset({8}),
                    _of_chain(service, number, change),
                    refusable=True,
                )
        for what, change_bytes in _other_bytes(segment, number == last).items():
            yield Breach(
                f"{service}: {which} segment in {story} books: {what}",
                story,
                frozenset({8}),
                _bytes(service, segment.name, change_bytes),
                refusable=True,
            )


def _header(service: str, number: int, field: str, new: Any) -> Callable[[Edited], None]:
    def edit(books: Edited) -> None:
        journal = books.book(service)
        journal.in_order = False
        header = journal.segments[number].header
        if new is GONE:
            del header[field]
        else:
            header[field] = new

    return edit


def before(time: str, *, seconds: int) -> str:
    then = datetime.fromisoformat(time) - timedelta(seconds=seconds)
    return then.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _other_headers(field: str, value: Any, follows: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(value, int):
        yield "one more", value + 1
        if value:
            yield "one less", value - 1
    if isinstance(value, str) and field != "time":
        yield "another", "pedidos" if field == "service" else "journal-00000077-000001.jsonl"
    if field == "previous" and value is not None:
        yield "none", None
    if field == "time":
        yield "no time", "ayer"
        if follows:
            yield "before the record before it", before(value, seconds=30)
    yield "gone", GONE


def _other_records(records: list[Record]) -> Iterator[tuple[str, Callable[[list[Record]], None]]]:
    middle = len(records) // 2

    def jump(some: list[Record]) -> None:
        for record in some[middle:]:
            record["seq"] += 1

    def repeat(some: list[Record]) -> None:
        for record in some[middle + 1 :]:
            record["seq"] -= 1

    def exchanged(some: list[Record]) -> None:
        some[0]["seq"], some[1]["seq"] = some[1]["seq"], some[0]["seq"]

    def back(some: list[Record]) -> None:
        some[-1]["time"] = before(some[-2]["time"], seconds=1)

    yield "seq jumps", jump
    if len(records) > middle + 1:
        yield "seq repeats", repeat
    if len(records) > 1:
        yield "two numbers exchanged", exchanged
        yield "time goes back", back
    yield "no time", lambda some: some[middle].update(time="ayer")
    yield "a batch that begins later", lambda some: some[middle].update(batch=some[middle]["seq"] + 1)
    yield "a batch of number 0", lambda some: some[middle].update(batch=0)
    yield "a record without seq", lambda some: some[middle].pop("seq")
    yield "a record without id", lambda some: some[middle].pop("id")
    yield "a record without row", lambda some: some[middle].pop("row")
    yield "a record without change", lambda some: some[middle].pop("change")
    yield "a record without words", lambda some: some[middle].pop("words")
    yield "a row that is a number", lambda some: some[middle].update(row=7)


def _of_chain(service: str, number: int, change: Callable[[list[Record]], None]) -> Callable[[Edited], None]:
    def edit(books: Edited) -> None:
        journal = books.book(service)
        change(journal.segments[number].records)
        journal.numbered = False

    return edit


def _bytes(service: str, name: str, change: Callable[[bytes], bytes | None]) -> Callable[[Edited], None]:
    def edit(books: Edited) -> None:
        books.book(service).bytes[name] = change

    return edit


def _other_bytes(segment: Segment, last: bool) -> dict[str, Callable[[bytes], bytes | None]]:
    changes: dict[str, Callable[[bytes], bytes | None]] = {
        "one byte of the header is another": _flipped,
        "the header is torn": lambda raw: raw[: raw.index(b"\n") - 5] + raw[raw.index(b"\n") :],
        "the file is empty": lambda raw: b"",
        "the file is gone": lambda raw: None,
    }
    if segment.records:
        changes["one byte of its first record is another"] = lambda raw: _flipped(raw, raw.index(b"\n") + 1)
        changes["a line is gone"] = lambda raw: b"".join(raw.splitlines(True)[:1] + raw.splitlines(True)[2:])
        changes["an empty line"] = lambda raw: raw.replace(b"\n", b"\n\n", 1)
    if last and segment.records and not segment.behind:
        changes["its last records are gone, and the mark knows of them"] = lambda raw: b"".join(
            raw.splitlines(True)[:-1]
        )
        changes["its last line is cut in the middle, and the mark knows of it"] = lambda raw: raw[:-20]
    return changes


def _flipped(raw: bytes, start: int = 0) -> bytes:
    place = raw.index(b"\n", start) - 30
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


# What the services answer over HTTP


def _of_what_is_shown(story: str, folder: Path, seen: set[str]) -> Iterator[Breach]:
    shown: dict[str, list[Record]] = json.loads((folder / LIVE).read_text(encoding="utf-8"))
    for name, rows in shown.items():
        edits: dict[str, Callable[[list[Record]], None]] = {
            "a row missing": lambda some: some.pop(len(some) // 2),  # type: ignore[dict-item,return-value]
            "a row twice": lambda some: some.append(copied(some[0])),
            "a row twice, and different": lambda some: some.append(
                {**copied(some[0]), "fecha": "2025-01-01T00:00:00Z"}
            ),
            "a row too many": lambda some: some.append({**copied(some[0]), "id": _other_id(some[0]["id"])}),
            "nothing": lambda some: some.clear(),
            "a row without id": lambda some: some[0].pop("id"),
            "a row that is null": lambda some: some.insert(0, None),  # type: ignore[arg-type]
        }
        for what, change in edits.items():
            yield Breach(
                f"GET /{name} in {story} books: {what}",
                story,
                frozenset({8}),
                lambda books, name=name, change=change: change(books.shown()[name]),  # type: ignore[misc]
            )
        for place, row in enumerate(rows):
            state = row.get("estado") or ("vendido" if row.get("vendido") else "")
            for path, value in [*leaves(row), (("descuento",), None)]:
                for what, new in _others(path, value, row) if path != ("descuento",) else [("is there", lambda _: 1)]:
                    label = f"GET /{name}: {state} {_name(row, path)} {what}"
                    if path == ("id",) or label in seen:
                        continue
                    seen.add(label)
                    yield Breach(label, story, frozenset({8}), _shown(name, place, path, new))


def _other_id(number: Any) -> Any:
    return number + 1_000_000 if isinstance(number, int) else NOBODYS


def _shown(name: str, place: int, path: Path_, new: Callable[[Any], Any]) -> Callable[[Edited], None]:
    def edit(books: Edited) -> None:
        _replace(books.shown()[name][place], path, new)

    return edit


def _replace(value: Any, path: Path_, new: Callable[[Any], Any]) -> None:
    inside = at(value, path[:-1])
    old = inside[path[-1]] if not isinstance(inside, dict) else inside.get(path[-1])
    if (made := new(old)) is GONE:
        drop_at(value, path)
    else:
        put_at(value, path, made)


# What a client was told


def _of_answers(story: str, folder: Path, seen: set[str]) -> Iterator[Breach]:
    notes = [json.loads(line) for line in (folder / CLIENT).read_text(encoding="utf-8").splitlines()]
    good = {note["n"] for note in notes if note.get("asks")}
    for place, note in enumerate(notes):
        if note.get("n") in good and note.get("status") in (200, 202):
            answer = note["answer"]
            for path, value in [*leaves(answer), (("descuento",), None)]:
                ways = _others(path, value, answer) if path != ("descuento",) else [("is there", lambda _: 1)]
                for what, new in ways:
                    label = f"POST: {note['status']} {answer['estado']}: {_name(answer, path)} {what}"
                    if label in seen or not _contradicted(path, what):
                        continue
                    seen.add(label)
                    promises = frozenset({4, 10, 12} if path == ("id",) else {12})
                    yield Breach(label, story, promises, _noted(place, ("answer", *path), new))
        for path, value in leaves(note.get("asks") or {}, ("asks",)):
            if "asks" in note and note["asks"] and _answered(notes, note["n"]):
                for what, new in _others(path, value, note):
                    label = f"POST: asked for {path[-1]} {what}"
                    if label not in seen and isinstance(value, int):
                        seen.add(label)
                        promises = frozenset({4, 10, 12})
                        yield Breach(label, story, promises, _noted(place, path, new), refusable=what != "one more")


def _answered(notes: list[Record], number: int) -> bool:
    return any(note.get("n") == number and note.get("status") in (200, 202) for note in notes)


def _contradicted(path: Path_, what: str) -> bool:
    """Another state may be one that it was in, too: those lies are written by hand."""
    return not (path == ("estado",) and what == "another")


def _noted(place: int, path: Path_, new: Callable[[Any], Any]) -> Callable[[Edited], None]:
    def edit(books: Edited) -> None:
        _replace(books.told()[place], path, new)

    return edit
