"""What a buyer is shown: every record of compras' book is decided again, by what the others are seen to have said.

Its book is read once, as a stream, and what the others said as far as it is needed. Nothing that compras hears makes it
say anything, so nobody waits for it. Purchases that are under way are in memory; of one that is over only where its
last record stands, and in which order its news came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from loadgen.audit import model
from loadgen.audit.books import Journal, Record, Saying
from loadgen.audit.clocks import Dates, is_moment
from loadgen.audit.compare import same
from loadgen.audit.entries import Entries
from loadgen.audit.findings import BITS, NONSENSE, SEED, Findings, Message, Row, Word, said, said_ever, subject
from loadgen.audit.heights import came_from, hear
from loadgen.audit.model import CONSUMERS, ENDS, PRODUCERS, REQUESTS, STATES, Impossible
from loadgen.audit.text import Text
from loadgen.audit.verdict import UNSET, Verdict

OTHERS: Final = ("tokens", "usuarios", "transacciones")
SOLD: Final = BITS["compra.confirmada"]
REFUSED: Final = BITS["compra.rechazada"]
DECIDED: Final = {
    0: [],
    SOLD: ["compra.confirmada"],
    REFUSED: ["compra.rechazada"],
    SOLD | REFUSED: ["compra.confirmada", "compra.rechazada"],
}
# What ends a purchase or an entry at compras. Other news of what is over may be lost.
LAST: Final = ("transaccion.registrada", "compra.rechazada", "alta.aplicada")
# What compras hears, as digits: in which order it came is one number.
KINDS: Final = tuple(CONSUMERS)
DIGITS: Final = {kind: number for number, kind in enumerate(KINDS, 1)}
ORDER_BITS: Final = 32
WAS_SET: Final = Text(
    "some dates are far from the records around them: the clock at compras was set, or they are wrong"
)
# What is not said within so many records of the others is looked for in all that is ever said.
FAR: Final = 100_000


class Shown:
    """A purchase or an entry at compras that is under way: its row, and what was heard of it in which order."""

    __slots__ = ("heard", "order", "over", "place", "row")

    def __init__(self) -> None:
        self.row: Row | None = None
        self.heard = 0
        # (DIGITS), and where the last record stands that has all of its row.
        self.order = 0
        self.place = -1
        # It was over, and counted, before it was looked at again.
        self.over = False

    def take_in(self, kind: str, got: Row, place: int) -> None:
        """What a record did, right or wrong, is what the next one is judged by."""
        self.heard |= BITS.get(kind, 0)
        self.order = self.order << 4 | DIGITS.get(kind, 15)
        if got:
            if self.row is None:
                self.row = got
            else:
                self.row.update(got)
            if len(got) == len(self.row):
                self.place = place


class Showing(Findings):
    """`run` once; then `purchase` has what became of each."""

    def __init__(self, journals: Mapping[str, Journal], verdict: Verdict) -> None:
        super().__init__(journals, verdict)
        self._open: dict[str, Shown] = {}
        # Purchases and entries that are over, by the hash of their ids: `place` and `order` in one number.
        self._over: dict[int, int] = {}
        # What was said and not heard yet, and what was decided of which purchase (BITS).
        self._pending: dict[str, Word] = {}
        self._decided: dict[str, int] = {}
        self._others: dict[str, Iterator[tuple[int, Saying]]] = {name: journals[name].sayings() for name in OTHERS}
        self._ever: set[int] | None = None
        self._dates = Dates()
        identity = journals["compras"].identity
        self._entries = Entries(identity[1] if identity else None)
        # Where the records end that were written again, and which purchases were under way there.
        self._again = -1
        self._half: set[str] = set()

    def run(self) -> None:
        """Decide all of it again. Raises Unreadable."""
        done = 0
        for place, record in self.journals["compras"].records():
            about, _, kind = record.id.rpartition(":")
            hear(self, "compras", record, place)
            if record.generation:
                self._again = place
            elif self._again >= 0 and not self._half:
                self._half = {"", *self._open}
            shown = self._open.get(about) or self._opened(about)
            again = shown.heard & BITS.get(kind, 0)
            word = None if again else self._pending.pop(record.id, None)
            try:
                if again:
                    self.again("compras", record, place)
                elif word is None and (word := self._heard(kind, record)) is None:
                    self.breach(7, about, "nobody said this", "compras", place, "id", record.id)
                got = opened(record.change or {})
                if word is not None:
                    came_from(self, "compras", record, place, word)
                    self._decide(shown, kind, record, place, (word.message, got))
                shown.take_in(kind, got, place)
                if shown.place >= 0 and shown.row is not None and shown.row.get("estado") in ENDS:
                    self._close(about, shown)
            except NONSENSE as error:
                self.nonsense("compras", record, place, error)
            done += 1
        self.verdict.work.records["compras"] = done
        for service in OTHERS:
            while self._read_on(service):
                pass
        self._unheard()
        for about, shown in self._open.items():
            self._end(about, shown)

    def purchase(self, about: str, *, mark: str = "usuario_id") -> tuple[Row, list[str]] | None:
        """A purchase as it stands in the end, and what compras heard of it, in order; None: there is none. By the field
        that marks it, an entry is found (`tipo`)."""
        if (shown := self._open.get(about)) is not None:
            row, order = shown.row, shown.order
        elif (found := self._over.get(hash(about))) is not None:
            row, order = self._row(found >> ORDER_BITS), found & (1 << ORDER_BITS) - 1
        else:
            return None
        return (row, kinds_of(order)) if row is not None and mark in row else None

    def rewritten(self, about: str) -> bool:
        """Whether compras' book was written again since it heard of this purchase: when that was, nobody knows then."""
        shown = self._open.get(about)
        place = shown.place if shown is not None else self._over.get(hash(about), 0) >> ORDER_BITS
        return place <= self._again or about in self._half

    def _opened(self, about: str) -> Shown:
        """Also what was over, and is looked at again."""
        shown = self._open[about] = Shown()
        if (found := self._over.pop(hash(about), None)) is not None:
            shown.place, shown.order, shown.over = found >> ORDER_BITS, found & (1 << ORDER_BITS) - 1, True
            shown.row = self._row(shown.place)
            shown.heard = sum(BITS[kind] for kind in kinds_of(shown.order))
        return shown

    def _close(self, about: str, shown: Shown) -> None:
        """Nothing more need come: forget all but where it stands."""
        self._end(about, shown)
        self._over[hash(about)] = shown.place << ORDER_BITS | shown.order & (1 << ORDER_BITS) - 1
        del self._open[about]

    def _row(self, place: int) -> Row:
        return opened(self.journals["compras"].record(place).change or {})

    # What compras heard

    def _heard(self, kind: str, record: Record) -> Word | None:
        """What came by HTTP, or what another service says further on. None: nobody says it."""
        if kind in REQUESTS:
            return Word(next((word for word in record.words if word.get("type") == kind), {"type": kind}))
        services = [service for service in PRODUCERS.get(kind, ()) if service in self._others]
        read = 0
        while services:
            services = [service for service in services if self._read_on(service)]
            if (word := self._pending.pop(record.id, None)) is not None:
                return word
            read += 1
            if read == FAR and not self._is_ever_said(record.id):
                break
        return None

    def _read_on(self, service: str) -> bool:
        """Read one more record of another service; False at its end."""
        found = next(self._others[service], None)
        if found is None:
            return False
        for word in found[1].words:
            about, kind = said(service, word)
            if kind and "compras" in CONSUMERS[kind] and not about.startswith(SEED):
                self._pending[f"{about}:{kind}"] = Word(word, service, found[1].seq)
                if (bit := BITS[kind]) & (SOLD | REFUSED):
                    self._decided[about] = self._decided.get(about, 0) | bit
        return True

    def _is_ever_said(self, what: str) -> bool:
        if self._ever is None:
            self._ever = set(said_ever({service: self.journals[service] for service in OTHERS}))
        return hash(what) in self._ever

    # What it made of that

    def _decide(self, shown: Shown, kind: str, record: Record, place: int, sides: tuple[Message, Row]) -> None:
        """Decide one record again, and compare all that it did and said."""
        (message, got), row = sides, shown.row
        self.of_row("compras", record, place, due := model.key("compras", message))
        if kind in REQUESTS and due != (about := subject(record.id)):
            # What was asked for came by HTTP: it is in the record's own words only.
            self.breach(7, about, "nobody said this", "compras", place, "id", record.id, f"{due}:{kind}")
        try:
            change, words = model.compras(row, message, self._hora(kind, got, record, place))
        except Impossible as error:
            # News of what was never asked for is an effect without its message; else one key, or one end, is two.
            self.impossible("compras", record, place, error, 7 if row is None else 10 if kind in REQUESTS else 6)
            return
        wrong = self._entries.wrong(record, message, self._dates) if kind in REQUESTS else None
        if wrong is not None:
            why, due = wrong
            self.breach(7, subject(record.id), why, "compras", place, "orden", message["orden"], due)
        if change and row is not None and change.get("estado", row["estado"]) in ENDS:
            # All of a row that leaves memory.
            change = {**row, **change}
        if same(got, change) and same(record.words, words):
            self.right(change, words)
        else:
            self.wrong("compras", record, place, got, change, words)

    def _hora(self, kind: str, got: Row, record: Record, place: int) -> str:
        """When compras heard this news, which stands nowhere else; and whether its dates can be true."""
        if kind in REQUESTS:
            fecha = next((word["fecha"] for word in record.words if "fecha" in word), "")
        else:
            # The last of its history, but for what came late.
            state = STATES.get(kind)
            for step in reversed(got.get("historia", ())):
                if step["estado"] == state:
                    fecha = step["fecha"]
                    break
            else:
                return ""
        if not record.generation:
            self._dates.batch(record.batch, record.time)
        if not is_moment(fecha) or not (record.generation or self._dates.near(fecha, record.time)):
            if is_moment(fecha) and self._dates.unsure(fecha):
                self.verdict.in_part(7, WAS_SET)
            else:
                why = "no clock of this shop showed that time then"
                self.breach(7, subject(record.id), why, "compras", place, "fecha", fecha)
        return str(fecha)

    # What became of it

    def _end(self, about: str, shown: Shown) -> None:
        """One purchase is over, or should be. Whether an entry had to come into force the others' books say."""
        row = shown.row
        if shown.over or row is None or "usuario_id" not in row:
            return
        verdict, estado = self.verdict, row.get("estado")
        verdict.accepted += 1
        if estado not in ENDS and verdict.goes_on():
            verdict.under_way += 1
            return
        if estado not in ENDS:
            verdict.lost += 1
            self.breach(4, about, "it was accepted, and has no end", "compras", None, "estado", estado)
            return
        while about not in self._decided and self._read_on("tokens"):
            pass
        decided = self._decided.pop(about, 0)
        if estado == "registrada" and decided == SOLD:
            verdict.sold += 1
        elif estado == "rechazada" and decided == REFUSED:
            verdict.refused += 1
        else:
            why = "its end is not what tokens decided"
            self.breach(4, about, why, "compras", None, "estado", estado, DECIDED[decided])

    def _unheard(self) -> None:
        """All is read to its end: what was said is heard, but for lost news of a purchase that is over."""
        if self._pending and self.verdict.goes_on():
            return
        for what in self._pending:
            about, _, kind = what.rpartition(":")
            if kind in LAST or hash(about) not in self._over:
                why = "this was said, and who should hear it never acted on it"
                self.breach(4, about, why, "compras", None, "id", UNSET, what)


def opened(change: Row) -> Row:
    """A change at compras, with the message that an entry keeps as text."""
    return {**change, "mensaje": msgspec.json.decode(change["mensaje"])} if "mensaje" in change else change


def kinds_of(order: int) -> list[str]:
    """What compras heard of a purchase, in its order."""
    digits = [order >> shift & 15 for shift in range(ORDER_BITS - 4, -4, -4)]
    return [KINDS[digit - 1] for digit in digits if 0 < digit <= len(KINDS)]
