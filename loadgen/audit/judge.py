"""Deciding again: every record of the four journals, in an order in which who says something comes before who hears it.

Each journal is read once, as a stream. What was said and not yet heard, the purchases that are under way and the rows
that live are in memory; of a purchase that is over only where its last record stands. After a breach the journal goes
on as it is written, so that one wrong record is one finding and not a thousand.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from loadgen.audit import model
from loadgen.audit.books import Journal, Record
from loadgen.audit.compare import EMPTY_LINE, ROWS, count, differences
from loadgen.audit.model import ENDS, HEARD_BY, REQUESTS, SAID_BY, SERVICES, Impossible
from loadgen.audit.verdict import UNSET, Verdict

SEED: Final = "semilla:"
SEED_ID: Final = re.compile(r"semilla:[1-9]\d{0,15}")
SEED_FECHA: Final = "1970-01-01T00:00:00Z"
SEEDED: Final = {"usuarios": "usuario.registrado", "tokens": "token.publicado"}
# A bit for each type that a service hears, or says.
HEARS: Final = {
    service: {
        kind: 1 << (11 * place + number)
        for number, (kind, hearers) in enumerate(HEARD_BY.items())
        if service in hearers or (service == "compras" and kind in REQUESTS)
    }
    for place, service in enumerate(SERVICES)
}
SAYS: Final = {kind: 1 << number for number, kind in enumerate(HEARD_BY)}
SOLD: Final = SAYS["compra.confirmada"]
REFUSED: Final = SAYS["compra.rechazada"]
# The types that compras hears of a purchase, as digits: in which order they came is one number.
DIGITS: Final = {kind: number for number, kind in enumerate(HEARD_BY, 1)}
# How late each message is in a purchase: of two records that wait for each other, the later one came too early.
LATE: Final = {kind: number for number, kind in enumerate(HEARD_BY)}
# What was said and is in no book of who should have heard it: the promise that this breaks.
UNHEARD: Final = {"transacciones": 5}
# What was acted on and is in no book of who should have said it breaks, beside 7, also this.
UNSAID: Final = {("transacciones", "compra.confirmada"): 5, ("tokens", "saldo.reservado"): 6}
# A date is believed if it is not further than this from the records around it: clocks are set while a request waits.
CLOCK: Final = timedelta(hours=1)
# So many batches may be written while a request waits for its turn.
BATCHES: Final = 64

# In `Story.said`: it was over, and counted, before it was looked at again.
OVER: Final = 1 << 20
# What ends a purchase or an entry at compras.
LAST: Final = ("transaccion.registrada", "compra.rechazada", "alta.aplicada")
DECIDED: Final = {
    0: [],
    SOLD: ["compra.confirmada"],
    REFUSED: ["compra.rechazada"],
    SOLD | REFUSED: ["compra.confirmada", "compra.rechazada"],
}
FECHA: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
UUID_CHARACTERS: Final = 36

# What a value raises that is of another kind than the format has.
NONSENSE: Final = (KeyError, TypeError, ValueError, AttributeError, msgspec.MsgspecError)

Row = dict[str, Any]
Message = Mapping[str, Any]


class Story:
    """A purchase or an entry that is under way: what each service has heard and said of it, and its row at compras."""

    __slots__ = ("heard", "open", "order", "place", "row", "said")

    def __init__(self) -> None:
        self.heard = 0
        self.said = 0
        # How many messages about it were said and not heard yet.
        self.open = 0
        self.row: Row | None = None
        # What compras heard of it, in its order (DIGITS), and where its last record at compras stands.
        self.order = 0
        self.place = -1


NOBODY: Final = Story()


class Judge:
    """`run` once; then `stories`, `over`, `tokens`, `sold` and `users` are what the books come to."""

    def __init__(self, journals: Mapping[str, Journal], verdict: Verdict, line: int = model.LINE) -> None:
        self.journals, self.verdict = journals, verdict
        self.stories: dict[str, Story] = {}
        # Purchases and entries that are over: where their last whole record stands (see `packed`).
        self.over: dict[bytes, int] = {}
        self.users: dict[str, Row] = {}
        self.tokens: dict[str, Row] = {}
        # Tokens that are sold: the place of their last record.
        self.sold: dict[str, int] = {}
        # What the seed brought: the entry of each new row.
        self.seeded: dict[str, dict[str, Row]] = {"usuarios": {}, "tokens": {}}
        self._seeds_new: set[str] = set()
        self._sales: Row | None = None
        self._given: Counter[str] = Counter()
        self._spent: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._pending: dict[str, dict[str, Message]] = {service: {} for service in SERVICES}
        self._waits: dict[str, tuple[str, int]] = {}
        self._forced: set[tuple[str, str]] = set()
        self._ever: set[int] | None = None
        self._times: deque[str] = deque(maxlen=BATCHES)
        self._rules: dict[str, Callable[..., Any]] = {
            "tokens": model.tokens(line),
            "usuarios": model.usuarios,
            "transacciones": model.transacciones,
        }

    def run(self) -> None:
        """Decide all of it again. Raises Unreadable."""
        running = {service: self._decided_again(service) for service in SERVICES}
        while running:
            moved = False
            for service in list(running):
                before = self.verdict.work.records[service]
                if next(running[service], None) is None:
                    del running[service]
                moved |= service not in running or self.verdict.work.records[service] > before
            if running and not moved:
                self._force(running)
        self._unheard()
        self._money()

    def _decided_again(self, service: str) -> Iterator[bool]:
        """One journal's records, one after the other; stops where it hears what was not said yet."""
        pending, done, hears = self._pending[service], self.verdict.work.records, HEARS[service]
        for place, record in self.journals[service].records():
            about, _, kind = record.id.rpartition(":")
            message = pending.pop(record.id, None)
            if message is None:
                try:
                    message = self._not_said(service, about, kind, record)
                except NONSENSE as error:
                    self._nonsense(service, about, record, place, error)
                while message is None and (service, record.id) not in self._forced:
                    self._waits[service] = (record.id, place)
                    yield True
                    message = pending.pop(record.id, None)
            story = self.stories.get(about) or self._story(about)
            bit = hears.get(kind, 0)
            again = story.heard & bit
            story.heard |= bit
            if message is not None:
                story.open -= 1
            try:
                if message is None or again:
                    self._as_it_stands(service, story, record, place, again=bool(again))
                else:
                    self._judge(service, story, kind, record, place, message)
            except NONSENSE as error:
                self._nonsense(service, about, record, place, error)
            done[service] += 1
            if story.row is not None and story.row.get("estado") in ENDS:
                self._close(about, story)

    def _nonsense(self, service: str, about: str, record: Record, place: int, error: Exception) -> None:
        """A value of another kind than the format has: nothing can be decided by this record."""
        self._forced.add((service, record.id))
        self._breach(7, about, "this record makes no sense", service, place, "record", type(error).__name__)

    def _not_said(self, service: str, about: str, kind: str, record: Record) -> Message | None:
        """What a record heard that no service said: a request by HTTP, or the seed's. None: it may still be said."""
        if service == "compras" and kind in REQUESTS:
            self._story(about).open += 1
            said = [word for word in record.words if word.get("type") == kind]
            return said[0] if said else {"type": kind}
        if SEEDED.get(service) == kind and SEED_ID.fullmatch(about):
            self._story(about).open += 1
            return self._seed(service, about, record)
        story = self.stories.get(about)
        if story is None and key_of(about) in self.over:
            story = self._story(about)
        if story is not None and story.heard & HEARS[service].get(kind, 0):
            self._forced.add((service, record.id))
        return None

    def _story(self, about: str) -> Story:
        """Also of a purchase that was over: then all is heard that compras has heard."""
        story = self.stories.get(about)
        if story is None:
            story = self.stories[about] = Story()
            if (found := self.over.pop(key_of(about), None)) is not None:
                story.place, _, story.order = unpacked(found)
                story.row = self.at_compras(story.place)
                kinds = kinds_of(story.order)
                story.said = OVER | sum(SAYS[kind] for kind in kinds)
                story.heard = sum(hears.get(kind, 0) for hears in HEARS.values() for kind in kinds)
        return story

    def at_compras(self, place: int) -> Row:
        """The row of a purchase or an entry that is over."""
        return opened(self.journals["compras"].record(place).change or {})

    def _close(self, about: str, story: Story) -> None:
        """Nothing more is to come: forget all but where it stands."""
        if story.open or story.place < 0 or story.row is None:
            return
        self._end(about, story)
        self.over[key_of(about)] = packed(story.place, 0, story.order)
        del self.stories[about]

    def _seed(self, service: str, about: str, record: Record) -> Message:
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
            self._seeds_new.add(about)
        return entry

    def _seed_is_sound(self, entry: Message, place: int) -> None:
        """What only this record has, and no message: names, and money that is not less than nothing."""
        names = [entry[name] for name in ("nombre", "imagen") if name in entry]
        money = [entry[name] for name in ("saldo", "precio") if name in entry]
        if not (all(isinstance(name, str) and name for name in names) and all(_is_money(amount) for amount in money)):
            book = "usuarios" if "saldo" in entry else "tokens"
            about = str(entry["altaId"])
            self._breach(1, about, "no seed can bring this", book, place, "change", dict(entry))

    def _judge(self, service: str, story: Story, kind: str, record: Record, place: int, message: Message) -> None:
        """Decide one record again, and compare all that it did and said."""
        about = record.id.rpartition(":")[0]
        if record.row != (due := model.key(service, message)):
            self._breach(
                ROWS[service], about, "this record is about another row", service, place, "row", record.row, due
            )
        row, got = self._row(service, record.row, story), record.change or {}
        if about.startswith(SEED) and about in self._seeds_new:
            self._seed_is_sound(message, place)
        try:
            if service == "compras":
                got = opened(got)
                change, words = model.compras(row, message, self._hora(kind, got, record, about, place))
            else:
                change, words = self._rules[service](row, message)
        except Impossible as error:
            self._breach(6, about, f"no correct shop acts on this: {error}", service, place, "id", record.id)
        else:
            self._compared(service, about, record, place, (row, got, change, words))
            if service == "usuarios":
                self._entered(record.row, row, kind, message)
        self._take_in(service, story, kind, record, place, got)

    def _compared(self, service: str, about: str, record: Record, place: int, sides: tuple[Any, ...]) -> None:
        row, got, change, words = sides
        work = self.verdict.work
        whole = wholly(service, row, change)
        # An older version wrote no more of a sold token than had changed.
        good = got == whole or (service == "tokens" and got == change) if whole is not None else got == change
        if good and record.words == words:
            work.fields += count(got, words)
            for word in words:
                if "motivo" in word:
                    work.reasons[word["motivo"]] += 1
            return
        want = change if whole is None else whole
        for promise, field, stands, rules in differences(service, got, want, record.words, words):
            self._breach(promise, about, "the record does something else than its message", service, place, field,
                         stands, rules)  # fmt: skip

    def _hora(self, kind: str, got: Row, record: Record, about: str, place: int) -> str:
        """When compras heard this news, which stands nowhere else; and whether its dates can be true."""
        if kind in REQUESTS:
            fecha = next((word["fecha"] for word in record.words if "fecha" in word), "")
        else:
            state = model.STATES.get(kind)
            steps = [step for step in got.get("historia", ()) if step["estado"] == state] if state else []
            if not steps:
                return ""
            fecha = steps[-1]["fecha"]
        if record.time != (self._times[-1] if self._times else ""):
            self._times.append(record.time)
        if fecha[:13] != record.time[:13] and not self._near(fecha, record.time):
            self._breach(7, about, "no clock of this shop showed that time then", "compras", place, "fecha", fecha)
        return str(fecha)

    def _near(self, fecha: str, time: str) -> bool:
        earliest, latest = datetime.fromisoformat(self._times[0]) - CLOCK, datetime.fromisoformat(time) + CLOCK
        return FECHA.fullmatch(fecha) is not None and earliest <= datetime.fromisoformat(fecha) <= latest

    def _as_it_stands(self, service: str, story: Story, record: Record, place: int, *, again: bool) -> None:
        """A record that nothing was said for, or a second one: there is nothing to decide by."""
        about, _, kind = record.id.rpartition(":")
        if again:
            self.verdict.doubled += 1
            self._breach(9, about, "it was acted on before", service, place, "id", record.id)
        got = opened(record.change or {}) if service == "compras" else record.change or {}
        self._take_in(service, story, kind, record, place, got)

    def _row(self, service: str, key: str, story: Story) -> Row | None:
        if service == "compras":
            return story.row
        if service == "usuarios":
            return self.users.get(key)
        if service == "transacciones":
            return self._sales
        if (row := self.tokens.get(key)) is None and key in self.sold:
            row = self.sold_token(key)
        return row

    def sold_token(self, key: str) -> Row:
        """The row of a token that is sold, with nobody in its line."""
        return {**(self.journals["tokens"].record(self.sold[key]).change or {}), "cola": ()}

    def _take_in(self, service: str, story: Story, kind: str, record: Record, place: int, got: Row) -> None:
        """What the record did, right or wrong, is what the next one is judged by."""
        if record.words:
            self._say(service, story, record, place)
        if service == "compras":
            story.row = {**story.row, **got} if story.row else (got or None)
            story.order = story.order << 4 | DIGITS.get(kind, 15)
            if story.row is not None and got.keys() == story.row.keys():
                story.place = place
        elif not got:
            return
        elif service == "tokens":
            self._token(record.row, got, place)
        elif service == "usuarios":
            user = self.users[record.row] = {**self.users.get(record.row, {}), **got}
            if user["saldo"] < 0:
                about = f"user {record.row}"
                self._breach(2, about, "the balance is below zero", service, place, "change.saldo", user["saldo"])
        else:
            self._sales = got

    def _token(self, key: str, got: Row, place: int) -> None:
        row = {**(self._row("tokens", key, NOBODY) or {}), **got}
        if (moved := got.get("cola")) is not None:
            before = self.tokens.get(key, {}).get("cola", ())
            if moved["joined"] or before:
                line = before if isinstance(before, deque) else deque(before)
                for _ in range(min(moved["left"], len(line))):
                    line.popleft()
                line.extend(moved["joined"])
                row["cola"] = line or ()
            else:
                row["cola"] = ()
        if row["vendido"] and got.keys() == row.keys():
            self.sold[key] = place
            self.tokens.pop(key, None)
        else:
            self.tokens[key] = row

    def _say(self, service: str, own: Story, record: Record, place: int) -> None:
        """What was said waits for who is to hear it."""
        subject = record.id.rpartition(":")[0]
        for word in record.words:
            about, kind = said(service, word)
            if not kind:
                continue
            if kind == "compra.confirmada":
                self._sold(about, word, place)
            if about.startswith(SEED):
                continue
            story = own if about == subject else self._story(about)
            if story.said & SAYS[kind]:
                self._breach(9, about, "it was decided before", service, place, "words", kind)
                continue
            story.said |= SAYS[kind]
            for hearer in HEARD_BY[kind]:
                if (hearer, id_ := f"{about}:{kind}") not in self._forced:
                    self._pending[hearer][id_] = word
                    story.open += 1

    def _sold(self, about: str, sale: Message, place: int) -> None:
        token = str(sale["tokenId"])
        self._spent[str(sale["usuarioId"])] += sale["precio"]
        if token in self.sold:
            self.verdict.oversold += 1
            self._breach(3, f"token {token}", "it was sold before", "tokens", place, "words", about)
        self.sold.setdefault(token, place)

    def _entered(self, key: str, row: Row | None, kind: str, entry: Message) -> None:
        """What was given to a user, and when it counts."""
        known = row is not None and row["nombre"] is not None
        if kind == "saldo.recargado":
            (self._given if known else self._waiting)[key] += entry["monto"]
        elif kind == "usuario.registrado" and not known:
            self._given[key] += (entry.get("saldo") or 0) + self._waiting.pop(key, 0)

    def _force(self, running: Mapping[str, object]) -> None:
        """Everybody waits for what somebody says: what nobody ever says is not waited for, nor what comes too early."""
        if self._ever is None:
            self._ever = set(self._said_ever())
        waiting = {service: self._waits[service] for service in running}
        never = [service for service, (what, _) in waiting.items() if hash(what) not in self._ever]
        late = max(waiting, key=lambda service: LATE.get(waiting[service][0].rpartition(":")[2], 0))
        for service in never or [late]:
            what, place = waiting[service]
            why = "nobody said this" if never else "this was acted on before anybody had said it"
            self._breach(7, what.rpartition(":")[0], why, service, place, "id", what)
            if (more := UNSAID.get((service, what.rpartition(":")[2]))) is not None:
                self._breach(more, what.rpartition(":")[0], why, service, place, "id", what)
            self._forced.add((service, what))

    def _said_ever(self) -> Iterator[int]:
        """Of all messages in all journals, a number each."""
        for service, journal in self.journals.items():
            for _, record in journal.records():
                for word in record.words:
                    about, kind = said(service, word)
                    if kind:
                        yield hash(f"{about}:{kind}")

    def _unheard(self) -> None:
        """All journals are read to their ends: what was said is heard, and what was begun is over."""
        for service, pending in self._pending.items():
            for what in pending:
                about, _, kind = what.rpartition(":")
                story = self.stories[about]
                # Lost news of a purchase that is over is never asked for again, and need not be.
                if service == "compras" and kind not in LAST and story.row and story.row.get("estado") in ENDS:
                    continue
                self._breach(UNHEARD.get(service, 4), about, "this was said, and who should hear it never acted on it",
                             service, None, "id", UNSET, what)  # fmt: skip
        for about, story in self.stories.items():
            if story.row is not None:
                self._end(about, story)

    def purchase(self, about: str) -> tuple[Row, list[str]] | None:
        """A purchase as it stands in the end, and what compras heard of it, in order; None: there is none."""
        if (story := self.stories.get(about)) is not None:
            row, order = story.row, story.order
        elif (found := self.over.get(key_of(about))) is not None:
            place, _, order = unpacked(found)
            row = self.at_compras(place)
        else:
            return None
        return (row, kinds_of(order)) if row is not None and "usuario_id" in row else None

    def _end(self, about: str, story: Story) -> None:
        """One purchase or entry is over, or should be."""
        if story.said & OVER or story.row is None:
            return
        verdict, estado = self.verdict, story.row.get("estado")
        if "usuario_id" not in story.row:
            if estado != "aplicada" and not self._waits_for_its_user(story.row):
                self._breach(4, about, "an operator's entry was never applied", "compras", None, "estado", estado)
            return
        verdict.accepted += 1
        decided = story.said & (SOLD | REFUSED)
        if estado == "registrada" and decided == SOLD:
            verdict.sold += 1
        elif estado == "rechazada" and decided == REFUSED:
            verdict.refused += 1
        elif estado not in ENDS:
            verdict.lost += 1
            self._breach(4, about, "it was accepted, and has no end", "compras", None, "estado", estado)
        else:
            self._breach(4, about, "its end is not what tokens decided", "compras", None, "estado", estado,
                         DECIDED[decided])  # fmt: skip

    def _waits_for_its_user(self, entry: Row) -> bool:
        """A top-up of somebody who is not registered: it waits, and that may be for ever."""
        message = entry.get("mensaje")
        if entry.get("tipo") != "saldo.recargado" or not isinstance(message, dict):
            return False
        row = self.users.get(str(message.get("usuarioId")), {})
        waiting = [top_up.get("alta_id") for top_up in row.get("esperan") or () if isinstance(top_up, dict)]
        return row.get("nombre") is None and entry.get("id") in waiting

    def _money(self) -> None:
        """Promise 1, user by user, by adding up."""
        for key in {**self.users, **self._spent}:
            has, spent, given = self.users.get(key, {}).get("saldo", 0), self._spent[key], self._given[key]
            if not isinstance(has, int) or has + spent != given:
                self._breach(1, f"user {key}", "what was given is not what is there and what was spent", "usuarios",
                             None, "saldo", has, given - spent)  # fmt: skip

    def _breach(  # noqa: PLR0913, PLR0917 - what each says, side by side
        self, promise: int, about: str, why: str, book: str, place: int | None, field: str, stands: Any = UNSET,
        rules: Any = UNSET,
    ) -> None:  # fmt: skip
        where = self.journals[book].where(place) if place is not None and self.verdict.lists(promise) else ""
        self.verdict.breach(promise, about, why, book=book, where=where, field=field, stands=stands, rules=rules)


def wholly(service: str, row: Row | None, change: Row) -> Row | None:
    """All of a row that leaves memory, as the record that ends it has it; None where there is no such thing."""
    if not change or row is None:
        return None
    if service == "tokens" and (change.get("vendido") or row["vendido"]):
        return {**row, "cola": EMPTY_LINE, **change}
    if service == "compras" and change.get("estado", row["estado"]) in ENDS:
        return {**row, **change}
    return None


def said(service: str, word: Message) -> tuple[str, str]:
    """What a message is about, and its type; nothing where it is none that this service may say."""
    kind, about = word.get("type"), word.get("compraId") or word.get("altaId")
    if isinstance(kind, str) and isinstance(about, str) and service in SAID_BY.get(kind, ()):
        return about, kind
    return "", ""


def _is_money(amount: object) -> bool:
    return isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0


def opened(change: Row) -> Row:
    """A change at compras, with the message that an entry keeps as text."""
    return {**change, "mensaje": msgspec.json.decode(change["mensaje"])} if "mensaje" in change else change


def key_of(about: str) -> bytes:
    """A purchase's UUID in 16 bytes; anything else as it is."""
    try:
        return bytes.fromhex(about.replace("-", "")) if len(about) == UUID_CHARACTERS else about.encode()
    except ValueError:
        return about.encode()


def packed(place: int, told: int, order: int) -> int:
    """Where a row stands, how many versions of it a client has seen, and in which order it came to be (DIGITS)."""
    return place << 36 | told << 32 | (order & 0xFFFFFFFF)


def unpacked(found: int) -> tuple[int, int, int]:
    return found >> 36, found >> 32 & 15, found & 0xFFFFFFFF


def kinds_of(order: int) -> list[str]:
    """What compras heard of a purchase, in its order."""
    kinds = list(HEARD_BY)
    digits = [order >> shift & 15 for shift in range(28, -4, -4)]
    return [kinds[digit - 1] for digit in digits if 0 < digit <= len(kinds)]
