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
from loadgen.audit.books import Journal, Record
from loadgen.audit.compare import as_written, same
from loadgen.audit.findings import BITS, NONSENSE, SEED, Findings, Message, Row, said, said_ever, subject
from loadgen.audit.line import Line
from loadgen.audit.model import CONSUMERS, Impossible
from loadgen.audit.text import Text
from loadgen.audit.verdict import UNSET, Verdict

DECIDE: Final = ("tokens", "usuarios", "transacciones")
SEED_ID: Final = re.compile(r"semilla:[1-9]\d{0,15}")
SEED_FECHA: Final = "1970-01-01T00:00:00Z"
SEEDED: Final = {"usuarios": "usuario.registrado", "tokens": "token.publicado"}
# What ends a purchase or an entry: who decides has no more to do with it.
OVER: Final = BITS["compra.rechazada"] | BITS["transaccion.registrada"] | BITS["alta.aplicada"]
HEARS: Final = {
    service: sum(BITS[kind] for kind, hearers in CONSUMERS.items() if service in hearers) for service in DECIDE
}
# How late each message is in a purchase: of two records that wait for each other, the later one came too early.
LATE: Final = {kind: number for number, kind in enumerate(CONSUMERS)}
# What was said and is in no book of who should have heard it breaks 4, but for this.
UNHEARD: Final = {"transacciones": 5}
# What was acted on and is in no book of who should have said it breaks, beside 7, also this.
UNSAID: Final = {("transacciones", "compra.confirmada"): 5, ("tokens", "saldo.reservado"): 6}
# So many requests are read ahead of who decides them.
AHEAD: Final = 1000


class Story:
    """What has been said and heard of a purchase or an entry (BITS); of `heard`, each service has its own."""

    __slots__ = ("heard", "open", "said")

    def __init__(self, said: int = 0) -> None:
        """One that was over has heard all that was said."""
        self.said = said
        self.heard = {service: said & hears for service, hears in HEARS.items()} if said else {}
        # How many messages about it were said and not heard yet.
        self.open = 0


Heard = tuple[Message | None, Story]
NOT_YET: Final[Heard] = None, Story()


class Selling(Findings):
    """`run` once; then `tokens`, `sold`, `users` and `seeded` are what the books come to."""

    def __init__(self, journals: Mapping[str, Journal], verdict: Verdict, line: int = model.LINE) -> None:
        super().__init__(journals, verdict)
        self.users: dict[str, Row] = {}
        self.tokens: dict[str, Row] = {}
        # Tokens that are sold: the place of their last record.
        self.sold: dict[str, int] = {}
        # What the seed brought: the entry of each new row.
        self.seeded: dict[str, dict[str, Row]] = {"usuarios": {}, "tokens": {}}
        self._sales: Row | None = None
        self._given: Counter[str] = Counter()
        self._spent: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._stories: dict[str, Story] = {}
        # Of what is over only a number, and what was said.
        self._over: dict[int, int] = {}
        # What each has to hear, by its id.
        self._pending: dict[str, dict[str, Heard]] = {service: {} for service in DECIDE}
        # The record at which each waits, and those that go on though nobody said what they heard.
        self._waits: dict[str, tuple[str, int]] = {}
        self._forced: set[tuple[str, str]] = set()
        self._ever: set[int] | None = None
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
        running: dict[str, Iterator[None]] = {service: self._decided_again(service) for service in DECIDE}
        asked = self._asked()
        while running:
            moved = next(asked, True) is None
            for service in list(running):
                before = self._waits.get(service)
                if next(running[service], True) is True:
                    del running[service]
                moved |= service not in running or self._waits[service] != before
            if running and not moved:
                self._force(running)
        self._unheard()
        self._money()

    def _asked(self) -> Iterator[None]:
        """What came to compras by HTTP, as it was said on, so many at a time."""
        for number, (place, saying) in enumerate(self.journals["compras"].sayings(), 1):
            about = subject(saying.id)
            self._say("compras", self._story(about), about, saying.words, place)
            if not number % AHEAD:
                yield

    def _decided_again(self, service: str) -> Iterator[None]:
        """One journal's records, one after the other; stops where it hears what was not said yet."""
        pending, done = self._pending[service], 0
        for place, record in self.journals[service].records():
            message, story = pending.pop(record.id, NOT_YET)
            if message is None:
                message, story = yield from self._wait(service, record, place)
            about, _, kind = record.id.rpartition(":")
            before = story.heard.get(service, 0)
            if message is not None:
                story.open -= 1
            if before & (bit := BITS.get(kind, 0)):
                self.again(service, record, place)
                message = None
            story.heard[service] = before | bit
            try:
                if message is not None:
                    self._decide(service, record, place, message)
                if record.words:
                    self._say(service, story, about, record.words, place)
                if record.change:
                    self._take_in[service](record.row, record.change, place)
            except NONSENSE as error:
                self.nonsense(service, record, place, error)
            if not story.open and story.said & OVER:
                self._over[hash(about)] = story.said
                self._stories.pop(about, None)
            done += 1
        self.verdict.work.records[service] = done

    def _wait(self, service: str, record: Record, place: int) -> Generator[None, None, Heard]:
        """What a record heard, as soon as it is said: None where it was heard before, and where nobody says it."""
        about, _, kind = record.id.rpartition(":")
        story = self._story(about)
        if SEEDED.get(service) == kind and SEED_ID.fullmatch(about):
            story.open += 1
            try:
                return self._seed(service, about, record, place), story
            except NONSENSE as error:
                self.nonsense(service, record, place, error)
                story.open -= 1
                return None, story
        pending, bit = self._pending[service], BITS.get(kind, 0)
        while (heard := pending.pop(record.id, None)) is None:
            if (service, record.id) in self._forced or story.heard.get(service, 0) & bit:
                return None, story
            self._waits[service] = record.id, place
            yield
        return heard

    def _decide(self, service: str, record: Record, place: int, message: Message) -> None:
        """Decide one record again, and compare all that it did and said."""
        self.of_row(service, record, place, model.key(service, message))
        kept = message if record.origin and model.keeps(service, message) else None
        if not same(record.message, kept):
            why = "the record keeps another message than it heard"
            self.breach(7, subject(record.id), why, service, place, "message", record.message, kept)
        by = (record.rules,) if service == "tokens" else ()
        if record.rules and not model.ruled(service, message):
            why = "of such a record no version says by which rules it was decided"
            self.breach(7, subject(record.id), why, service, place, "rules", record.rules, UNSET)
        row, got = self._rows[service](record.row), record.change or {}
        try:
            change, words = self._rules[service](row, message, *by)
        except Impossible as error:
            self.impossible(service, record, place, error)
            return
        change = as_written(service, row, got, change)
        if same(got, change) and same(record.words, words):
            self.right(change, words)
        else:
            self.wrong(service, record, place, got, change, words)
        if service == "usuarios":
            self._entered(record.row, row, message)

    def _story(self, about: str) -> Story:
        story = self._stories.get(about)
        if story is None:
            story = self._stories[about] = Story(self._over.pop(hash(about), 0))
        return story

    def _say(self, service: str, own: Story, own_about: str, words: list[Row], place: int) -> None:
        """What was said waits for who is to hear it."""
        for word in words:
            about, kind = said(service, word)
            if not kind:
                continue
            if kind == "compra.confirmada":
                self._sale(about, word, place)
            if about.startswith(SEED):
                continue
            story = own if about == own_about else self._story(about)
            if story.said & BITS[kind]:
                self.breach(9, about, "it was decided before", service, place, "words", kind)
                continue
            story.said |= BITS[kind]
            for hearer in CONSUMERS[kind]:
                if hearer != "compras" and (hearer, what := f"{about}:{kind}") not in self._forced:
                    self._pending[hearer][what] = word, story
                    story.open += 1

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
            # What only this record has, and no message: names, and money that is not less than nothing.
            names = [entry[name] for name in ("nombre", "imagen") if name in entry]
            money = [entry[name] for name in ("saldo", "precio") if name in entry]
            sound = all(isinstance(name, str) and name for name in names) and all(_is_money(one) for one in money)
            if not sound:
                self.breach(1, about, "no seed can bring this", service, place, "change", dict(entry))
        return entry

    # What does not fit together

    def _force(self, running: Mapping[str, object]) -> None:
        """Everybody waits for what somebody says: what nobody ever says is not waited for, nor what comes too early."""
        if self._ever is None:
            self._ever = set(said_ever(self.journals))
        waiting = {service: self._waits[service] for service in running}
        never = [service for service, (what, _) in waiting.items() if hash(what) not in self._ever]
        late = max(waiting, key=lambda service: LATE.get(waiting[service][0].rpartition(":")[2], 0))
        for service in never or [late]:
            what, place = waiting[service]
            self._forced.add((service, what))
            about, _, kind = what.rpartition(":")
            why = "nobody said this" if never else "this was acted on before anybody had said it"
            for promise in (7, UNSAID.get((service, kind))):
                if promise is not None:
                    self.breach(promise, about, why, service, place, "id", what)

    def _unheard(self) -> None:
        """All journals are read to their ends: what was said is heard."""
        if any(self._pending.values()) and self.verdict.goes_on():
            return
        for service, pending in self._pending.items():
            for what in pending:
                why = "this was said, and who should hear it never acted on it"
                self.breach(UNHEARD.get(service, 4), subject(what), why, service, None, "id", UNSET, what)

    def _money(self) -> None:
        """Promise 1, user by user, by adding up."""
        for word, _ in self._pending["tokens"].values() if self.verdict.cut else ():
            # Paid, and tokens has not heard of it yet.
            if word is not None and word["type"] == "saldo.reservado":
                self._spent[str(word["usuarioId"])] += word["precio"]
        for key in {**self.users, **self._spent}:
            has, spent, given = self.users.get(key, {}).get("saldo", 0), self._spent[key], self._given[key]
            if not isinstance(has, int) or has + spent != given:
                why = "what was given is not what is there and what was spent"
                self.breach(1, Text("user {user}", key), why, "usuarios", None, "saldo", has, given - spent)


def _is_money(amount: object) -> bool:
    return isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0
