"""Who gets a token and who pays for it: every record of tokens, usuarios and transacciones is decided again, in an
order in which who says something comes before who hears it.

Each journal is read once, as a stream. What was said and not yet heard, the purchases that are under way and the rows
that live are in memory. After a breach a journal goes on as it is written, so that one wrong record is one finding and
not a thousand.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Final

from loadgen.audit import model
from loadgen.audit.books import Journal, Record, Saying
from loadgen.audit.bounds import sound
from loadgen.audit.compare import as_written, same
from loadgen.audit.findings import BITS, NONSENSE, SEED, Message, Row, Word, said, subject
from loadgen.audit.heights import came_from, hear
from loadgen.audit.line import Line
from loadgen.audit.model import Impossible
from loadgen.audit.rules import Rules
from loadgen.audit.stories import NOT_YET, OVER, Heard, Stories, Story
from loadgen.audit.text import Text
from loadgen.audit.verdict import Verdict

SEED_ID: Final = re.compile(r"semilla:[1-9]\d{0,15}")
SEED_FECHA: Final = "1970-01-01T00:00:00Z"
SEEDED: Final = {"usuarios": "usuario.registrado", "tokens": "token.publicado"}


class Selling(Stories):
    """`run` once; then `tokens`, `sold`, `users` and `seeded` are what the books come to."""

    def __init__(self, journals: Mapping[str, Journal], verdict: Verdict, line: int = model.LINE) -> None:
        super().__init__(journals, verdict)
        self.users: dict[str, Row] = {}
        self.tokens: dict[str, Row] = {}
        # Tokens that are sold: the place of their last record.
        self.sold: dict[str, int] = {}
        # What the seed brought: the entry of each new row.
        self.seeded: dict[str, dict[str, Row]] = {"usuarios": {}, "tokens": {}}
        # And all that it said, also of rows that were there before.
        self.imported: dict[str, set[str]] = {"usuarios": set(), "tokens": set()}
        self._sales: Row | None = None
        self._given: Counter[str] = Counter()
        self._spent: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._ruled = Rules(self)
        self._rules: dict[str, Callable[..., tuple[Row, list[Row]]]] = {
            "tokens": model.tokens(line),
            "usuarios": model.usuarios,
            "transacciones": model.transacciones,
        }
        self._rows: dict[str, Callable[[str], Row | None]] = {
            "tokens": self._token,
            "usuarios": self.users.get,
            "transacciones": lambda _: self._sales,
        }
        self._take_in: dict[str, Callable[[str, Row, int], None]] = {
            "tokens": self._token_is,
            "usuarios": self._user_is,
            "transacciones": self._sales_are,
        }

    def run(self) -> None:
        """Decide all of it again. Raises Unreadable."""
        self.read()
        self._money()

    def decided(self, service: str) -> Iterator[None]:
        """One journal's records, one after the other; stops where it hears what was not said yet."""
        pending, done = self.pending[service], 0
        for place, record in self.journals[service].records():
            hear(self, service, record, place)
            if not record.generation:
                self.guessed.discard(service)
            word, story = pending.pop(record.id, NOT_YET)
            if word is None:
                word, story = yield from self._wait(service, record, place)
            about, _, kind = record.id.rpartition(":")
            before = story.heard.get(service, 0)
            if word is not None:
                story.open -= 1
            if before & (bit := BITS.get(kind, 0)):
                self.again(service, record, place)
                word = None
            story.heard[service] = before | bit
            try:
                if word is not None:
                    came_from(self, service, record, place, word)
                    self._decide(service, record, place, word.message)
                if record.words:
                    self.pass_on(service, story, about, record, place)
                if record.change:
                    self._take_in[service](record.row, record.change, place)
            except NONSENSE as error:
                self.nonsense(service, record, place, error)
            if not story.open and story.said & OVER:
                self.over(about, story)
            done += 1
        self.guessed.discard(service)
        self.verdict.work.records[service] = done

    def _wait(self, service: str, record: Record, place: int) -> Generator[None, None, Heard]:
        """What a record heard that was not said yet: by another service later on, or by a seed."""
        about, _, kind = record.id.rpartition(":")
        if SEEDED.get(service) != kind or not SEED_ID.fullmatch(about):
            return (yield from self.heard(service, record, place))
        story = self.story(about)
        story.open += 1
        try:
            return Word(self._seed(service, about, record, place)), story
        except NONSENSE as error:
            self.nonsense(service, record, place, error)
            story.open -= 1
            return None, story

    def _decide(self, service: str, record: Record, place: int, message: Message) -> None:
        """Decide one record again, and compare all that it did and said."""
        self.of_row(service, record, place, model.key(service, message))
        kept = message if record.origin and model.keeps(service, message) else None
        if not same(record.message, kept):
            why = "the record keeps another message than it heard"
            self.breach(7, subject(record.id), why, service, place, "message", record.message, kept)
        by = (record.rules,) if service == "tokens" else ()
        self._ruled.said(service, record, place, message)
        row, got = self._rows[service](record.row), record.change or {}
        try:
            change, words = self._rules[service](row, message, *by)
        except Impossible as error:
            self.impossible(service, record, place, error)
            return
        if by and by[0] != model.RULES and model.ruled(service, message):
            self._ruled.believed((change, words), self._rules[service](row, message))
        change = as_written(service, row, got, change)
        if same(got, change) and same(record.words, words):
            self.right(change, words)
        else:
            self.wrong(service, record, place, got, change, words)
        if service == "usuarios":
            self._entered(record.row, row, message)

    def pass_on(self, service: str, own: Story, own_about: str, record: Record | Saying, place: int) -> None:
        for word in record.words if service == "tokens" else ():
            if word.get("type") == "compra.confirmada" and (about := said(service, word)[0]):
                self._sale(about, word, place)
        super().pass_on(service, own, own_about, record, place)

    def _sale(self, about: str, sale: Message, place: int) -> None:
        token = str(sale["tokenId"])
        self._spent[str(sale["usuarioId"])] += sale["precio"]
        if token in self.sold:
            self.verdict.oversold += 1
            self.breach(3, f"token {token}", "it was sold before", "tokens", place, "words", about)
        self.sold.setdefault(token, place)

    # The rows

    def _token(self, key: str) -> Row | None:
        if (row := self.tokens.get(key)) is None and key in self.sold:
            row = self.sold_token(key)
        return row

    def sold_token(self, key: str) -> Row:
        """The row of a token that is sold, with nobody in its line."""
        return {**(self.journals["tokens"].record(self.sold[key]).change or {}), "cola": ()}

    def _token_is(self, key: str, got: Row, place: int) -> None:
        row = {**(self._token(key) or {}), **got}
        if (moved := got.get("cola")) is not None:
            before = self.tokens.get(key, {}).get("cola", ())
            if moved["joined"] or before:
                line = before if isinstance(before, Line) else Line(before)
                line.leave(moved["left"])
                line.join(moved["joined"])
                row["cola"] = line or ()
            else:
                row["cola"] = ()
        if row["vendido"] and got.keys() == row.keys():
            self.sold[key] = place
            self.tokens.pop(key, None)
        else:
            self.tokens[key] = row

    def _user_is(self, key: str, got: Row, place: int) -> None:
        before = self.users.get(key, {})
        user = self.users[key] = {**before, **got}
        if isinstance(moved := user.get("esperan"), dict):
            user["esperan"] = before.get("esperan", [])
            user["esperan"] += moved["joined"]
        if user["saldo"] < 0:
            why = "the balance is below zero"
            self.breach(2, Text("user {user}", key), why, "usuarios", place, "change.saldo", user["saldo"])

    def _sales_are(self, _key: str, got: Row, _place: int) -> None:
        self._sales = got

    def _entered(self, key: str, row: Row | None, entry: Message) -> None:
        """What was given to a user, and when it counts."""
        kind, known = entry["type"], row is not None and row["nombre"] is not None
        if kind == "saldo.recargado":
            (self._given if known else self._waiting)[key] += entry["monto"]
        elif kind == "usuario.registrado" and not known:
            self._given[key] += (entry.get("saldo") or 0) + self._waiting.pop(key, 0)

    # The seed

    def _seed(self, service: str, about: str, record: Record, place: int) -> Message:
        """What the seed must have said, as far as the record tells: only what is new can come of it."""
        got, number = record.change or {}, int(about.removeprefix(SEED))
        self.imported[service].add(str(number))
        entry: Row = {"type": SEEDED[service], "altaId": about, "fecha": SEED_FECHA, "nombre": got.get("nombre", "")}
        if service == "tokens":
            entry |= {"tokenId": number, "imagen": got.get("imagen", ""), "precio": got.get("precio", 0)}
            new = record.row not in self.tokens and record.row not in self.sold
        else:
            row = self.users.get(record.row)
            waiting = sum(top_up["monto"] for top_up in row["esperan"]) if row else 0
            saldo = got.get("saldo", waiting)
            entry |= {"usuarioId": number, "saldo": saldo - waiting if isinstance(saldo, int) else saldo}
            new = row is None or row["nombre"] is None
        if new:
            self.seeded[service][record.row] = entry
            # What only this record has, and no message.
            if not all(sound(name, value) for name, value in entry.items() if name != "type"):
                self.breach(1, about, "no seed can bring this", service, place, "change", dict(entry))
        return entry

    def _money(self) -> None:
        """Promise 1, user by user, by adding up."""
        for word, _ in self.pending["tokens"].values() if self.verdict.unsettled else ():
            # Paid, and tokens has not heard of it yet.
            if word is not None and word.message["type"] == "saldo.reservado":
                self._spent[str(word.message["usuarioId"])] += word.message["precio"]
        for key in {**self.users, **self._spent}:
            has, spent, given = self.users.get(key, {}).get("saldo", 0), self._spent[key], self._given[key]
            if not isinstance(has, int) or has + spent != given:
                why = "what was given is not what is there and what was spent"
                self.breach(1, Text("user {user}", key), why, "usuarios", None, "saldo", has, given - spent)
