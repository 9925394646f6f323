"""What clients were told, against the books: each answer must be what the shop would have shown at some moment, and no
later answer may know less than an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.audit import told
from loadgen.audit.books import Record
from loadgen.audit.keys import Keys, Place, asked, bought
from loadgen.audit.operators import SILENT, Operators, entered
from loadgen.audit.owed import Owed
from loadgen.audit.reading import Reading, Request
from loadgen.audit.text import NotAShop, Text, Unreadable
from loadgen.audit.told import BITS, ENDS, Found, Purchase
from loadgen.audit.verdict import Verdict

FORMAT: Final = 1


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


class Clients:
    """`check` the journals of clients against what is in the books."""

    def __init__(
        self, verdict: Verdict, purchase: Purchase, rewritten: Callable[[str], bool], operators: Operators,
        first: Record | None, book: str,
    ) -> None:  # fmt: skip
        """`purchase` says what the books have of one, and in which order its news came; `rewritten`, whether compras'
        book was written again since: then nobody knows when it came, and in which order. `operators` hears of entries.

        By the identity of compras' book a journal of another shop is told apart; or, where nobody wrote that down, by
        the first record of it.
        """
        self._verdict, self._purchase, self._rewritten = verdict, purchase, rewritten
        self._operators, self._first, self._book = operators, first, book
        self._keys = Keys(verdict, purchase)
        self._breach = self._keys.breach
        self._owed = Owed(verdict, purchase, rewritten)

    def check(self, journals: Sequence[ClientJournal]) -> None:
        """Raises Unreadable."""
        readings = [self._read(journal) for journal in journals]
        early = [reading for reading in readings if (reading.requests or reading.entries) and not reading.closed]
        for promise in (10, 12) if early else ():
            self._verdict.in_part(promise, "a client's journal ends early: what came later is not known")
        notes = [(journal.file, journal.notes) for journal in journals]
        self._keys.settle(notes, whole=not early)
        self._owed.settle(notes)
        self._operators.settle(notes, alone=self._verdict.alone and not early)
        if not any(reading.requests for reading in readings):
            reason = Text("the clients' journals are empty" if journals else "no client's journal was given")
            self._verdict.unchecked |= dict.fromkeys((10, 12), reason)
            self._verdict.in_part(4, "no client says what it was promised: a purchase that compras forgot is not seen")

    def _read(self, journal: ClientJournal) -> Reading:
        reading = Reading(journal.file)
        for line, note in journal.notes():
            try:
                self._note(reading, line, note)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                says = "{file}, line {line} cannot be read: {error}"
                raise Unreadable(says, journal.file, line, error) from error
        for request in reading.asked.values():
            self._keys.unanswered(request.about, request.body, request.place)
        for entry in reading.entered.values():
            self._operators.unanswered(entry)
        return reading.over()

    def _note(self, reading: Reading, line: int, note: dict[str, Any]) -> None:
        reading.closed = False
        self._owed.at = reading.place(line)
        if "asks" in note:
            self._asks(reading, line, note)
        elif "enters" in note:
            reading.entries += 1
            reading.entered[note["n"]] = entry = entered(note, reading.place(line), reading.applied)
            self._operators.asked(entry)
        elif "looked" in note:
            # A book that has to be written again first shows nothing until then.
            if (status := note["status"]) not in SILENT and not (status == 404 and self._rewritten(note["looked"])):
                why = "it was accepted, and is not shown to who asks for it"
                self._breach(12, note["looked"], why, reading.place(line), "status", status, 200)
        elif "status" in note:
            self._status(reading, line, note)
        elif "seen" in note:
            self._shown(reading, line, note["seen"])
        elif "ended" in note:
            self._ended(reading, line, note)
        elif "closed" in note:
            reading.closed = note["lines"] == line - 1
        elif "shop" in note:
            reading.check_shop(note["shop"], self._first, self._book)
        elif note.get("client") != FORMAT:
            if "client" not in note:
                raise Unreadable("{file}, line {line} cannot be read: it is no note of a client", reading.file, line)
            says = "{file} has format {version}; this audit reads {ours}"
            raise Unreadable(says, reading.file, note["client"], FORMAT)
        elif line > 1:
            says = "{file}, line {line}: another journal begins there; name each with a --client of its own"
            raise NotAShop(says, reading.file, line)

    def _asks(self, reading: Reading, line: int, note: dict[str, Any]) -> None:
        reading.requests += 1
        if note["asks"] is None:
            reading.bad[note["n"]] = line
            return
        (about, body), place = asked(note), reading.place(line)
        reading.asked[note["n"]] = Request(place, about, body, reading.known.get(about, 0))
        if (seen := reading.seen.pop(about, None)) is not None:
            self._keys.seen(about, reading.place(seen))
        if body[1] in reading.sold:
            self._keys.late(about, place)

    def _status(self, reading: Reading, line: int, note: dict[str, Any]) -> None:
        number, status = note["n"], note["status"]
        self._verdict.work.answers += 1
        if (bad := reading.bad.pop(number, None)) is not None:
            if status not in SILENT and not 400 <= status < 500:
                self._breach(12, "POST", "bad input was not refused", reading.place(bad), "status", status)
            return
        if (entry := reading.entered.pop(number, None)) is not None:
            self._operators.told(entry, status, note.get("answer"), reading.applied)
            return
        request = reading.asked.pop(number)
        if status in SILENT:
            self._keys.unanswered(request.about, request.body, request.place)
        elif status == 422:
            self._used_key(request, reading.place(line))
        elif status in (200, 202):
            self._answered(reading, request, status, note.get("answer"))
        else:
            why = "a good request was answered with an error"
            self._breach(12, request.about, why, request.place, "status", status)

    def _used_key(self, request: Request, told_at: Place) -> None:
        """A 422 to a good request means that its key was used for something else."""
        why = "it was told that its key is used, and no purchase has it"
        if (found := self._found(request.about, partial(self._breach, 10, request.about, why, request.place))) is None:
            return
        if told.same(request.body, bought(found[0])):
            why = "it was told that its key is used for something else, and it is this"
            self._breach(10, request.about, why, request.place)
        else:
            self._keys.used(request.about, told_at)

    def _answered(self, reading: Reading, request: Request, status: int, answer: Any) -> None:
        about, place = request.about, request.place
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            self._breach(12, about, "a good request was accepted with a strange answer", place, "answer", answer)
            return
        if answer["id"] != about:
            why = "this key of this buyer makes another purchase"
            self._breach(10, answer["id"], why, place, "id", answer["id"], about)
        if status != (due := 200 if answer.get("estado") in ENDS else 202):
            self._breach(12, about, "200 is for what is over, 202 for what is under way", place, "status", status, due)
        if (found := self._found(answer["id"], partial(self._lost, answer["id"], place))) is None:
            return
        self._keys.answered(about, found[0])
        if not told.same(request.body, has := bought(found[0])):
            why = "the book has something else than was asked for"
            self._breach(12, about, why, place, "asks", request.body, has)
        self._told(reading, about, found, answer, request.known, place)

    def _shown(self, reading: Reading, line: int, view: Any) -> None:
        """What a client was shown without asking to buy: by GET, or as an event."""
        self._verdict.work.answers += 1
        place = reading.place(line)
        about = str(view.get("id")) if isinstance(view, dict) else ""
        why = "no purchase looks like this"
        if (found := self._found(about, partial(self._breach, 12, "GET", why, place, "answer", view))) is not None:
            reading.foresees(about, line)
            self._told(reading, about, found, view, 0, place)

    def _told(
        self, reading: Reading, about: str, found: Found, answer: dict[str, Any], known: int, place: Place
    ) -> None:
        """`known` are the states that its client had heard of when it asked (BITS)."""
        rewritten = self._rewritten(about)
        if not (told.was_shown(found, answer) or (rewritten and told.could_be(found, answer))):
            if not (self._verdict.cut and told.is_later(found, answer, undated=rewritten)):
                for name, stands, rules in told.differs(found, answer):
                    self._breach(12, about, "it was told what never was", place, name, stands, rules)
                return
            self._owed.add(about)
        knows = told.known_by(answer)
        if known & ~knows:
            less, more = told.states(knows), told.states(known)
            self._breach(12, about, "it was told less than before", place, "historia", less, more)
        reading.learns(about, knows, found[0].get("token_id"), answer.get("motivo"))

    def _ended(self, reading: Reading, line: int, note: dict[str, Any]) -> None:
        about, place, end = note["ended"], reading.place(line), (note["estado"], note.get("motivo"))
        self._verdict.work.answers += 1
        why = "its end was seen, and compras has no such purchase"
        if (found := self._found(about, partial(self._breach, 4, about, why, place))) is None:
            return
        row = found[0]
        is_end = end[0] in ENDS and (end[1] is None) == (end[0] == "registrada")
        if is_end and self._verdict.cut and row.get("estado") not in ENDS:
            self._owed.add(about)
        elif not is_end or end != (row.get("estado"), row.get("motivo")):
            name = "estado" if end[0] != row.get("estado") else "motivo"
            why = "its end was seen, and the book has another"
            self._breach(12, about, why, place, name, note.get(name), row.get(name))
            return
        reading.foresees(about, line)
        reading.learns(about, BITS[end[0]], row.get("token_id"), end[1])

    def _found(self, about: str, missing: Callable[[], None]) -> Found | None:
        """What the books have of a purchase. Where they end before, and have none, it came later."""
        if (found := self._purchase(about)) is None:
            if self._verdict.cut:
                self._owed.add(about, missing)
            else:
                missing()
        return found

    def _lost(self, about: str, place: Place) -> None:
        self._verdict.lost += 1
        self._breach(4, about, "it was accepted, and compras has no such purchase", place)
