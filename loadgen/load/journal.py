"""What a client writes down, as JSON lines: each request before it is sent, what came of it, and what it saw. An
operator's entries, too: users, top-ups, tokens.

    {"client":1,"url":"http://…","started":"2026-…Z"}             first; 1 is the format
    {"shop":{"seq":1,"time":"…","crc":"…","book":"…"}}            record 1 of compras' journal, once it is known
    {"n":1,"t":…,"key":"…","asks":{"usuarioId":1,"tokenId":2}}    before each POST ("asks":null,"raw":"…": a bad one)
    {"n":1,"t":…,"status":202,"answer":…}                         or "status":null,"lost":"TimeoutError"
    {"n":2,"t":…,"key":"…","enters":"/usuarios/1/recargas","body":{"monto":5}}     before each entry, at that path
    {"t":…,"ended":"<purchase>","estado":"rechazada","motivo":"…"}
    {"t":…,"seen":{"id":"…","usuarioId":1,…}}                     how a purchase was shown, by GET or as an event
    {"t":…,"looked":"<purchase>","status":404}                    it was asked for by GET, and not shown
    {"t":…,"closed":true,"lines":5,"clockSet":0.001}              last: so many lines stand before it

`t` is seconds since 1970 (`clock.py`), `clockSet` by how many the clock was set meanwhile; null: nobody knows that.
An answer stands there as it came; one that is no JSON as text, cut.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.load.clock import CLOCK

FORMAT: Final = 1
JOURNAL: Final = "client.jsonl"
# How much of a bad request's body, and of an answer that is no JSON, is written down, in characters.
RAW_NOTED: Final = 200


def journal_of(folder: Path, worker: int) -> Path:
    """client.jsonl, client-2.jsonl, …"""
    return folder / (JOURNAL if worker == 1 else f"client-{worker}.jsonl")


class ClientJournal:
    """One file, written by one client at a time. A client that comes later goes on where the last one closed it."""

    def __init__(self, file: Path, url: str) -> None:
        """Raises OSError."""
        self._shop: Any = None
        self._number = self._lines = 0
        self._clock_set: float | None = 0.0
        self._file = file.open("a+b", buffering=0)
        if self._go_on(file) == 0:
            self._write({"client": FORMAT, "url": url, "started": CLOCK.utc()})

    def asks(self, key: str, body: dict[str, Any]) -> int:
        """A request is about to be sent. Its number."""
        self._number += 1
        self._write({"n": self._number, "t": CLOCK.now(), "key": key, "asks": body})
        return self._number

    def asks_badly(self, body: bytes) -> int:
        """The same of one that no client should send."""
        self._number += 1
        raw = body.decode("latin-1")[:RAW_NOTED]
        self._write({"n": self._number, "t": CLOCK.now(), "asks": None, "raw": raw})
        return self._number

    def enters(self, key: str, path: str, body: dict[str, Any]) -> int:
        """The same of an operator's entry."""
        self._number += 1
        self._write({"n": self._number, "t": CLOCK.now(), "key": key, "enters": path, "body": body})
        return self._number

    def told(self, number: int, status: int, answer: Any) -> None:
        self._write({"n": number, "t": CLOCK.now(), "status": status, "answer": answer})

    def lost(self, number: int, why: str) -> None:
        """No answer came."""
        self._write({"n": number, "t": CLOCK.now(), "status": None, "lost": why})

    def ended(self, about: str, estado: str, motivo: str | None) -> None:
        """The end of a purchase was seen."""
        why = {} if motivo is None else {"motivo": motivo}
        self._write({"t": CLOCK.now(), "ended": about, "estado": estado, **why})

    def seen(self, shown: Any) -> None:
        """A purchase was shown so."""
        self._write({"t": CLOCK.now(), "seen": shown})

    def not_shown(self, about: str, status: int) -> None:
        """Whoever asked for a purchase that was accepted was answered so."""
        self._write({"t": CLOCK.now(), "looked": about, "status": status})

    @property
    def knows_shop(self) -> bool:
        return self._shop is not None

    def shop(self, record: dict[str, Any], book: str) -> None:
        """By the identity of compras' book a shop is told from another one, or by this record 1 of it."""
        found = {**{name: record.get(name) for name in ("seq", "time", "crc")}, "book": book}
        if found != self._shop:
            self._shop = found
            self._write({"shop": found})

    def close(self) -> None:
        self._write({"t": CLOCK.now(), "closed": True, "lines": self._lines, "clockSet": self._clock_set})
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self._clock_set is not None:
            self._clock_set = max(self._clock_set, round(CLOCK.set_seconds, 3))
        # What we say of ourselves is a Text, which msgspec takes for no string.
        self._file.write(msgspec.json.encode(line, enc_hook=str.__str__) + b"\n")
        self._lines += 1

    def _go_on(self, file: Path) -> int:
        """Read what is there, and take its closing line away. The number of lines left."""
        size, last = 0, b""
        # Not by the file that is written, which has no buffer: it would be read byte by byte.
        with file.open("rb") as before:
            for last in before:
                size += len(last)
                self._lines += 1
                note = _decoded(last)
                self._number = max(self._number, note.get("n", 0))
                self._shop = note.get("shop", self._shop)
        if last:
            self._clock_set = _decoded(last).get("clockSet")
        if _decoded(last).get("closed"):
            self._file.truncate(size - len(last))
            self._lines -= 1
        elif last and not last.endswith(b"\n"):
            # Whoever wrote it died of it: that line stays as it is, for the audit to see.
            self._file.write(b"\n")
        return self._lines


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        note = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return {}
    return note if isinstance(note, dict) else {}


def answer_of(raw: bytes) -> Any:
    """The body of an answer: what its JSON says, or its text, cut."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw.decode("utf-8", errors="replace")[:RAW_NOTED]
