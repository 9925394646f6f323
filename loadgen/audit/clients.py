"""What clients were told, against the books: each answer must be what the shop would have shown at some moment, and no
later answer may know less than an earlier one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import msgspec

from loadgen.audit import model
from loadgen.audit.books import Record
from loadgen.audit.findings import NONSENSE
from loadgen.audit.text import NotAShop, Text, Unreadable
from loadgen.audit.verdict import UNSET, Verdict

NAMESPACE: Final = uuid5(NAMESPACE_URL, "urn:zoco:compra").bytes
FORMAT: Final = 1
# These say nothing of what became of a purchase: no answer, come later, too many.
SILENT: Final = (None, 503, 429)
ENDS: Final = ("registrada", "rechazada")
# A purchase's row in the end, and what compras heard of it, in order.
Found = tuple[dict[str, Any], list[str]]
Purchase = Callable[[str], Found | None]


@dataclass(frozen=True, slots=True)
class ClientJournal:
    """One client's journal. Its notes are read anew each time, a line at a time."""

    file: Path

    def notes(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each line's number, and what it says. Raises Unreadable."""
        try:
            raw = self.file.open("rb")
        except PermissionError as error:
            says = "{file} cannot be read ({why}): read it as who wrote it"
            raise Unreadable(says, self.file, error.strerror) from error
        except OSError as error:
            raise NotAShop("{file} cannot be read ({why}): name it with --client", self.file, error.strerror) from error
        with raw:
            for number, line in enumerate(raw, 1):
                if not line.endswith(b"\n"):
                    says = "{file}, line {line} is cut off: the client died while it wrote; cut that line off"
                    raise Unreadable(says, self.file, number)
                try:
                    note = msgspec.json.decode(line)
                except msgspec.MsgspecError as error:
                    raise Unreadable("{file}, line {line} cannot be read: {error}", self.file, number, error) from error
                if not isinstance(note, dict):
                    raise Unreadable("{file}, line {line} cannot be read: it is no note of a client", self.file, number)
                yield number, note


def client_journal(file: Path) -> ClientJournal:
    """A client's journal, as `zoco load` and `zoco drill` write it."""
    return ClientJournal(file)


@dataclass(slots=True)
class _Request:
    """A request that has no answer yet: its line, what was asked, and how far its purchase was known to be then."""

    line: int
    key: str
    about: str
    usuario: int
    token: int
    maximo: int | None
    floor: int


@dataclass(slots=True)
class _Reading:
    """One journal on its way through the check."""

    file: Path
    asked: dict[int, _Request] = field(default_factory=dict)
    bad: dict[int, int] = field(default_factory=dict)
    # The latest version of a purchase that this client has seen; nothing for the first.
    known: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    closed: bool = False
    lines: int = 0


class Clients:
    """`check` the journals of clients against what is in the books."""

    def __init__(
        self, verdict: Verdict, purchase: Purchase, rewritten: Callable[[str], bool], first: Record | None, book: str
    ) -> None:
        """`purchase` says what the books have of one, and in which order its news came; `rewritten`, whether compras'
        book was written again since: then nobody knows when it came, and in which order.

        By the identity of compras' book a journal of another shop is told apart; or, where nobody wrote that down, by
        the first record of it.
        """
        self._verdict, self._purchase, self._rewritten = verdict, purchase, rewritten
        self._first, self._book = first, book

    def check(self, journals: Sequence[ClientJournal]) -> None:
        """Raises Unreadable."""
        asked = 0
        for journal in journals:
            reading = _Reading(journal.file)
            for line, note in journal.notes():
                try:
                    self._note(reading, line, note)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    says = "{file}, line {line} cannot be read: {error}"
                    raise Unreadable(says, journal.file, line, error) from error
                reading.lines = line
            asked += reading.requests
            if reading.requests and not reading.closed:
                for promise in (10, 12):
                    self._verdict.in_part(promise, "a client's journal ends early: what came later is not known")
        if not asked:
            reason = Text("the clients' journals are empty" if journals else "no client's journal was given")
            self._verdict.unchecked |= dict.fromkeys((10, 12), reason)
            self._verdict.in_part(4, "no client says what it was promised: a purchase that compras forgot is not seen")

    def _note(self, reading: _Reading, line: int, note: dict[str, Any]) -> None:
        reading.closed = False
        if "asks" in note:
            self._asks(reading, line, note)
        elif "status" in note:
            self._status(reading, note)
        elif "seen" in note:
            self._shown(reading, line, note["seen"])
        elif "ended" in note:
            self._ended(reading, line, note)
        elif "closed" in note:
            reading.closed = note["lines"] == line - 1
        elif "shop" in note:
            self._of_this_shop(reading, note["shop"])
        elif note.get("client") != FORMAT:
            if "client" not in note:
                raise Unreadable("{file}, line {line} cannot be read: it is no note of a client", reading.file, line)
            says = "{file} has format {version}; this audit reads {ours}"
            raise Unreadable(says, reading.file, note["client"], FORMAT)

    def _of_this_shop(self, reading: _Reading, shop: dict[str, Any]) -> None:
        first = self._first
        if self._book and shop.get("book") == self._book:
            return
        if first is not None and (shop["seq"], shop["time"], shop["crc"]) != (first.seq, first.time, first.crc):
            says = "{file} is of another shop: its first record is of {first}, and here of {here}"
            raise NotAShop(says, reading.file, shop["time"], first.time)

    def _asks(self, reading: _Reading, line: int, note: dict[str, Any]) -> None:
        asks, number = note["asks"], note["n"]
        reading.requests += 1
        if asks is None:
            reading.bad[number] = line
            return
        about = purchase_id(asks["usuarioId"], note["key"])
        floor = reading.known.get(about, 0)
        reading.asked[number] = _Request(
            line, note["key"], about, asks["usuarioId"], asks["tokenId"], asks.get("precioMaximo"), floor
        )

    def _status(self, reading: _Reading, note: dict[str, Any]) -> None:
        number, status = note["n"], note["status"]
        self._verdict.work.answers += 1
        if (line := reading.bad.pop(number, None)) is not None:
            if status in (200, 202) or (status not in SILENT and status >= 500):
                where = f"{reading.file}:{line}"
                self._breach(12, "POST", "bad input was not refused", where, "status", status)
            return
        request = reading.asked.pop(number)
        where = f"{reading.file}:{request.line}"
        if status in SILENT:
            return
        if status == 422:
            self._used_key(request, where)
        elif status in (200, 202):
            self._answered(reading, request, status, note.get("answer"), where)
        else:
            self._breach(12, request.about, "a good request was answered with an error", where, "status", status)

    def _used_key(self, request: _Request, where: str) -> None:
        """A 422 to a good request means that its key was used for something else."""
        found = self._purchase(request.about)
        if found is None:
            self._breach(10, request.about, "it was told that its key is used, and no purchase has it", where)
        elif (request.token, request.maximo) == (found[0].get("token_id"), found[0].get("precio_maximo")):
            self._breach(
                10, request.about, "it was told that its key is used for something else, and it is this", where
            )

    def _answered(self, reading: _Reading, request: _Request, status: int, answer: Any, where: str) -> None:
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            self._breach(
                12, request.about, "a good request was accepted with a strange answer", where, "answer", answer
            )
            return
        if answer["id"] != request.about:
            why = "this key of this buyer makes another purchase"
            self._breach(10, answer["id"], why, where, "id", answer["id"], request.about)
        found = self._purchase(answer["id"])
        if found is None:
            self._verdict.lost += 1
            self._breach(4, answer["id"], "it was accepted, and compras has no such purchase", where)
            return
        row, _ = found
        has = (row.get("usuario_id"), row.get("token_id"), row.get("precio_maximo"))
        asked = (request.usuario, request.token, request.maximo)
        if asked != has:
            self._breach(12, request.about, "the book has something else than was asked for", where, "asks", asked, has)
        if (status == 200) != (answer.get("estado") in ENDS):
            why = "200 is for what is over, 202 for what is under way"
            self._breach(12, request.about, why, where, "status", status, 200 if status == 202 else 202)
        self._told(reading, request.about, found, answer, request.floor, where)

    def _shown(self, reading: _Reading, line: int, view: Any) -> None:
        """What a client was shown without asking to buy: by GET, or as an event."""
        self._verdict.work.answers += 1
        where = f"{reading.file}:{line}"
        found = self._purchase(str(view.get("id"))) if isinstance(view, dict) else None
        if found is None:
            self._breach(12, "GET", "no purchase looks like this", where, "answer", view)
            return
        self._told(reading, view["id"], found, view, 0, where)

    def _told(
        self, reading: _Reading, about: str, found: Found, answer: dict[str, Any], floor: int, where: str
    ) -> None:
        matching = _matching(found, answer)
        if not matching and self._rewritten(about) and _could_be(found, answer):
            return
        if not matching:
            version = _nearest(_versions(*found), answer)
            for name in sorted(answer.keys() | version.keys()):
                if answer.get(name, UNSET) != version.get(name, UNSET):
                    self._breach(12, about, "it was told what never was", where, name, answer.get(name, UNSET),
                                 version.get(name, UNSET))  # fmt: skip
        elif matching[-1] < floor:
            versions = _versions(*found)
            estado, later = versions[matching[-1]].get("estado"), versions[min(floor, len(versions) - 1)].get("estado")
            self._breach(12, about, "it was told less than before", where, "estado", estado, later)
        elif matching[0] > reading.known.get(about, 0):
            reading.known[about] = matching[0]

    def _ended(self, reading: _Reading, line: int, note: dict[str, Any]) -> None:
        about, where = note["ended"], f"{reading.file}:{line}"
        self._verdict.work.answers += 1
        found = self._purchase(about)
        if found is None:
            self._breach(4, about, "its end was seen, and compras has no such purchase", where)
            return
        row, heard = found
        if note["estado"] != row.get("estado") or note["estado"] not in ENDS:
            self._breach(12, about, "its end was seen, and the book has another", where, "estado", note["estado"],
                         row.get("estado"))  # fmt: skip
        elif note["estado"] == "rechazada" and note.get("motivo") != row.get("motivo"):
            why = "its end was seen, and the book has another"
            self._breach(12, about, why, where, "motivo", note.get("motivo"), row.get("motivo"))
        else:
            seen = [number for number, one in enumerate(_versions(row, heard)) if one.get("estado") == note["estado"]]
            reading.known[about] = min(seen, default=0)

    def _breach(
        self, promise: int, about: str, why: str, where: str, field: str = "", stands: Any = UNSET, rules: Any = UNSET
    ) -> None:
        self._verdict.breach(promise, about, why, book="clients", where=where, field=field, stands=stands, rules=rules)


def _versions(row: dict[str, Any], heard: list[str]) -> list[dict[str, Any]]:
    """What was shown of a purchase, from first to last; of a row that makes no sense only how it stands."""
    try:
        return [model.version(row, heard[:count]) for count in range(1, len(heard) + 1)]
    except NONSENSE:
        return [row]


def _matching(found: Found, answer: dict[str, Any]) -> list[int]:
    """The versions of a purchase that are just what a client was told: first those with a history as long."""
    row, heard = found
    with suppress(*NONSENSE):
        steps = accumulate(kind in model.STATES for kind in heard)
        likely = [number for number, count in enumerate(steps) if count == len(answer["historia"])]
        if matching := [number for number in likely if model.version(row, heard[: number + 1]) == answer]:
            return matching
    return [number for number, version in enumerate(_versions(row, heard)) if version == answer]


def _could_be(found: Found, answer: dict[str, Any]) -> bool:
    """Whether it was ever shown like this, with its news in any order and at any time."""
    row, heard = found
    with suppress(*NONSENSE):
        states = {step["estado"] for step in answer["historia"]}
        version = model.version(row, [kind for kind in heard if model.STATES.get(kind) in states])
        return _undated(version) == _undated(answer)
    return False


def _undated(shown: dict[str, Any]) -> dict[str, Any]:
    return {**shown, "historia": [step["estado"] for step in shown["historia"]]}


def _nearest(versions: list[dict[str, Any]], answer: dict[str, Any]) -> dict[str, Any]:
    """The version that an answer must have meant: of those in its state the likest."""
    return max(
        versions,
        key=lambda version: (
            version.get("estado") == answer.get("estado"),
            sum(answer.get(name) == value for name, value in version.items()),
        ),
    )


def purchase_id(usuario: int, key: str) -> str:
    """The UUID, version 5, that the design makes of a buyer and a key; `uuid.uuid5` takes three times as long."""
    digest = hashlib.sha1(NAMESPACE + f"{usuario}:{key}".encode()).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
