"""The audit against books of the real stores: whole ones pass, and each kind of breach is named by its promise."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from generated_books import generate
from languages import reading

from broker.messages import compra_id
from loadgen.audit import books
from loadgen.audit.audit import Books, audit
from loadgen.audit.clients import client_journal
from loadgen.audit.keys import purchase_id
from loadgen.audit.model import SERVICES
from loadgen.audit.text import Unreadable
from loadgen.audit.verdict import LISTED, Breach, Verdict
from ops.i18n import say
from services.compras.domain import Compra
from services.compras.domain import public as vista

PURCHASES = 400
NO_LETTERS = dict.fromkeys(("usuarios.muertos", "tokens.muertos", "transacciones.muertos", "compras.muertos"), 0)
ENGLISH = re.compile(r"\b(the|and|was|has|had|is|it|of|to|not|nothing|both|promise|user)\b")
Record = dict[str, Any]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books that nobody may change."""
    import asyncio  # noqa: PLC0415 - a fixture for all tests has no loop of theirs

    folder = tmp_path_factory.mktemp("whole")
    asyncio.run(generate(folder, PURCHASES, batch=10))
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    shutil.copytree(whole, tmp_path / "books")
    return tmp_path / "books"


def audited(folder: Path, **more: Any) -> Verdict:
    journals = {name: books.from_folder(folder, name) for name in SERVICES}
    verdict = audit(Books(**journals, clients=[client_journal(folder / "client.jsonl")], **more))
    assert [english for english in map(in_spanish, verdict.breaches) if ENGLISH.search(english)] == []
    return verdict


def in_spanish(breach: Breach) -> str:
    """As `zoco audit` prints it to who reads Spanish, without the places in files."""
    with reading("es"):
        said = say("promise {promise}: {about}: {says}", breach.promise, breach.about, breach.says)
    return re.sub(r"/\S+", "", said)


def journal(folder: Path, service: str) -> Path:
    (file,) = (folder / service).glob("journal-*.jsonl")
    return file


def raw(folder: Path, service: str) -> list[Record]:
    """A journal's records, all of them."""
    return [json.loads(line) for line in journal(folder, service).read_bytes().splitlines()[1:]]


def edit(folder: Path, service: str, change: Callable[[Record], list[Record]]) -> None:
    """Put other records in the place of each, sealed as if a service had written them."""
    file = journal(folder, service)
    header, *lines = file.read_bytes().splitlines()
    file.with_suffix(".mark").unlink()
    out = [header]
    for line in lines:
        for record in change(json.loads(line)):
            record.pop("crc", None)
            # Each a batch of its own: the chain of the journal is as it should be, whatever is left out or put in.
            record |= {"seq": len(out), "batch": len(out)}
            body = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()[:-1]
            out.append(b'%s,"crc":"%08x"}' % (body, zlib.crc32(body)))
    file.write_bytes(b"\n".join(out) + b"\n")


def first(
    wanted: Callable[[Record], bool], change: Callable[[Record], list[Record]]
) -> Callable[[Record], list[Record]]:
    """Change the first record that is wanted, and leave the others."""
    done: list[Record] = []

    def once(record: Record) -> list[Record]:
        if done or not wanted(record):
            return [record]
        done.append(record)
        return change(record)

    return once


def of(*kinds: str) -> Callable[[Record], bool]:
    """Records that say one of these."""
    return lambda record: any(word["type"] in kinds for word in record["words"])


def heard(kind: str) -> Callable[[Record], bool]:
    return lambda record: record["id"].endswith(f":{kind}")


def late(record: Record) -> bool:
    """Who asked for a token that was sold already."""
    return [word.get("motivo") for word in record["words"]] == ["token-vendido"]


def gone(record: Record) -> list[Record]:
    return []


def with_word(**values: Any) -> Callable[[Record], list[Record]]:
    return lambda record: [{**record, "words": [{**record["words"][0], **values}, *record["words"][1:]]}]


def with_change(**values: Any) -> Callable[[Record], list[Record]]:
    return lambda record: [{**record, "change": {**(record["change"] or {}), **values}}]


def test_whole_books_keep_every_promise(whole: Path) -> None:
    verdict = audited(whole, dead_letters=NO_LETTERS)
    assert verdict.holds, verdict.breaches
    assert verdict.accepted == PURCHASES == verdict.sold + verdict.refused
    assert verdict.sold > PURCHASES / 2 > verdict.refused > 10
    assert verdict.unchecked == {8: "the services were not asked"}


def sold_twice(record: Record) -> list[Record]:
    again = json.loads(json.dumps(record))
    other = "00000000-0000-5000-8000-000000000000"
    again["id"] = f"{other}:saldo.reservado"
    again["words"][0]["compraId"] = other
    return [record, again]


BREACHES: dict[str, tuple[str, Callable[[Record], list[Record]], set[int]]] = {
    "a balance that is one too high": ("usuarios", first(of("saldo.reservado"), with_change(saldo=10**9)), {1}),
    "a balance below zero": ("usuarios", first(of("saldo.reservado"), with_change(saldo=-1)), {1, 2}),
    "a token sold to two": ("tokens", first(of("compra.confirmada"), sold_twice), {3, 5, 6, 7}),
    "an end that compras never heard": ("compras", first(heard("transaccion.registrada"), gone), {4, 12}),
    "a purchase that tokens never heard": ("tokens", first(heard("compra.solicitada"), gone), {6, 7}),
    "a purchase that compras forgot": ("compras", first(of("compra.solicitada"), gone), {4}),
    "a sale without a record": ("transacciones", first(of("transaccion.registrada"), gone), {5}),
    "a record with another's number": (
        "transacciones",
        first(of("transaccion.registrada"), with_word(transaccionId=2)),
        {5},
    ),
    "a sale that took another price": ("usuarios", first(of("saldo.reservado"), with_word(precio=11)), {6}),
    "a sale that took nothing": ("usuarios", first(of("saldo.reservado"), gone), {6}),
    "a record of another buyer": ("transacciones", first(of("transaccion.registrada"), with_word(usuarioId=99)), {6}),
    "a confirmed token that is for sale": ("tokens", first(of("compra.confirmada"), with_change(vendido=False)), {6}),
    "an effect without its message": ("usuarios", first(of("saldo.reservado"), with_word(type="saldo.rechazado")), {7}),
    "a message acted on twice": ("transacciones", first(of("transaccion.registrada"), lambda r: [r, r]), {9}),
    "a refusal as too dear of who would pay": (
        "tokens",
        first(late, with_word(motivo="precio-mayor")),
        {13},
    ),
    "an entry that its service never heard": ("tokens", first(heard("token.publicado"), gone), {4}),
}


@pytest.mark.parametrize("what", BREACHES)
def test_a_breach_is_named_by_its_promise(folder: Path, what: str) -> None:
    service, change, promises = BREACHES[what]
    before = journal(folder, service).read_bytes()
    edit(folder, service, change)
    assert journal(folder, service).read_bytes() != before
    verdict = audited(folder)
    assert promises <= verdict.counts.keys(), verdict.counts


def test_who_asked_before_the_winner_was_not_refused_as_too_late(folder: Path) -> None:
    refused = next(record for record in raw(folder, "tokens") if late(record))

    def put_in_front(record: Record) -> list[Record]:
        """In this book, who came too late asks before everybody else."""
        if record["id"] == refused["id"]:
            return []
        begins = record["row"] == refused["row"] and heard("token.publicado")(record)
        return [record, {**refused, "time": record["time"]}] if begins else [record]

    edit(folder, "tokens", put_in_front)
    verdict = audited(folder)
    assert 13 in verdict.counts
    found = [breach for breach in verdict.breaches if breach.promise == 13 and breach.book == "tokens"]
    assert all(refused["id"].startswith(breach.about) for breach in found)
    # It was refused for a reason of nobody's, and should have got the token.
    assert ["token.reservado" in found[0].says, "token-vendido" in found[1].says, *found[2:]] == [True, True]


def test_a_breach_names_the_purchase_what_each_side_says_and_file_and_line(folder: Path) -> None:
    edit(folder, "usuarios", first(of("saldo.reservado"), with_word(precio=11)))
    found = [breach for breach in audited(folder).breaches if breach.promise == 6]
    assert "words[0].precio is 11, by the rules 10" in found[0].says
    # Who heard it could not have acted on it.
    assert {breach.book for breach in found} == {"usuarios", "compras", "tokens"}
    for breach in found:
        file, _, line = breach.where.rpartition(":")
        assert f"/{breach.book}/" in file
        assert breach.says.endswith(f", see {breach.where}")
        assert breach.about in Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def notes(folder: Path) -> Iterator[Record]:
    return (json.loads(line) for line in (folder / "client.jsonl").read_text(encoding="utf-8").splitlines())


def tell(folder: Path, change: Callable[[Record], Record]) -> None:
    """Let the client have been told something else about its first purchase."""
    lines = [json.dumps(change(note) if note["n"] == 1 else note) for note in notes(folder)]
    (folder / "client.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def answered(**values: Any) -> Callable[[Record], Record]:
    return lambda note: {**note, "answer": {**note["answer"], **values}} if "answer" in note else note


def asked(**values: Any) -> Callable[[Record], Record]:
    return lambda note: {**note, "asks": {**note["asks"], **values}} if "asks" in note else note


@pytest.mark.parametrize(
    ("change", "promises"),
    [
        (answered(estado="pagada-dos-veces"), {12}),
        (answered(precio=77), {12}),
        (answered(motivo="token-vendido"), {12}),
        (answered(transaccionId=10**6), {12}),
        (answered(id="00000000-0000-5000-8000-000000000000"), {4, 10}),
        (lambda note: {**note, "status": 422} if "status" in note else note, {10}),
        (asked(tokenId=10**6), {12}),
        (lambda note: {**note, "key": "never sent"} if "key" in note else note, {10}),
    ],
    ids=["state", "price", "reason", "number", "another purchase", "used key", "another token", "another key"],
)
def test_what_a_client_was_told_must_agree_with_the_books(
    folder: Path, change: Callable[[Record], Record], promises: set[int]
) -> None:
    tell(folder, change)
    assert audited(folder).counts.keys() == promises


@pytest.mark.parametrize("answer", [{"status": None}, {"status": 503, "answer": {"detail": "later"}}])
def test_no_answer_and_a_503_say_nothing(folder: Path, answer: Record) -> None:
    tell(folder, lambda note: {"n": 1, **answer} if "status" in note else note)
    assert audited(folder).holds


def only(row: Record, *names: str) -> Record:
    return {name: row[name] for name in names}


def test_what_a_service_shows_must_be_what_its_journal_comes_to(whole: Path) -> None:
    sides: dict[str, dict[str, Record]] = {"usuarios": {}, "tokens": {}, "compras": {}}
    for name, rows in sides.items():
        for record in raw(whole, name):
            rows.setdefault(record["row"], {}).update(record["change"] or {})
    words = [record["words"][0] for record in raw(whole, "transacciones")]
    live = {
        "usuarios": [only(row, "id", "nombre", "saldo") for row in sides["usuarios"].values() if row.get("nombre")],
        "tokens": [only(row, "id", "nombre", "imagen", "precio", "vendido") for row in sides["tokens"].values() if row],
        "transacciones": [
            {"id": word["transaccionId"], **only(word, "usuarioId", "tokenId", "fecha")} for word in words
        ],
        "compras": [vista(msgspec.convert(row, Compra)) for row in sides["compras"].values() if "token_id" in row],
    }
    assert audited(whole, live=live).holds
    live["usuarios"][0] = {**live["usuarios"][0], "saldo": 1}
    live["tokens"] = live["tokens"][1:]
    verdict = audited(whole, live=live)
    assert verdict.counts == {8: 2}


def test_a_rare_breach_is_listed_among_many_of_another_kind() -> None:
    looked_for = []

    def where() -> str:
        looked_for.append("a line")
        return "a file:2"

    def found() -> Verdict:
        verdict = Verdict()
        for number in range(100):
            verdict.breach(5, f"purchase {number}", "wrong", field=f"words[{number}].fecha", stands=number, where=where)
        verdict.breach(5, "purchase 100", "wrong", field="words[0].precio", stands=7, where=where)
        for motivo in ("token-vendido", "precio-mayor"):
            verdict.breach(5, "purchase 101", "wrong", field="words[0].motivo", stands=motivo)
        return verdict

    one = found()
    assert one.counts == {5: 103}
    assert [breach.stands for breach in one.breaches] == [*range(LISTED), 7, "token-vendido", "precio-mayor"]
    assert len(looked_for) == LISTED + 1
    assert one.breaches[0].where == "a file:2"
    one.take_in(found())
    assert one.counts == {5: 206}
    assert len(one.breaches) == LISTED + 6


def test_dead_letters_are_a_breach(whole: Path) -> None:
    assert audited(whole, dead_letters=NO_LETTERS | {"tokens.muertos": 2}).counts == {11: 1}


@pytest.mark.parametrize("said", [{}, {"tokens.muertos": 0}, {**NO_LETTERS, "usuarios.muertos": None}])
def test_queues_of_which_nobody_says_how_many_wait_are_not_checked(whole: Path, said: dict[str, Any]) -> None:
    assert "usuarios.muertos" in audited(whole, dead_letters=said).unchecked[11]


def test_a_damaged_record_is_named_by_file_and_line_and_nothing_is_judged(folder: Path) -> None:
    file = journal(folder, "tokens")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[7] = lines[7].replace(b'"seq":7', b'"seq":8')
    file.write_bytes(b"".join(lines))
    with pytest.raises(Unreadable, match=rf"{file}:8 is damaged: its checksum is wrong"):
        audited(folder)


def test_a_folder_of_another_version_is_refused(folder: Path) -> None:
    file = journal(folder, "tokens")
    file.write_bytes(file.read_bytes().replace(b'{"format":1', b'{"format":9', 1))
    with pytest.raises(Unreadable, match="has format 9; this audit reads 1"):
        audited(folder)


def test_a_clients_journal_that_is_cut_off_or_missing_is_refused(folder: Path) -> None:
    file = folder / "client.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(Unreadable, match="is cut off"):
        audited(folder)
    file.unlink()
    with pytest.raises(Unreadable, match="cannot be read"):
        audited(folder)


@pytest.mark.parametrize("key", ["k", "2f1c-ñ", "x" * 255])
def test_the_audit_makes_a_purchases_id_as_the_front_door_does(key: str) -> None:
    for usuario in (1, 77, 10**12):
        assert purchase_id(usuario, key) == compra_id(usuario, key)


def test_a_record_of_another_kind_is_refused_by_name_and_place(folder: Path) -> None:
    edit(folder, "tokens", first(heard("compra.solicitada"), lambda record: [{**record, "words": 7}]))
    with pytest.raises(Unreadable, match=r"jsonl:\d+ is no record that this audit knows: .*words"):
        audited(folder)
