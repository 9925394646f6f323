"""The audit: whether the books keep the thirteen promises of the design. It reads journals, queues and what clients
were told, shares no code with the services' decisions, and is to be run when all is quiet.
"""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_URL, uuid5

from loadgen.audit.books import SERVICES, Journal, Told
from loadgen.audit.stories import (
    ASKED,
    CONFIRMED,
    DENIED,
    ESTADOS,
    PAID,
    RECORDED,
    REFUSED,
    SEED,
    Stories,
    Story,
    bit,
)
from loadgen.audit.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE: Final = uuid5(NAMESPACE_URL, "urn:zoco:compra").bytes
# Reasons that are a buyer's own, the one that means the line was full, and having asked before it was for sale.
OWN_REASONS: Final = {
    "saldo-insuficiente",
    "usuario-inexistente",
    "precio-mayor",
    "token-disputado",
    "token-inexistente",
}
# Who may have said what a service acted on.
SOURCES: Final = {
    "tokens": {"compra.solicitada": "compras", "saldo.reservado": "usuarios", "saldo.rechazado": "usuarios"},
    "usuarios": {"token.reservado": "tokens"},
    "transacciones": {"compra.confirmada": "tokens"},
    "compras": {
        "token.reservado": "tokens",
        "saldo.reservado": "usuarios",
        "saldo.rechazado": "usuarios",
        "compra.confirmada": "tokens",
        "compra.rechazada": "tokens",
        "transaccion.registrada": "transacciones",
    },
}
# What tokens may have said of a purchase's end.
DECISIONS: Final = {
    0: "nothing",
    CONFIRMED: "that it is sold",
    REFUSED: "that it is refused",
    CONFIRMED | REFUSED: "both",
}
ENTRIES: Final = {"usuario.registrado": "usuarios", "saldo.recargado": "usuarios", "token.publicado": "tokens"}


@dataclass(slots=True)
class Books:
    """All that is looked at. What is None was not to be had."""

    compras: Journal
    tokens: Journal
    usuarios: Journal
    transacciones: Journal
    clients: Iterable[Told] | None = None
    # Messages in each dead-letter queue.
    dead_letters: Mapping[str, int] | None = None
    # What the services answer: usuarios, tokens and transacciones as arrays.
    live: Mapping[str, list[dict[str, Any]]] | None = None


def audit(books: Books) -> Verdict:
    """Check all promises that there is something to check by. Raises Unreadable."""
    verdict = Verdict()
    with _no_collections():
        stories = Stories({name: getattr(books, name) for name in SERVICES}, verdict)
        _ends(verdict, stories)
        _sales(verdict, stories)
        _money(verdict, stories)
        _records(verdict, stories)
        _causes(verdict, stories)
        _lines(verdict, stories)
        _entries(verdict, stories)
        _live(verdict, books.live, stories)
        _clients(verdict, books.clients, stories)
    if books.dead_letters is None:
        verdict.unchecked[11] = "the queues were not looked at"
    for queue, count in (books.dead_letters or {}).items():
        if count:
            verdict.breach(11, queue, f"{count} dead letters: `zoco dead-letters list` shows why")
    return verdict


@contextmanager
def _no_collections() -> Iterator[None]:
    """Millions of objects, none of them garbage: looking for it again and again takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _ends(verdict: Verdict, stories: Stories) -> None:
    """Promise 4."""
    for story in stories.purchases():
        verdict.accepted += 1
        decided = story.said & (CONFIRMED | REFUSED)
        if story.estado == "registrada" and decided == CONFIRMED:
            verdict.sold += 1
        elif story.estado == "rechazada" and decided == REFUSED:
            verdict.refused += 1
        else:
            says = DECISIONS[decided]
            verdict.breach(
                4, story.about, f"compras has it as {story.estado}, and tokens said {says}: {stories.where(story)}"
            )


def _sales(verdict: Verdict, stories: Stories) -> None:
    """Promise 6, and the part of 13 that is about money."""
    for story in stories.by_id.values():
        said = story.said
        if said & CONFIRMED:
            row = stories.tokens[story.token] if said & ASKED else {}
            if not row.get("vendido") or getattr(row.get("reserva"), "compra_id", None) != story.about:
                verdict.breach(
                    6, story.about, f"confirmed, and token {story.token} is not sold to it: {stories.where(story)}"
                )
            if not said & PAID or not story.taken == story.held == story.sold:
                verdict.breach(
                    6,
                    story.about,
                    f"tokens held it at {story.held} and sold it for {story.sold}, and usuarios took {story.taken}: "
                    f"{stories.where(story)}",
                )
        elif said & PAID:
            verdict.breach(6, story.about, f"paid {story.taken}, and tokens never confirmed it: {stories.where(story)}")
        if said & DENIED and story.refusal != story.denial:
            verdict.breach(
                13,
                story.about,
                f"usuarios refused it as {story.denial}, and tokens as {story.refusal}: {stories.where(story)}",
            )


def _money(verdict: Verdict, stories: Stories) -> None:
    """Promise 1, user by user."""
    for number, user in stories.users.items():
        has, spent = user.row.get("saldo", 0), stories.spent.get(number, 0)
        if has + spent != user.given:
            verdict.breach(1, f"user {number}", f"had {user.given}, has {has}, and bought for {spent} in tokens' book")
    for number in stories.spent.keys() - stories.users.keys():
        verdict.breach(1, f"user {number}", f"bought for {stories.spent[number]}, and usuarios has no such user")


def _records(verdict: Verdict, stories: Stories) -> None:
    """Promise 5."""
    numbers: Counter[int] = Counter()
    for story in stories.by_id.values():
        if story.said & (CONFIRMED | RECORDED) in (0, CONFIRMED | RECORDED):
            if story.record is not None:
                numbers[story.record] += 1
            continue
        if story.said & CONFIRMED:
            verdict.breach(5, story.about, f"confirmed, and not in the book of sales: {stories.where(story)}")
        else:
            numbers[story.record or 0] += 1
            verdict.breach(
                5, story.about, f"record {story.record} is of a purchase never confirmed: {stories.where(story)}"
            )
    for number, count in numbers.items():
        if count > 1:
            verdict.breach(5, f"record {number}", f"is {count} purchases' number")
    for number in range(1, sum(numbers.values()) + 1):
        if number not in numbers:
            verdict.breach(5, f"record {number}", "is missing in the numbering")


def _causes(verdict: Verdict, stories: Stories) -> None:
    """Promise 7: whoever acted on a fact heard it from whoever may say it."""
    # There are few different stories: each kind is looked at once.
    known: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for story in stories.by_id.values():
        kind = (story.heard, story.said)
        if kind not in known:
            known[kind] = [
                (service, message)
                for service, sources in SOURCES.items()
                for message, source in sources.items()
                if story.heard & bit(service, message) and not story.said & bit(source, message)
            ]
        for service, message in known[kind]:
            verdict.breach(7, story.about, f"{service} acted on {message}, which nobody said: {stories.where(story)}")


def _lines(verdict: Verdict, stories: Stories) -> None:
    """Promise 13: the line before each winner; and a token that was sold to nobody refuses nobody as sold."""
    for token, asked in stories.asked.items():
        buyers = stories.buyers.get(token, [])
        for winner in buyers:
            for earlier in asked[: asked.index(winner)] if winner in asked else ():
                if earlier.refusal not in OWN_REASONS and not earlier.said & CONFIRMED:
                    verdict.breach(
                        13,
                        earlier.about,
                        f"asked for token {token} before {winner.about}, who got it, and was told "
                        f"{earlier.refusal or 'nothing'}: {stories.where(earlier)}; {stories.where(winner)}",
                    )
        if not buyers:
            for story in asked:
                if story.refusal == "token-vendido":
                    verdict.breach(
                        13, story.about, f"was refused as token-vendido, and nobody bought it: {stories.where(story)}"
                    )


def _entries(verdict: Verdict, stories: Stories) -> None:
    """Promises 4 and 7, for the operator's entries: each is heard, and only what was entered is."""
    for story in stories.by_id.values():
        if story.said & ASKED or not (story.heard | story.said) & _ENTRY_BITS:
            continue
        for kind, service in ENTRIES.items():
            said, heard = story.said & bit("compras", kind), story.heard & bit(service, kind)
            if said and not heard:
                verdict.breach(4, story.about, f"compras accepted {kind}, and {service} never heard of it")
            if heard and not said and kind == "token.publicado" and not story.about.startswith(SEED):
                verdict.breach(7, story.about, f"{service} acted on {kind}, which compras never said")


_ENTRY_BITS: Final = sum(bit("compras", kind) | bit(service, kind) for kind, service in ENTRIES.items())


def _live(verdict: Verdict, live: Mapping[str, list[dict[str, Any]]] | None, stories: Stories) -> None:
    """Promise 8."""
    if live is None:
        verdict.unchecked[8] = "the services were not asked"
        return
    users = {number: user.row for number, user in stories.users.items() if user.row.get("nombre") is not None}
    tokens = {number: row for number, row in stories.tokens.items() if row.get("nombre") is not None}
    sales = {
        story.record: {"usuarioId": story.usuario, "tokenId": story.token, "fecha": story.fecha}
        for story in stories.by_id.values()
        if story.record is not None
    }
    for name, rows, fields in (
        ("usuarios", users, ("nombre", "saldo")),
        ("tokens", tokens, ("nombre", "imagen", "precio", "vendido")),
        ("transacciones", sales, ("usuarioId", "tokenId", "fecha")),
    ):
        shown = {row["id"]: row for row in live[name]}
        for key in shown.keys() ^ rows.keys():
            verdict.breach(8, f"{name} {key}", "is only in the journal" if key in rows else "is not in the journal")
        for key in shown.keys() & rows.keys():
            for field_name in fields:
                if shown[key].get(field_name) != rows[key].get(field_name):
                    verdict.breach(
                        8,
                        f"{name} {key}",
                        f"{field_name} is {shown[key].get(field_name)}, in the journal {rows[key].get(field_name)}",
                    )


def _clients(verdict: Verdict, clients: Iterable[Told] | None, stories: Stories) -> None:
    """Promises 4, 10 and 12, from the clients' side."""
    if clients is None:
        verdict.unchecked |= dict.fromkeys((10, 12), "no client's journal was given")
        return
    for told in clients:
        expected = purchase_id(told.usuario_id, told.key)
        story = stories.by_id.get(expected)
        if told.status == 422:
            _refused_key(verdict, told, expected, story)
        elif told.status in (200, 202) and told.answer is not None:
            about = told.answer["id"]
            if about != expected:
                verdict.breach(10, about, f"the key {told.key} of user {told.usuario_id} is {expected}: {told.where}")
            found = stories.by_id.get(about)
            if found is None or not found.said & ASKED:
                verdict.breach(4, about, f"answered {told.status}, and compras has no such purchase: {told.where}")
            else:
                _agrees(verdict, told, told.answer, found, stories)


def purchase_id(usuario: int, key: str) -> str:
    """The UUID, version 5, that the design makes of a buyer and a key; `uuid.uuid5` takes three times as long."""
    digest = hashlib.sha1(NAMESPACE + f"{usuario}:{key}".encode()).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def _refused_key(verdict: Verdict, told: Told, about: str, story: Story | None) -> None:
    """A 422 to a good request means that its key was used for something else."""
    asked = (told.token_id, told.precio_maximo)
    if story is None or not story.said & ASKED:
        verdict.breach(10, about, f"was told that its key is used, and no purchase has it: {told.where}")
    elif asked == (story.token, story.maximo):
        verdict.breach(10, about, f"was told that its key is used for something else, and it is this: {told.where}")


def _agrees(verdict: Verdict, told: Told, answer: dict[str, Any], story: Story, stories: Stories) -> None:
    asked, has = (told.usuario_id, told.token_id, told.precio_maximo), (story.usuario, story.token, story.maximo)
    where = f"{told.where}; {stories.where(story)}"
    if asked != has:
        verdict.breach(12, story.about, f"asked for {asked}, and the book has {has}: {where}")
    if not story.passed & ESTADOS.get(answer["estado"], 0):
        verdict.breach(12, story.about, f"was told {answer['estado']}, and it never was: {where}")
    shown = (("motivo", story.motivo), ("precio", story.precio), ("transaccionId", story.number))
    for name, value in shown:
        if answer.get(name) not in (None, value):
            verdict.breach(12, story.about, f"was told {name} {answer[name]}, and it is {value}: {where}")
