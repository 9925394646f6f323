"""What the four journals say of each purchase, put side by side; what they say against each other is a breach.

Each journal is read once, in the order compras, tokens, usuarios, transacciones: whoever asks comes before who answers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from msgspec import UNSET

from loadgen.audit.books import SERVICES, Change, Journal, Record, Unreadable, Word
from loadgen.audit.verdict import Verdict

TYPES: Final = (
    "compra.solicitada",
    "token.reservado",
    "saldo.reservado",
    "saldo.rechazado",
    "compra.confirmada",
    "compra.rechazada",
    "transaccion.registrada",
    "usuario.registrado",
    "saldo.recargado",
    "token.publicado",
    "alta.aplicada",
)
# What each service has heard, and said, of a purchase or an entry: a bit for each service and type.
BITS: Final = {
    service: {kind: 1 << (16 * place + number) for number, kind in enumerate(TYPES)}
    for place, service in enumerate(SERVICES)
}
ESTADOS: Final = {
    "solicitada": 1,
    "reservada": 2,
    "pagada": 4,
    "confirmada": 8,
    "registrada": 16,
    "rechazada": 32,
    "aplicada": 64,
}
ENDS: Final = {"registrada", "rechazada"}
TOKEN_FIELDS: Final = ("nombre", "imagen", "precio", "vendido", "reserva")
USER_FIELDS: Final = ("nombre", "saldo")
SEED: Final = "semilla:"


def bit(service: str, kind: str) -> int:
    return BITS[service][kind]


ASKED: Final = bit("compras", "compra.solicitada")
CONFIRMED: Final = bit("tokens", "compra.confirmada")
REFUSED: Final = bit("tokens", "compra.rechazada")
PAID: Final = bit("usuarios", "saldo.reservado")
DENIED: Final = bit("usuarios", "saldo.rechazado")
RECORDED: Final = bit("transacciones", "transaccion.registrada")


@dataclass(slots=True, eq=False)
class Story:
    """One purchase, or one entry of the operator. Places are those of the record that decided, 0 if there is none."""

    about: str
    heard: int = 0
    said: int = 0
    # compras: what was asked for, the states it has been in (ESTADOS), and how it stands.
    usuario: int = 0
    token: int = 0
    maximo: int | None = None
    passed: int = 0
    estado: str | None = None
    motivo: str | None = None
    precio: int | None = None
    number: int | None = None
    at_compras: int = 0
    # tokens: the price at which it was held and sold, or why it was refused.
    held: int | None = None
    sold: int | None = None
    refusal: str | None = None
    at_tokens: int = 0
    # usuarios: what was taken, or why nothing was. An entry: the amount that compras has.
    taken: int | None = None
    denial: str | None = None
    at_usuarios: int = 0
    # transacciones: the number of its record.
    record: int | None = None
    fecha: str = ""
    at_transacciones: int = 0


Words: TypeAlias = list[tuple[Story, Word]]
Row: TypeAlias = dict[str, Any]
Reader: TypeAlias = Callable[[int, Record, str, Story, Words], None]


@dataclass(slots=True)
class User:
    """A user's row in usuarios, and what it should come to."""

    row: Row = field(default_factory=dict)
    given: int = 0
    # Top-ups of somebody who is not registered yet.
    waiting: int = 0


class Stories:
    """All purchases and entries, tokens and users. `verdict` hears of every breach that shows while reading."""

    def __init__(self, journals: dict[str, Journal], verdict: Verdict) -> None:
        self.by_id: dict[str, Story] = {}
        self.tokens: dict[int, Row] = defaultdict(dict)
        self.users: dict[int, User] = defaultdict(User)
        # Who asked for each token, in the order of tokens' journal, and who was told that it is theirs.
        self.asked: dict[int, list[Story]] = defaultdict(list)
        self.buyers: dict[int, list[Story]] = defaultdict(list)
        self.spent: Counter[int] = Counter()
        self._journals = journals
        self._verdict = verdict
        readers: dict[str, Reader] = {
            "compras": self._compras,
            "tokens": self._tokens,
            "usuarios": self._usuarios,
            "transacciones": self._transacciones,
        }
        for service, reader in readers.items():
            self._read(service, reader)

    def where(self, story: Story) -> str:
        """File and line of what each service has of a purchase."""
        places = {service: getattr(story, f"at_{service}") for service in SERVICES}
        found = [self._where(service, place) for service, place in places.items() if place]
        return ", ".join(found) or "no journal has it"

    def _where(self, service: str, place: int) -> str:
        return self._journals[service].where(place)

    def purchases(self) -> Iterator[Story]:
        """Every purchase that compras accepted."""
        return (story for story in self.by_id.values() if story.said & ASKED)

    def _new(self, about: str) -> Story:
        story = self.by_id[about] = Story(about)
        return story

    def _read(self, service: str, reader: Reader) -> None:
        bits, journal, by_id = BITS[service], self._journals[service], self.by_id
        place = 0
        try:
            for place, record in journal.records():
                about, _, kind = record.id.rpartition(":")
                story = by_id.get(about) or self._new(about)
                hears = bits[kind]
                if story.heard & hears:
                    self._twice(story, f"{service} acted twice on {kind}: {journal.where(place)}", acted=True)
                story.heard |= hears
                words: Words = []
                for word in record.words:
                    told = word.compra_id or word.alta_id or ""
                    subject = story if told == about else by_id.get(told) or self._new(told)
                    says = bits[word.type]
                    if subject.said & says:
                        self._twice(subject, f"{service} decided {word.type} twice: {journal.where(place)}")
                    subject.said |= says
                    words.append((subject, word))
                reader(place, record, kind, story, words)
        except KeyError as error:
            raise Unreadable(f"{journal.where(place)} is no record that this audit knows: it has no {error}") from error

    def _twice(self, story: Story, says: str, *, acted: bool = False) -> None:
        self._verdict.doubled += acted
        self._verdict.breach(9, story.about, says)

    def _same_purchase(self, service: str, place: int, story: Story, word: Word) -> None:
        if story.said & ASKED and (word.usuario_id, word.token_id) != (story.usuario, story.token):
            self._verdict.breach(
                6,
                story.about,
                f"compras has user {story.usuario} and token {story.token}, {service} user {word.usuario_id} and "
                f"token {word.token_id}: {self._where(service, place)}",
            )

    def _compras(self, place: int, record: Record, kind: str, story: Story, words: Words) -> None:
        for told, word in words:
            if kind == "compra.solicitada":
                told.usuario, told.token, told.maximo = word.usuario_id, word.token_id, word.precio_maximo
            else:
                told.taken = word.monto if word.saldo is None else word.saldo
        change = record.change
        if change is None:
            return
        state, steps = change.estado, change.historia
        if state is not UNSET:
            story.estado, story.at_compras = state, place
            story.passed |= ESTADOS[state]
        # A state that comes later than its successors is only in the history, whole again once all is over.
        if steps is not UNSET and (state is UNSET or state in ENDS):
            for step in steps:
                story.passed |= ESTADOS[step.estado]
        if change.motivo is not UNSET:
            story.motivo = change.motivo
        if change.precio is not UNSET:
            story.precio = change.precio
        if change.transaccion_id is not UNSET:
            story.number = change.transaccion_id

    def _tokens(self, place: int, record: Record, kind: str, story: Story, words: Words) -> None:
        number = int(record.row)
        row = self.tokens[number]
        if kind == "compra.solicitada":
            self.asked[number].append(story)
        for told, word in words:
            said = word.type
            if said == "alta.aplicada":
                continue
            self._same_purchase("tokens", place, told, word)
            told.at_tokens = place
            if said == "token.reservado":
                told.held = word.precio
            elif said == "compra.confirmada":
                self._sold(place, told, word)
            else:
                told.refusal = word.motivo
                self._check_refusal(place, told, row)
        _apply(record.change, row, TOKEN_FIELDS)

    def _sold(self, place: int, story: Story, word: Word) -> None:
        story.sold = word.precio
        self.spent[word.usuario_id] += word.precio or 0
        buyers = self.buyers[word.token_id]
        buyers.append(story)
        if len(buyers) > 1:
            self._verdict.oversold += 1
            names = ", ".join(buyer.about for buyer in buyers)
            self._verdict.breach(3, f"token {word.token_id}", f"sold to {names}: {self._where('tokens', place)}")

    def _check_refusal(self, place: int, story: Story, row: Row) -> None:
        """Promise 13, in part: the reason is true at that moment."""
        price = row.get("precio")
        true = {
            "precio-mayor": story.maximo is not None and price is not None and story.maximo < price,
            "token-inexistente": price is None,
        }
        if not true.get(story.refusal or "", True):
            self._verdict.breach(
                13,
                story.about,
                f"was refused as {story.refusal}, would pay {story.maximo}, and the price was {price}: "
                f"{self._where('tokens', place)}",
            )

    def _usuarios(self, place: int, record: Record, kind: str, story: Story, words: Words) -> None:
        number = int(record.row)
        user = self.users[number]
        known, had = user.row.get("nombre") is not None, user.row.get("saldo", 0)
        _apply(record.change, user.row, USER_FIELDS)
        has = user.row.get("saldo", 0)
        if kind == "token.reservado":
            added = -sum(self._charged(place, had, told, word) for told, word in words)
        else:
            added = self._added(place, user, kind, story, known)
        if had + added != has:
            self._verdict.breach(
                1, f"user {number}", f"had {had}, and with {added:+} has {has}: {self._where('usuarios', place)}"
            )
        if has < 0:
            self._verdict.breach(2, f"user {number}", f"has {has}: {self._where('usuarios', place)}")

    def _charged(self, place: int, had: int, story: Story, word: Word) -> int:
        """What was taken for a purchase."""
        self._same_purchase("usuarios", place, story, word)
        story.at_usuarios = place
        story.taken, story.denial = word.precio, word.motivo
        if story.denial == "saldo-insuficiente" and story.held is not None and had >= story.held:
            self._verdict.breach(
                13,
                story.about,
                f"was refused as saldo-insuficiente with {had} for a price of {story.held}: "
                f"{self._where('usuarios', place)}",
            )
        return story.taken or 0

    def _added(self, place: int, user: User, kind: str, story: Story, known: bool) -> int:
        """What an entry has to add to a balance."""
        if kind == "saldo.recargado" and not known:
            user.waiting += self._entered(place, story, kind, None)
            return 0
        if kind == "usuario.registrado" and known:
            return 0
        otherwise = user.row.get("saldo", 0) - user.waiting if kind == "usuario.registrado" else None
        added = self._entered(place, story, kind, otherwise) + user.waiting
        user.waiting = 0
        user.given += added
        return added

    def _entered(self, place: int, story: Story, kind: str, otherwise: int | None) -> int:
        """An amount as the front door's book has it; a seed's entries are only in this journal."""
        if story.said & bit("compras", kind):
            return story.taken or 0
        if otherwise is None or not story.about.startswith(SEED):
            self._verdict.breach(
                7,
                story.about,
                f"usuarios acted on {kind}, which compras never said: {self._where('usuarios', place)}",
            )
        return otherwise or 0

    def _transacciones(self, place: int, record: Record, kind: str, story: Story, words: Words) -> None:
        for told, word in words:
            self._same_purchase("transacciones", place, told, word)
            told.record, told.fecha, told.at_transacciones = word.transaccion_id, word.fecha, place


def _apply(change: Change | None, row: Row, fields: tuple[str, ...]) -> None:
    """Take the new values of these fields into a row."""
    if change is not None:
        for name in fields:
            value = getattr(change, name)
            if value is not UNSET:
                row[name] = value
