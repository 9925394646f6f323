"""The audit: whether the books keep the thirteen promises of the design. It reads journals, queues and what clients
were told, shares no code with the services' decisions, and is to be run when all is quiet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from loadgen.books import Record, Told

PROMISES: Final = {
    1: "money: balances and the prices of what was sold are what was there and what was added",
    2: "no balance below zero",
    3: "a token has at most one buyer",
    4: "every purchase that was accepted reaches exactly one end",
    5: "one record for each confirmed purchase, none for another, numbered without gaps",
    6: "confirmed means token sold to that buyer and money taken once; refused means neither",
    7: "no effect without its message",
    8: "what a journal comes to is what the service answers",
    9: "one effect per message id",
    10: "one buyer and key: one purchase, one answer",
    11: "dead letters are empty",
    12: "what each client was told agrees with the books",
    13: "who asked before the winner was refused for a reason of their own, or found the line full",
}
NAMESPACE: Final = uuid5(NAMESPACE_URL, "urn:zoco:compra")
# Reasons that are a buyer's own, and the one that means the line was full.
OWN_REASONS: Final = {
    "saldo-insuficiente",
    "usuario-inexistente",
    "precio-mayor",
    "token-disputado",
    # They asked before it was put up for sale.
    "token-inexistente",
}
# More breaches of one promise than this are counted, not listed.
LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken promise: about what, what each side says, and where that is written."""

    promise: int
    about: str
    says: str


@dataclass(slots=True)
class Verdict:
    """What the audit found. `unchecked` are promises for which there was nothing to look at."""

    breaches: list[Breach] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    unchecked: dict[int, str] = field(default_factory=dict)
    accepted: int = 0
    sold: int = 0
    refused: int = 0
    unfinished: int = 0
    doubled: int = 0
    oversold: int = 0

    @property
    def holds(self) -> bool:
        return not self.counts

    @property
    def lost(self) -> int:
        """Purchases that were accepted and have no end."""
        return self.counts[4]

    def breach(self, promise: int, about: str, says: str) -> None:
        self.counts[promise] += 1
        if self.counts[promise] <= LISTED:
            self.breaches.append(Breach(promise, about, says))

    def as_json(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "accepted": self.accepted,
            "sold": self.sold,
            "refused": self.refused,
            "lost": self.lost,
            "doubled": self.doubled,
            "oversold": self.oversold,
            "promises": {
                str(number): {
                    "text": text,
                    "breaches": self.counts[number],
                    "unchecked": self.unchecked.get(number),
                }
                for number, text in PROMISES.items()
            },
            "breaches": [{"promise": b.promise, "about": b.about, "says": b.says} for b in self.breaches],
        }


@dataclass(slots=True)
class Books:
    """All that is looked at. What is None was not to be had."""

    compras: Iterable[Record]
    tokens: Iterable[Record]
    usuarios: Iterable[Record]
    transacciones: Iterable[Record]
    clients: list[Told] | None = None
    # Messages in each dead-letter queue.
    dead_letters: Mapping[str, int] | None = None
    # What the services answer: usuarios, tokens and transacciones as arrays.
    live: Mapping[str, list[dict[str, Any]]] | None = None


@dataclass(slots=True)
class _Service:
    """What one journal comes to."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    # The words said about each purchase or entry, by type.
    said: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    heard: set[tuple[str, str]] = field(default_factory=set)


def audit(books: Books) -> Verdict:
    """Check all promises that there is something to check by."""
    verdict = Verdict()
    compras = _read("compras", books.compras, verdict)
    altas = {about: words for about, words in compras.said.items() if not {"compra.solicitada"} & words.keys()}
    tokens = _Tokens(verdict)
    tokens.read(books.tokens)
    usuarios = _Usuarios(verdict, altas)
    usuarios.read(books.usuarios)
    transacciones = _read("transacciones", books.transacciones, verdict)
    _ends(verdict, compras, tokens)
    _sales(verdict, tokens, usuarios)
    _records(verdict, tokens, transacciones)
    _causes(verdict, compras, tokens.books, usuarios.books, transacciones)
    _live(verdict, books.live, tokens, usuarios, transacciones)
    _clients(verdict, books.clients, compras)
    if books.dead_letters is None:
        verdict.unchecked[11] = "the queues were not looked at"
    for queue, count in (books.dead_letters or {}).items():
        if count:
            verdict.breach(11, queue, f"{count} dead letters: `zoco dead-letters list` shows why")
    return verdict


def _take(service: str, record: Record, into: _Service, verdict: Verdict) -> None:
    if (record.about, record.type) in into.heard:
        verdict.doubled += 1
        verdict.breach(9, record.about, f"{service} acted twice on {record.type}: {record.where}")
    into.heard.add((record.about, record.type))
    for word in record.words:
        about, kind = word.get("compraId") or word["altaId"], word["type"]
        if kind in into.said[about]:
            verdict.breach(9, about, f"{service} decided {kind} twice: {record.where}")
        into.said[about][kind] = word
    if record.change is not None:
        row = into.rows.setdefault(record.row, {})
        for name, value in record.change.items():
            if isinstance(value, dict) and value.keys() == {"left", "joined"}:
                row[name] = (row.get(name, []) + value["joined"])[value["left"] :]
            else:
                row[name] = value


def _read(service: str, records: Iterable[Record], verdict: Verdict) -> _Service:
    into = _Service()
    for record in records:
        _take(service, record, into, verdict)
    return into


class _Tokens:
    """tokens' journal: who asked for which token, in which order, and who got it."""

    def __init__(self, verdict: Verdict) -> None:
        self.books = _Service()
        self.buyers: dict[int, list[str]] = defaultdict(list)
        self._verdict = verdict
        self._asked: dict[int, list[str]] = defaultdict(list)

    def read(self, records: Iterable[Record]) -> None:
        for record in records:
            _take("tokens", record, self.books, self._verdict)
            if record.type == "compra.solicitada":
                self._asked[int(record.row)].append(record.about)
            for word in record.words:
                if word["type"] == "compra.confirmada":
                    self._sold(word, record)

    def _sold(self, word: dict[str, Any], record: Record) -> None:
        buyers = self.buyers[word["tokenId"]]
        buyers.append(word["compraId"])
        if len(buyers) > 1:
            self._verdict.oversold += 1
            self._verdict.breach(3, f"token {word['tokenId']}", f"sold to {' and '.join(buyers)}: {record.where}")

    def check_line(self) -> None:
        """Promise 13."""
        for token, asked in self._asked.items():
            for winner in self.buyers.get(token, ()):
                for earlier in asked[: asked.index(winner)] if winner in asked else ():
                    refusal = self.books.said[earlier].get("compra.rechazada", {})
                    if earlier not in self.buyers[token] and refusal.get("motivo") not in OWN_REASONS:
                        self._verdict.breach(
                            13,
                            earlier,
                            f"asked for token {token} before {winner}, who got it, and was told "
                            f"{refusal.get('motivo', 'nothing')}",
                        )


class _Usuarios:
    """usuarios' journal: what each user had, was given and paid."""

    def __init__(self, verdict: Verdict, altas: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
        self.books = _Service()
        self._verdict = verdict
        self._altas = altas
        self._given: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    def read(self, records: Iterable[Record]) -> None:
        for record in records:
            before = dict(self.books.rows.get(record.row, {}))
            repeated = (record.about, record.type) in self.books.heard
            _take("usuarios", record, self.books, self._verdict)
            user = record.row
            now = self.books.rows.get(user, {})
            if record.type == "usuario.registrado" and before.get("nombre") is None:
                self._given[user] += self._entered(record, "saldo", now.get("saldo", 0) - self._waiting[user])
                self._given[user] += self._waiting.pop(user, 0)
            elif record.type == "saldo.recargado" and not repeated:
                amount = self._entered(record, "monto", None)
                (self._given if now.get("nombre") is not None else self._waiting)[user] += amount
            for word in record.words:
                if word["type"] == "saldo.reservado":
                    self.paid[str(word["usuarioId"])] += word["precio"]
            if now.get("saldo", 0) < 0:
                self._verdict.breach(2, f"user {user}", f"has {now['saldo']}: {record.where}")

    def _entered(self, record: Record, name: str, otherwise: int | None) -> int:
        """An amount as the front door's book has it; a seed's entries are only in this journal."""
        word = self._altas.get(record.about, {}).get(record.type)
        if word is not None:
            return int(word.get(name) or 0)
        if otherwise is None or not record.about.startswith("semilla:"):
            self._verdict.breach(7, record.about, f"usuarios acted on {record.type}, which compras never said")
        return otherwise or 0

    def check_money(self, sold: Mapping[str, int]) -> None:
        """Promise 1, user by user."""
        for user, row in self.books.rows.items():
            had, has = self._given[user], row.get("saldo", 0)
            if has + sold.get(user, 0) != had:
                self._verdict.breach(
                    1, f"user {user}", f"had {had}, has {has}, and bought for {sold.get(user, 0)} in tokens' book"
                )


def _ends(verdict: Verdict, compras: _Service, tokens: _Tokens) -> None:
    """Promises 4 and 13."""
    for about, words in compras.said.items():
        if "compra.solicitada" not in words:
            continue
        verdict.accepted += 1
        end = compras.rows.get(about, {}).get("estado")
        decided = {"compra.confirmada", "compra.rechazada"} & tokens.books.said.get(about, {}).keys()
        if end == "registrada" and decided == {"compra.confirmada"}:
            verdict.sold += 1
        elif end == "rechazada" and decided == {"compra.rechazada"}:
            verdict.refused += 1
        else:
            says = " and ".join(sorted(decided)) or "nothing"
            verdict.breach(4, about, f"compras has it as {end}, and tokens said {says}")
    tokens.check_line()


def _sales(verdict: Verdict, tokens: _Tokens, usuarios: _Usuarios) -> None:
    """Promises 1 and 6."""
    sold: Counter[str] = Counter()
    for about, words in tokens.books.said.items():
        sale, paid = words.get("compra.confirmada"), usuarios.books.said.get(about, {}).get("saldo.reservado")
        if sale is not None:
            sold[str(sale["usuarioId"])] += sale["precio"]
            row = tokens.books.rows.get(str(sale["tokenId"]), {})
            if not row.get("vendido") or (row.get("reserva") or {}).get("compra_id") != about:
                verdict.breach(6, about, f"confirmed, and token {sale['tokenId']} is not sold to it")
            if paid is None or paid["precio"] != sale["precio"]:
                verdict.breach(6, about, f"sold for {sale['precio']}, and usuarios took {paid and paid['precio']}")
        elif paid is not None:
            verdict.breach(6, about, f"paid {paid['precio']}, and tokens never confirmed it")
    for about, words in usuarios.books.said.items():
        if "saldo.reservado" in words and about not in tokens.books.said:
            verdict.breach(6, about, "paid, and tokens never heard of it")
    usuarios.check_money(sold)


def _records(verdict: Verdict, tokens: _Tokens, transacciones: _Service) -> None:
    """Promise 5."""
    confirmed = {about for about, words in tokens.books.said.items() if "compra.confirmada" in words}
    recorded = {about: words["transaccion.registrada"]["transaccionId"] for about, words in transacciones.said.items()}
    for about in confirmed - recorded.keys():
        verdict.breach(5, about, "confirmed, and not in the book of sales")
    for about in recorded.keys() - confirmed:
        verdict.breach(5, about, f"record {recorded[about]} is of a purchase that was never confirmed")
    for number, count in Counter(recorded.values()).items():
        if count > 1:
            verdict.breach(5, f"record {number}", f"is {count} purchases' number")
    gaps = set(range(1, len(recorded) + 1)) - set(recorded.values())
    for number in sorted(gaps):
        verdict.breach(5, f"record {number}", "is missing in the numbering")


def _causes(verdict: Verdict, compras: _Service, tokens: _Service, usuarios: _Service, transacciones: _Service) -> None:
    """Promise 7: whoever acted on a fact heard it from whoever may say it."""
    heard_from = [
        ("tokens", tokens, {"compra.solicitada": compras, "saldo.reservado": usuarios, "saldo.rechazado": usuarios}),
        ("usuarios", usuarios, {"token.reservado": tokens}),
        ("transacciones", transacciones, {"compra.confirmada": tokens}),
        (
            "compras",
            compras,
            {
                "token.reservado": tokens,
                "saldo.reservado": usuarios,
                "saldo.rechazado": usuarios,
                "compra.confirmada": tokens,
                "compra.rechazada": tokens,
                "transaccion.registrada": transacciones,
            },
        ),
    ]
    for name, service, sources in heard_from:
        for about, kind in service.heard:
            if kind in sources and kind not in sources[kind].said.get(about, {}):
                verdict.breach(7, about, f"{name} acted on {kind}, which nobody said")


def _live(
    verdict: Verdict,
    live: Mapping[str, list[dict[str, Any]]] | None,
    tokens: _Tokens,
    usuarios: _Usuarios,
    transacciones: _Service,
) -> None:
    """Promise 8."""
    if live is None:
        verdict.unchecked[8] = "the services were not asked"
        return
    recorded = {
        words["transaccion.registrada"]["transaccionId"]: words["transaccion.registrada"]
        for words in transacciones.said.values()
    }
    for name, rows, fields in (
        ("usuarios", usuarios.books.rows, ("nombre", "saldo")),
        ("tokens", tokens.books.rows, ("nombre", "imagen", "precio", "vendido")),
        ("transacciones", {str(number): word for number, word in recorded.items()}, ("usuarioId", "tokenId", "fecha")),
    ):
        shown = {str(row["id"]): row for row in live[name]}
        written = {key: row for key, row in rows.items() if row.get("nombre", "") is not None}
        for key in shown.keys() ^ written.keys():
            verdict.breach(8, f"{name} {key}", "is only in the journal" if key in written else "is not in the journal")
        for key in shown.keys() & written.keys():
            for field_name in fields:
                if shown[key].get(field_name) != written[key].get(field_name):
                    verdict.breach(
                        8,
                        f"{name} {key}",
                        f"{field_name} is {shown[key].get(field_name)}, in the journal {written[key].get(field_name)}",
                    )


def _clients(verdict: Verdict, clients: list[Told] | None, compras: _Service) -> None:
    """Promises 4, 10 and 12, from the clients' side."""
    if clients is None:
        verdict.unchecked |= dict.fromkeys((10, 12), "no client's journal was given")
        return
    ids: dict[tuple[int, str], str] = {}
    for told in clients:
        if told.status not in (200, 202) or told.answer is None:
            continue
        about = told.answer["id"]
        expected = str(uuid5(NAMESPACE, f"{told.usuario_id}:{told.key}"))
        if ids.setdefault((told.usuario_id, told.key), about) != about or about != expected:
            verdict.breach(10, about, f"the key {told.key} of user {told.usuario_id} is {expected}: {told.where}")
        row = compras.rows.get(about)
        if row is None or "compra.solicitada" not in compras.said.get(about, {}):
            verdict.breach(4, about, f"answered {told.status}, and compras has no such purchase: {told.where}")
            continue
        asked = (told.usuario_id, told.token_id, told.precio_maximo)
        if asked != (row["usuario_id"], row["token_id"], row["precio_maximo"]):
            verdict.breach(12, about, f"asked for {asked}, and the book has another purchase: {told.where}")
        passed = {step["estado"] for step in row["historia"]}
        if told.answer["estado"] not in passed:
            verdict.breach(12, about, f"was told {told.answer['estado']}, and it never was: {told.where}")
        if told.answer.get("motivo") not in (None, row.get("motivo")):
            verdict.breach(12, about, f"was told {told.answer['motivo']}, and it is {row['motivo']}: {told.where}")
