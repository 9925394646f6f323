"""A backup of books in which no record says whose the message was: the words themselves tell where all agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from broker.messages import subject_of
from broker.services import SERVICES, Service
from ops.copies import Copy, Identity, cut

KEPT = Path(__file__).with_name("kept")


def records(service: str) -> list[bytes]:
    lines = [line for file in sorted((KEPT / service).glob("*.jsonl")) for line in file.read_bytes().splitlines(True)]
    return [line for line in lines if line.startswith(b'{"seq":')]


def copies(folder: Path, books: dict[Service, list[bytes]]) -> dict[Service, Copy]:
    found = {}
    for service, lines in books.items():
        found[service] = Copy(service, Identity("", 0), folder / service)
        found[service].write([b"".join(lines)])
    return found


def words(line: bytes) -> set[str]:
    said: list[dict[str, Any]] = json.loads(line)["words"]
    return {f"{subject_of(word)}:{word['type']}" for word in said}


def test_books_of_before_are_cut_back_to_where_no_book_has_heard_what_another_has_not_said(tmp_path: Path) -> None:
    books = {service: records(service) for service in SERVICES}
    assert not any(b'"from":' in line for lines in books.values() for line in lines)
    assert cut(copies(tmp_path, books)) == {service: len(lines) for service, lines in books.items()}
    for behind in SERVICES:
        half = {**books, behind: books[behind][: len(books[behind]) // 2]}
        (tmp_path / behind).unlink(missing_ok=True)
        ends = cut(copies(tmp_path, half))
        kept = {service: lines[: ends[service]] for service, lines in half.items()}
        assert 0 < sum(ends.values()) < sum(map(len, half.values()))
        said = {word for lines in kept.values() for line in lines for word in words(line)}
        ever = {word for lines in books.values() for line in lines for word in words(line)}
        heard = {json.loads(line)["id"] for lines in kept.values() for line in lines}
        assert heard & ever <= said, f"{behind} never said what another one has heard"
