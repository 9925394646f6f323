"""The second judge, which decides every record again: whole books hold, and a lie is found in its own book and line."""

from __future__ import annotations

import asyncio
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from generated_books import generate

from loadgen.audit.audit import Books, audit
from loadgen.audit.books import from_folder
from loadgen.audit.model import SERVICES
from loadgen.audit.text import Unreadable
from loadgen.audit.verdict import Verdict

PURCHASES = 400
Record = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    asyncio.run(generate(folder, PURCHASES, batch=10))
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "books")
    return tmp_path / "books"


def judged(folder: Path) -> Verdict:
    return audit(Books(**{name: from_folder(folder, name) for name in SERVICES}))


def edit(
    folder: Path, service: str, wanted: Callable[[Record], bool], change: Callable[[Record], Record | None]
) -> None:
    """Change the first record that is wanted, or leave it out; the journal's chain stays as it should be."""
    (file,) = (folder / service).glob("journal-*.jsonl")
    file.with_suffix(".mark").unlink()
    header, *lines = file.read_bytes().splitlines()
    out, left = [header], True
    for line in lines:
        record: Record | None = json.loads(line)
        assert record is not None
        if left and wanted(record):
            left, record = False, change(record)
        if record is None:
            continue
        record.pop("crc")
        record |= {"seq": len(out), "batch": len(out)}
        body = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()[:-1]
        out.append(b'%s,"crc":"%08x"}' % (body, zlib.crc32(body)))
    assert not left
    file.write_bytes(b"\n".join(out) + b"\n")


def says(kind: str) -> Callable[[Record], bool]:
    return lambda record: any(word["type"] == kind for word in record["words"])


def heard(kind: str) -> Callable[[Record], bool]:
    return lambda record: record["id"].endswith(f":{kind}")


def word(**values: Any) -> Callable[[Record], Record]:
    return lambda record: {**record, "words": [{**record["words"][0], **values}, *record["words"][1:]]}


def field(**values: Any) -> Callable[[Record], Record]:
    return lambda record: {**record, "change": {**(record["change"] or {}), **values}}


BREACHES: dict[str, tuple[str, Callable[[Record], bool], Callable[[Record], Record | None], int]] = {
    "a balance": ("usuarios", says("saldo.reservado"), field(saldo=10**9), 1),
    "another's row": ("usuarios", says("saldo.reservado"), lambda r: {**r, "row": "77"}, 1),
    "held at another price": ("tokens", says("token.reservado"), word(precio=11), 6),
    "not sold in the row": ("tokens", says("compra.confirmada"), field(vendido=False), 6),
    "a name that nobody entered": ("tokens", says("compra.confirmada"), field(nombre="X"), 7),
    "full with nobody in line": (
        "tokens",
        says("token.reservado"),
        word(type="compra.rechazada", motivo="token-disputado"),
        13,
    ),
    "an unknown reason": ("tokens", says("compra.rechazada"), word(motivo="porque-si"), 13),
    "a record of 1999": ("transacciones", says("transaccion.registrada"), word(fecha="1999-01-01T00:00:00.000Z"), 5),
    "another's number": ("transacciones", says("transaccion.registrada"), word(transaccionId=2), 5),
    "a price at compras": ("compras", heard("token.reservado"), field(precio=7), 6),
    "a number at compras": ("compras", heard("transaccion.registrada"), field(transaccion_id=9999), 5),
    "an entry never applied": ("compras", heard("alta.aplicada"), lambda r: None, 4),
    "a sale that took nothing": ("usuarios", says("saldo.reservado"), lambda r: None, 7),
}


def test_whole_books_are_decided_again_without_a_breach(whole: Path) -> None:
    verdict = judged(whole)
    assert verdict.holds, verdict.breaches
    assert verdict.accepted == PURCHASES == verdict.sold + verdict.refused
    assert sum(verdict.work.records.values()) > 5 * PURCHASES


@pytest.mark.parametrize("what", BREACHES)
def test_a_lie_with_right_checksums_is_found_in_its_book(folder: Path, what: str) -> None:
    service, wanted, change, promise = BREACHES[what]
    edit(folder, service, wanted, change)
    verdict = judged(folder)
    assert promise in verdict.counts, verdict.breaches
    assert all(breach.says for breach in verdict.breaches)


def test_a_journal_that_a_service_would_refuse_is_not_judged(folder: Path) -> None:
    (file,) = (folder / "tokens").glob("journal-*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:5] + lines[6:]))
    with pytest.raises(Unreadable, match="record 5 is due"):
        judged(folder)
