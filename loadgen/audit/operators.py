"""What operators were told of their entries (users, top-ups, tokens), against compras' book: each is there as it was
sent, under the one id that its key makes. What came of it at its service the other promises say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from loadgen.audit import model
from loadgen.audit.books import Journal
from loadgen.audit.bounds import OPTIONAL, sound
from loadgen.audit.clocks import entered as number_of
from loadgen.audit.findings import SEED
from loadgen.audit.keys import BY_OTHERS, Place, entry_id
from loadgen.audit.keys import Journal as Notes
from loadgen.audit.order import Answered, Asked, Order
from loadgen.audit.showing import Showing
from loadgen.audit.text import Text
from loadgen.audit.told import same
from loadgen.audit.verdict import UNSET, Verdict

Row = dict[str, Any]
# These say nothing of what became of a request: no answer, it took too long to come, come later; and a proxy that has
# none, as the front door died or stands still.
SILENT: Final = (None, 408, 429, 502, 503, 504)
# Who asked is not the operator, or there is none.
STRANGERS: Final = (401, 403)
# What an entry is by its path, and whose.
KINDS: Final = {
    ("usuarios",): ("usuario.registrado", "usuarioId"),
    ("usuarios", "recargas"): ("saldo.recargado", "usuarioId"),
    ("tokens",): ("token.publicado", "tokenId"),
}
# What compras gives an entry.
GIVEN: Final = ("altaId", "fecha", "orden", "catalogo")
MONEY: Final = ("usuarioId", "saldo", "monto")
IN_FORCE: Final = "aplicada"


# Of two about the same the one with the higher number is in force.
NUMBERED: Final = ("usuario.registrado", "token.publicado")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that has no answer yet: where it stands, its id, what compras should have, and whether its client knew
    by then that it is in force."""

    place: Place
    about: str
    due: Row
    known: bool

    @property
    def subject(self) -> tuple[str, Any]:
        """What it is about, with whatever else is entered about that."""
        kind = self.due["tipo"]
        return kind, self.due["tokenId" if kind == "token.publicado" else "usuarioId"]

    @property
    def is_good(self) -> bool:
        """Whether it may be accepted."""
        fields = {name: value for name, value in self.due.items() if name != "tipo"}
        names = [name for name in model.ASKED[self.due["tipo"]] if name not in GIVEN]
        whole = all(name in fields or name in OPTIONAL for name in names)
        return whole and fields.keys() <= set(names) and all(sound(name, value) for name, value in fields.items())


def entered(note: Row, place: Place, applied: Collection[str] = ()) -> Entry:
    """What a note says that was entered. Raises ValueError where no operator enters that."""
    first, number, *rest = note["enters"].removeprefix("/").split("/")
    if (found := KINDS.get((first, *rest))) is None:
        raise ValueError(f"nothing is entered at {note['enters']}")
    about = entry_id(note["key"])
    body = {name: value for name, value in note["body"].items() if value is not None or name not in OPTIONAL}
    return Entry(place, about, {"tipo": found[0], found[1]: int(number), **body}, about in applied)


class Operators:
    """Hears of entries and their answers; `settle` when all journals were read."""

    def __init__(self, verdict: Verdict, showing: Showing, compras: Journal) -> None:
        self._verdict, self._showing, self._compras = verdict, showing, compras
        self._unanswered: dict[str, Entry] = {}
        # What operators were told of that came later than these books go.
        self._since: set[str] = set()
        # What an answered entry is about, and what another one is about that was entered after such an answer.
        self._answered: set[int] = set()
        self._twice: set[tuple[str, Any]] = set()

    def asked(self, entry: Entry) -> None:
        """It was sent."""
        if entry.due["tipo"] in NUMBERED and hash(entry.subject) in self._answered:
            self._twice.add(entry.subject)

    def unanswered(self, entry: Entry) -> None:
        """Nobody said what became of it."""
        self._unanswered[entry.about] = entry

    def told(self, entry: Entry, status: int | None, answer: Any, applied: set[str]) -> None:
        """`applied` hears which is in force, as its client knows now."""
        if status in SILENT:
            self.unanswered(entry)
        elif status in (200, 202):
            self._accepted(entry, status, answer, applied)
        elif status == 422:
            self._used_key(entry)
        elif status not in STRANGERS and (entry.is_good or status >= 500):
            self._breach(12, entry, "a good entry was answered with an error", "status", status)

    def settle(self, journals: Iterable[Notes], *, alone: bool) -> None:
        """`alone`: nobody else ever entered anything, and the journals lack nothing. Raises Unreadable."""
        journals = list(journals)
        self._in_order(journals)
        doubts = {about: has for about, entry in self._unanswered.items() if (has := self._other(entry)) is not None}
        if self._since:
            says = (
                "of {count:,} entries operators were told more than is in this backup: whoever puts it back loses that"
            )
            self._verdict.in_part(12, Text(says, len(self._since)))
        if not doubts and not alone:
            return
        named: set[int] = set()
        for file, notes in journals:
            for line, note in notes():
                if "enters" in note:
                    entry = entered(note, Place(file, line))
                    named.add(hash(entry.about))
                    if entry.about in doubts and same(entry.due, doubts[entry.about]):
                        del doubts[entry.about]
        for about, has in doubts.items():
            if alone:
                self._differs(self._unanswered[about], has)
            else:
                self._verdict.in_part(10, BY_OTHERS)
        if alone and not named:
            self._verdict.in_part(1, "the clients' journals name no entry: what else was entered is not known")
        elif alone:
            self._others(named)

    def _in_order(self, journals: Iterable[Notes]) -> None:
        """Of two entries about one user or token the second, sent after the first was answered, is the later one."""
        order = Order()
        for file, notes in journals if self._twice else ():
            order.read(file, self._told_of(notes()))
        for about, file, line in order.wrong(self._number):
            why = "another entry about the same was answered before it was sent, and has a number no lower"
            self._verdict.breach(7, about, why, book="clients", where=str(Place(file, line)), field="orden")

    def _told_of(self, notes: Iterator[tuple[int, Row]]) -> Iterator[Asked | Answered]:
        """What was sent, and what was accepted, of all that is about something that was entered twice."""
        under_way: dict[Any, Entry] = {}
        for line, note in notes:
            if "enters" in note:
                entry = entered(note, Place(Path(), line))
                if entry.subject in self._twice:
                    under_way[note["n"]] = entry
                    yield Asked(entry.about, entry.subject, line)
            elif note.get("status") in (200, 202) and (told := under_way.pop(note["n"], None)) is not None:
                yield Answered(told.about)

    def _number(self, about: str) -> tuple[int, str] | None:
        """By what the later of two is told; None: the book has none, or it is that of a version that gave no number."""
        row = self._row(about)
        message = (row or {}).get("mensaje") or {}
        return number_of(message) if message.get("orden") else None

    def _others(self, named: Collection[int]) -> None:
        """Those that are in compras' book, and nobody has sent."""
        for place, saying in self._compras.sayings():
            about, _, kind = saying.id.rpartition(":")
            if kind in model.REQUESTS[1:] and hash(about) not in named and not about.startswith(SEED):
                promise = 7 if kind == "token.publicado" else 1
                where = partial(self._compras.where, place)
                why = "compras has an entry that nobody has sent"
                self._verdict.breach(promise, about, why, book="compras", where=where, field="id", stands=saying.id)

    def _accepted(self, entry: Entry, status: int, answer: Any, applied: set[str]) -> None:
        self._verdict.work.answers += 1
        self._unanswered.pop(entry.about, None)
        self._answered.add(hash(entry.subject))
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            self._breach(12, entry, "a good entry was accepted with a strange answer", "answer", answer)
            return
        if answer["id"] != entry.about:
            self._breach(10, entry, "this key makes another entry", "id", answer["id"], entry.about)
        if (status == 200) != (answer.get("estado") == IN_FORCE):
            why = "200 is for what is over, 202 for what is under way"
            self._breach(12, entry, why, "status", status, 200 if status == 202 else 202)
        if (row := self._row(answer["id"])) is None:
            if self._verdict.cut:
                self._since.add(entry.about)
            else:
                self._breach(_promise(entry.due, 4), entry, "it was accepted, and compras has no such entry")
            return
        self._differs(entry, _has(row))
        self._shown(entry, row, answer)
        if answer.get("estado") == IN_FORCE:
            applied.add(entry.about)
        elif entry.known and not self._showing.rewritten(entry.about):
            self._breach(12, entry, "it was told less than before", "estado", answer.get("estado"), IN_FORCE)

    def _shown(self, entry: Entry, row: Row, answer: Row) -> None:
        """What it was told is how it stood once."""
        due = model.entry_shown(row)
        if answer.get("estado") == "solicitada":
            due["estado"] = "solicitada"
        elif answer.get("estado") == IN_FORCE and self._verdict.cut and due["estado"] == "solicitada":
            due["estado"] = IN_FORCE
            self._since.add(entry.about)
        for name in sorted(answer.keys() | due.keys()):
            if not same(stands := answer.get(name, UNSET), rules := due.get(name, UNSET)):
                self._breach(12, entry, "it was told what never was", name, stands, rules)

    def _used_key(self, entry: Entry) -> None:
        """A 422 to a good entry means that its key was used for something else."""
        if (row := self._row(entry.about)) is not None:
            if same(entry.due, _has(row)):
                self._breach(10, entry, "it was told that its key is used for something else, and it is this")
        elif self._verdict.cut:
            self._since.add(entry.about)
        elif entry.is_good:
            self._breach(10, entry, "it was told that its key is used, and no entry has it")

    def _differs(self, entry: Entry, has: Row) -> None:
        for name in sorted(entry.due.keys() | has.keys()):
            if not same(asks := entry.due.get(name, UNSET), stands := has.get(name, UNSET)):
                why = "the book has something else than was entered"
                self._breach(1 if name in MONEY else 12, entry, why, name, asks, stands)

    def _other(self, entry: Entry) -> Row | None:
        """What compras has under its key, if that is something else."""
        row = self._row(entry.about)
        return None if row is None or same(entry.due, has := _has(row)) else has

    def _row(self, about: str) -> Row | None:
        found = self._showing.purchase(about, mark="tipo")
        return found and found[0]

    def _breach(
        self, promise: int, entry: Entry, why: str, field: str = "", stands: Any = UNSET, rules: Any = UNSET
    ) -> None:
        where = str(entry.place)
        self._verdict.breach(
            promise, entry.about, why, book="clients", where=where, field=field, stands=stands, rules=rules
        )


def _has(row: Row) -> Row:
    """What compras has of an entry, as its client sent it."""
    return {"tipo": row["tipo"], **{name: value for name, value in row["mensaje"].items() if name not in GIVEN}}


def _promise(due: Row, else_: int) -> int:
    """Of what is lost with it."""
    return 1 if due.get("monto") or due.get("saldo") else else_
