"""Breaches as data: what is wrong, in which story's books, and which promise that breaks (docs/guarantees.md).

Those written by hand are lies that a broken shop would tell, most of them the same in all books that could contradict
them. `generated_breaches.py` walks through real records and has one for every field, header and answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final
from uuid import uuid5

from audit_shop import problem
from edited_books import (
    SERVICES,
    Edited,
    Journal,
    Record,
    Wanted,
    about,
    copied,
    heard,
    of,
    refusing,
    says,
    with_field,
)

from broker.messages import NAMESPACE, compra_id

NOBODYS: Final = "00000000-0000-5000-8000-000000000000"


@dataclass(frozen=True)
class Breach:
    """One thing that is wrong. It is caught if one of `promises`, its own, is found broken: several where the design
    leaves open which (a price that was not taken is about money, and about what confirmed means)."""

    name: str
    story: str
    promises: frozenset[int]
    edit: Callable[[Edited], None]
    # The service itself would refuse this folder, or nobody can read it: to refuse it by name is to catch it.
    refusable: bool = False
    # Something is not there to be looked at: to say that these promises are unchecked is to catch it.
    unchecked: bool = False


BY_HAND: Final[list[Breach]] = []


def breach(
    name: str, story: str, *promises: int, refusable: bool = False, unchecked: bool = False
) -> Callable[[Callable[[Edited], None]], None]:
    """Write the function below into the catalogue."""

    def wrote(edit: Callable[[Edited], None]) -> None:
        BY_HAND.append(Breach(name, story, frozenset(promises), edit, refusable, unchecked))

    return wrote


# Lies that several books tell together


@contextmanager
def rebalanced(usuarios: Journal) -> Iterator[None]:
    """Whatever moves between rows meanwhile: every balance is what the changes before it come to."""
    balances: dict[str, int] = {}
    steps: dict[int, int] = {}
    for record in usuarios.records:
        if "saldo" in (record["change"] or {}):
            saldo = record["change"]["saldo"]
            steps[id(record)] = saldo - balances.get(record["row"], 0)
            balances[record["row"]] = saldo
    yield
    balances.clear()
    for record in usuarios.records:
        if "saldo" in (record["change"] or {}):
            balances[record["row"]] = balances.get(record["row"], 0) + steps.get(id(record), 0)
            record["change"]["saldo"] = balances[record["row"]]


def add_to_balance(usuarios: Journal, first: Record, amount: int) -> None:
    """From this record on, this user has so much more."""
    records = usuarios.records
    behind = [one is first for one in records].index(True)
    for record in records[behind:]:
        if record["row"] == first["row"] and "saldo" in (record["change"] or {}):
            record["change"]["saldo"] += amount


def words(books: Edited, compra: str, *services: str) -> Iterator[Record]:
    """All that these services (None named: all) say of a purchase or an entry."""
    for service in services or SERVICES:
        for record in books.book(service).records:
            for word in record["words"]:
                if compra in (word.get("compraId"), word.get("altaId")):
                    yield word


def tell(books: Edited, compra: str, **fields: Any) -> None:
    """Let the client have been told so of this purchase, wherever it was told of these fields."""
    for note in books.told():
        answer = note.get("answer") or {}
        for told in (answer if answer.get("id") == compra else {}, note if note.get("ended") == compra else {}):
            told.update({name: value for name, value in fields.items() if name in told})


def refuse_as(books: Edited, compra: str, motivo: str) -> None:
    """tokens and compras, and usuarios if it could, give another reason for a refusal."""
    for word in words(books, compra, "tokens"):
        if word["type"] == "compra.rechazada":
            word["motivo"] = motivo
    for word in words(books, compra, "usuarios"):
        if motivo in ("usuario-inexistente", "saldo-insuficiente"):
            word["motivo"] = motivo
    for record in books.compras.records:
        if record["row"] == compra and (record["change"] or {}).get("motivo"):
            record["change"]["motivo"] = motivo
    tell(books, compra, motivo=motivo)


def resell(books: Edited, compra: str, precio: int) -> None:
    """Held, paid and confirmed at another price, in all books."""
    difference = 0
    for word in words(books, compra):
        if "precio" in word:
            difference = word["precio"] - precio
            word["precio"] = precio
    for record in books.tokens.records:
        reserva = (record["change"] or {}).get("reserva") or {}
        if reserva.get("compra_id") == compra:
            reserva["precio"] = precio
    for record in books.compras.records:
        if record["row"] == compra and (record["change"] or {}).get("precio") is not None:
            record["change"]["precio"] = precio
    add_to_balance(books.usuarios, books.usuarios.find(about(compra), says("saldo.reservado")), difference)
    tell(books, compra, precio=precio)


def sold(books: Edited, *wanted: Wanted, skip: int = 0) -> str:
    """A purchase that was confirmed."""
    record = books.tokens.find(says("compra.confirmada"), *wanted, skip=skip)
    compra: str = record["words"][0]["compraId"]
    return compra


def refused_as(books: Edited, motivo: str, skip: int = 0) -> str:
    """A purchase that tokens refused for this reason."""
    found = [
        word["compraId"] for record in books.tokens.records for word in record["words"] if word.get("motivo") == motivo
    ]
    compra: str = found[skip]
    return compra


def before(record: Record) -> Wanted:
    return lambda one: one["seq"] < record["seq"]


def after(record: Record) -> Wanted:
    return lambda one: one["seq"] > record["seq"]


def ask_for(books: Edited, compra: str) -> Record:
    """compras' first record of a purchase."""
    return books.compras.find(heard("compra.solicitada"), about(compra))


# The six bugs that a whole drill did not see


@breach("sold above precioMaximo", "ordinary", 6, 7, 13)
def _(books: Edited) -> None:
    bought = {word["compraId"]: word["precio"] for word in _confirmed(books)}
    asked = books.compras.find(
        heard("compra.solicitada"),
        lambda record: record["row"] in bought and record["words"][0].get("precioMaximo") is not None,
    )
    compra, maximo = asked["row"], bought[asked["row"]] - 1
    asked["words"][0]["precioMaximo"] = asked["change"]["precio_maximo"] = maximo
    for record in books.tokens.records:
        for espera in ((record["change"] or {}).get("cola") or {"joined": []})["joined"]:
            if espera["compra_id"] == compra:
                espera["precio_maximo"] = maximo
    tell(books, compra, precioMaximo=maximo)
    for note in books.told():
        if (asks := note.get("asks")) and compra_id(asks["usuarioId"], note["key"]) == compra:
            asks["precioMaximo"] = maximo


def _confirmed(books: Edited) -> list[Record]:
    return [word for record in books.tokens.records for word in record["words"] if word["type"] == "compra.confirmada"]


@breach("refused as token-disputado, and nobody waits", "prices", 13)
def _(books: Edited) -> None:
    refuse_as(books, refused_as(books, "precio-mayor"), "token-disputado")


@breach("registered, and refused as usuario-inexistente", "crowded", 13)
def _(books: Edited) -> None:
    refuse_as(books, refused_as(books, "saldo-insuficiente"), "usuario-inexistente")


@breach("every record of the book of sales is dated 1999", "ordinary", 5, 7)
def _(books: Edited) -> None:
    for record in books.transacciones.records:
        for word in record["words"]:
            word["fecha"] = "1999-12-31T23:59:59.000Z"


@breach("wrong prices in compras' book, the same to who asks", "ordinary", 6, 7)
def _(books: Edited) -> None:
    for record in books.compras.records:
        if (record["change"] or {}).get("precio") is not None:
            record["change"]["precio"] += 1
            tell(books, record["row"], precio=record["change"]["precio"])


@breach("wrong numbers in compras' book, the same to who asks", "ordinary", 5, 7)
def _(books: Edited) -> None:
    for record in books.compras.records:
        if (record["change"] or {}).get("transaccion_id") is not None:
            record["change"]["transaccion_id"] += 7
            tell(books, record["row"], transaccionId=record["change"]["transaccion_id"])


# Money


@breach("a top-up credited to another user", "topped up", 1, 7)
def _(books: Edited) -> None:
    usuarios = books.usuarios
    with rebalanced(usuarios):
        record = usuarios.find(heard("saldo.recargado"), says("alta.aplicada"))
        other = usuarios.find(heard("usuario.registrado"), before(record), lambda one: one["row"] != record["row"])
        record["row"] = other["row"]


@breach("buyers charged by each other's row", "ordinary", 1, 6, 7)
def _(books: Edited) -> None:
    usuarios = books.usuarios
    with rebalanced(usuarios):
        paid = [record for record in usuarios.records if says("saldo.reservado")(record)]
        one, other = next(
            (one, other)
            for one, other in combinations(paid, 2)
            if one["row"] != other["row"] and one["words"][0]["precio"] == other["words"][0]["precio"]
        )
        usuarios.swap(one, other, "row")


@breach("a payment that takes nothing", "ordinary", 1, 6)
def _(books: Edited) -> None:
    usuarios = books.usuarios
    record = usuarios.find(says("saldo.reservado"))
    add_to_balance(usuarios, record, record["words"][0]["precio"])
    del record["change"]["saldo"]
    record["change"] = None


@breach("a payment that takes the price twice", "ordinary", 1)
def _(books: Edited) -> None:
    record = books.usuarios.find(says("saldo.reservado"), with_field("saldo"))
    add_to_balance(books.usuarios, record, -record["words"][0]["precio"])


@breach("a refusal that takes the price", "crowded", 1, 6, 7)
def _(books: Edited) -> None:
    record = books.usuarios.find(refusing("saldo-insuficiente"))
    saldo = balance_before(books.usuarios, record)
    record["change"] = {"saldo": saldo}
    add_to_balance(books.usuarios, record, -min(5, saldo))
    assert saldo > 0


def balance_before(usuarios: Journal, record: Record) -> int:
    known = [
        one["change"]["saldo"]
        for one in usuarios.records
        if one["seq"] < record["seq"] and one["row"] == record["row"] and "saldo" in (one["change"] or {})
    ]
    return int(known[-1]) if known else 0


@breach("a balance below zero, and all books agree", "ordinary", 2)
def _(books: Edited) -> None:
    paid = books.usuarios.find(says("saldo.reservado"), with_field("saldo"), lambda record: int(record["row"]) > 10)
    begun = books.usuarios.find(heard("usuario.registrado"), of(paid["row"]))
    less = paid["change"]["saldo"] + 1
    add_to_balance(books.usuarios, begun, -less)
    _enter_other(books, begun["id"].partition(":")[0], "saldo", -less)


def _enter_other(books: Edited, alta: str, name: str, more: int) -> None:
    """compras has another amount in an entry, in all places."""
    record = books.compras.find(about(alta), with_field("mensaje"))
    (word,) = record["words"]
    word[name] += more
    mensaje = {key: value for key, value in word.items() if key != "type"}
    record["change"]["mensaje"] = _text(mensaje)


def _text(value: Any) -> str:
    import msgspec  # noqa: PLC0415

    return msgspec.json.encode(value).decode()


@breach("refused as saldo-insuficiente with more than enough, and all books agree", "crowded", 13)
def _(books: Edited) -> None:
    record = books.usuarios.find(refusing("saldo-insuficiente"))
    begun = books.usuarios.find(heard("usuario.registrado"), of(record["row"]))
    add_to_balance(books.usuarios, begun, 100_000)
    _enter_other(books, begun["id"].partition(":")[0], "saldo", 100_000)


@breach("a top-up that nobody entered", "topped up", 1, 7)
def _(books: Edited) -> None:
    usuarios = books.usuarios
    record = usuarios.find(heard("saldo.recargado"), says("alta.aplicada"))
    amount = record["change"]["saldo"] - balance_before(usuarios, record)
    new = usuarios.put(record, after=record)
    new["id"] = f"{NOBODYS}:saldo.recargado"
    new["words"][0]["altaId"] = NOBODYS
    add_to_balance(usuarios, new, amount)


@breach("a top-up counted twice, under two numbers", "topped up", 1, 9)
def _(books: Edited) -> None:
    usuarios = books.usuarios
    record = usuarios.find(heard("saldo.recargado"), says("alta.aplicada"))
    amount = record["change"]["saldo"] - balance_before(usuarios, record)
    add_to_balance(usuarios, usuarios.put(record, after=record), amount)


@breach("a top-up that compras has with another amount", "topped up", 1)
def _(books: Edited) -> None:
    record = books.usuarios.find(heard("saldo.recargado"), says("alta.aplicada"))
    _enter_other(books, record["id"].partition(":")[0], "monto", 1)


@breach("a user that compras registered with another balance", "topped up", 1)
def _(books: Edited) -> None:
    record = books.usuarios.find(heard("usuario.registrado"), of("51"), with_field("saldo"))
    _enter_other(books, record["id"].partition(":")[0], "saldo", 1)


@breach("a top-up that is answered as applied and adds nothing", "topped up", 1)
def _(books: Edited) -> None:
    usuarios = books.usuarios
    record = usuarios.find(heard("saldo.recargado"), says("alta.aplicada"))
    add_to_balance(usuarios, record, balance_before(usuarios, record) - record["change"]["saldo"])
    record["change"] = None


@breach("top-ups that waited are lost when their user is registered", "topped up", 1)
def _(books: Edited) -> None:
    record = books.usuarios.find(heard("usuario.registrado"), of("51"))
    add_to_balance(books.usuarios, record, -42)


@breach("top-ups that waited count twice when their user is registered", "topped up", 1)
def _(books: Edited) -> None:
    record = books.usuarios.find(heard("usuario.registrado"), of("51"))
    add_to_balance(books.usuarios, record, 42)


@breach("top-ups that waited still wait after they were counted", "topped up", 1, 7)
def _(books: Edited) -> None:
    waits = books.usuarios.find(heard("saldo.recargado"), with_field("esperan"), of("51"), skip=1)
    record = books.usuarios.find(heard("usuario.registrado"), of("51"))
    record["change"]["esperan"] = copied(waits["change"]["esperan"])


@breach("a top-up that waits is answered as applied", "topped up", 4, 7)
def _(books: Edited) -> None:
    record = books.usuarios.find(heard("saldo.recargado"), with_field("esperan"), of("59"))
    alta = record["id"].partition(":")[0]
    record["words"].append({"type": "alta.aplicada", "fecha": _entered(books, alta)["fecha"], "altaId": alta})


def _entered(books: Edited, alta: str) -> Record:
    return next(words(books, alta, "compras"))


@breach("an entry about a user who lives sets the balance", "topped up", 1)
def _(books: Edited) -> None:
    usuarios = books.usuarios
    record = usuarios.find(heard("usuario.registrado"), of("52"), skip=1)
    record["change"] = {**(record["change"] or {}), "saldo": 77}
    add_to_balance(usuarios, record, 0)
    later = [one for one in usuarios.records if one["seq"] > record["seq"] and one["row"] == "52"]
    amount = 77 - balance_before(usuarios, record)
    for one in later:
        if "saldo" in (one["change"] or {}):
            one["change"]["saldo"] += amount


# Seeds


def _semilla(books: Edited, beside: Record, alta: str, kind: str, row: str, change: Any) -> Record:
    words_ = [{"type": "alta.aplicada", "fecha": "1970-01-01T00:00:00Z", "altaId": alta}]
    new = {**copied(beside), "id": f"{alta}:{kind}", "row": row, "change": change, "words": words_}
    return books.usuarios.put(new, after=beside)


@breach("a seed that tops up", "topped up", 1, 7)
def _(books: Edited) -> None:
    last = books.usuarios.find(with_field("saldo"), of("51"), skip=1)
    change = {"saldo": last["change"]["saldo"]}
    add_to_balance(books.usuarios, _semilla(books, last, "semilla:777", "saldo.recargado", "51", change), 500)


@breach("a seed that sets the balance of a user who lives", "topped up", 1, 7)
def _(books: Edited) -> None:
    last = books.usuarios.find(with_field("saldo"), of("52"), skip=1)
    change = {"saldo": last["change"]["saldo"]}
    add_to_balance(books.usuarios, _semilla(books, last, "semilla:52", "usuario.registrado", "52", change), 500)


@breach("a seed that renames a user who lives", "topped up", 7)
def _(books: Edited) -> None:
    last = books.usuarios.find(with_field("saldo"), of("52"), skip=1)
    _semilla(books, last, "semilla:52", "usuario.registrado", "52", {"nombre": "Otra"})


@breach("a seed that creates another user than its own", "topped up", 7)
def _(books: Edited) -> None:
    last = books.usuarios.find(heard("usuario.registrado"), of("53"))
    change = {**copied(last["change"]), "id": 54}
    _semilla(books, last, "semilla:55", "usuario.registrado", "54", change)


@breach("a seed that is imported again, and creates its user again", "topped up", 1, 9)
def _(books: Edited) -> None:
    begun = books.usuarios.find(heard("usuario.registrado"), of("2"), with_field("saldo"))
    paid = books.usuarios.find(of("2"), with_field("saldo"), after(begun))
    new = books.usuarios.put(begun, after=paid)
    add_to_balance(books.usuarios, new, 0)


@breach("a seed that changes the price of a token that lives", "prices", 7)
def _(books: Edited) -> None:
    tokens = books.tokens
    record = tokens.find(heard("token.publicado"), of("601"))
    new = tokens.put(record, after=record)
    new["id"] = "semilla:601:token.publicado"
    new["change"] = {"nombre": "Otro"}
    new["words"] = [{"type": "alta.aplicada", "fecha": "1970-01-01T00:00:00Z", "altaId": "semilla:601"}]


@breach("a seed that takes a token back from who bought it", "prices", 3, 6, 7)
def _(books: Edited) -> None:
    tokens = books.tokens
    last = tokens.find(says("compra.confirmada"))
    new = tokens.put(last, after=last)
    new["id"] = f"semilla:{last['row']}:token.publicado"
    if int(last["row"]) < 200:
        new["id"] = "semilla:1:token.publicado"
    new["change"] = {"vendido": False, "reserva": None}
    new["words"] = [{"type": "alta.aplicada", "fecha": "1970-01-01T00:00:00Z", "altaId": new["id"][:-16]}]


@breach("a seed in the book of sales", "ordinary", 5, 7)
def _(books: Edited) -> None:
    last = books.transacciones.records[-1]
    new = books.transacciones.put(last, after=last)
    new["id"] = "semilla:1:compra.confirmada"
    new["words"], new["change"] = [], None


# Tokens: who holds, waits, buys


@breach("sold by a publication", "prices", 3, 6, 7)
def _(books: Edited) -> None:
    record = books.tokens.find(heard("token.publicado"), of("601"), lambda one: bool(one["change"]), skip=1)
    record["change"]["vendido"] = True


@breach("given back by a publication", "prices", 3, 6, 7)
def _(books: Edited) -> None:
    late = books.tokens.find(heard("token.publicado"), lambda one: (one["change"] or {}).get("nombre") == "Vendido")
    late["change"]["vendido"] = False


@breach("the owner changed, and changed back", "prices", 3, 6, 7)
def _(books: Edited) -> None:
    tokens = books.tokens
    confirmed = tokens.find(says("compra.confirmada"))
    late = tokens.find(heard("token.publicado"), of(confirmed["row"]), after(confirmed))
    reserva = confirmed["change"]["reserva"]
    back = tokens.put(late, after=late)
    late["change"] = {**(late["change"] or {}), "reserva": {**reserva, "compra_id": NOBODYS, "usuario_id": 66}}
    back["id"], back["change"] = f"{NOBODYS}:token.publicado", {"reserva": reserva}
    back["words"][0]["altaId"] = NOBODYS


@breach("held before it was published", "crowded", 7, 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    held = tokens.find(says("token.reservado"), of("302"))
    tokens.move(tokens.find(heard("token.publicado"), of("302")), after=held)


@breach("confirmed before it was held", "ordinary", 6, 7)
def _(books: Edited) -> None:
    tokens = books.tokens
    confirmed = tokens.find(says("compra.confirmada"))
    tokens.move(confirmed, before=tokens.find(about(confirmed["words"][0]["compraId"]), says("token.reservado")))


@breach("confirmed on a message that is no payment", "ordinary", 6, 7)
def _(books: Edited) -> None:
    record = books.tokens.find(says("compra.confirmada"))
    record["id"] = record["id"].replace("saldo.reservado", "saldo.rechazado")


@breach("confirmed on another buyer's payment", "ordinary", 6, 7)
def _(books: Edited) -> None:
    one, other = (books.tokens.find(says("compra.confirmada"), skip=skip) for skip in (0, 1))
    books.tokens.swap(one, other, "id")


@breach("held at another price, and all books agree", "ordinary", 6, 7)
def _(books: Edited) -> None:
    resell(books, sold(books), 11)


@breach("held at another price by who waited, and all books agree", "crowded", 6, 7)
def _(books: Edited) -> None:
    record = books.tokens.find(heard("saldo.rechazado"), says("token.reservado"))
    compra = next(word["compraId"] for word in record["words"] if word["type"] == "token.reservado")
    later = [one for one in _confirmed(books) if one["compraId"] == compra]
    if later:
        resell(books, compra, 13)
        return
    for word in words(books, compra, "tokens"):
        if word["type"] == "token.reservado":
            word["precio"] = 13
    record["change"]["reserva"]["precio"] = 13


@breach("held at the new price after a price change, and all books agree", "prices", 6, 7)
def _(books: Edited) -> None:
    for record in books.tokens.records:
        if says("compra.confirmada")(record):
            held = record["change"]["reserva"]["precio"]
            shown = record["change"]["precio"]
            if shown != held:
                resell(books, record["words"][0]["compraId"], shown)
                return
    raise AssertionError("no price changed while it was held")


@breach("published at another price than was entered", "prices", 7)
def _(books: Edited) -> None:
    record = books.tokens.find(heard("token.publicado"), of("603"))
    _enter_other(books, record["id"].partition(":")[0], "precio", 5)


@breach("sold at another price, in tokens' book and compras'", "ordinary", 1, 6, 7)
def _(books: Edited) -> None:
    compra = sold(books)
    for word in words(books, compra, "tokens"):
        if word["type"] == "compra.confirmada":
            word["precio"] += 1
            for record in books.compras.records:
                if record["row"] == compra and heard("compra.confirmada", "transaccion.registrada")(record):
                    record["change"]["precio"] = word["precio"]
    tell(books, compra, precio=word["precio"])


@breach("paid at another price than it was held at, and the balance agrees", "ordinary", 1, 6, 7)
def _(books: Edited) -> None:
    record = books.usuarios.find(says("saldo.reservado"))
    record["words"][0]["precio"] -= 1
    add_to_balance(books.usuarios, record, 1)


@breach("the held price follows a publication", "prices", 6, 7)
def _(books: Edited) -> None:
    tokens = books.tokens
    for record in tokens.records:
        if heard("token.publicado")(record) and "precio" in (record["change"] or {}) and "id" not in record["change"]:
            earlier = [
                one["change"]["reserva"]
                for one in tokens.records
                if one["row"] == record["row"] and one["seq"] < record["seq"] and "reserva" in (one["change"] or {})
            ]
            if earlier and earlier[-1]:
                record["change"]["reserva"] = {**earlier[-1], "precio": record["change"]["precio"]}
                return
    raise AssertionError("no price changed while it was held")


@breach("a publication empties the line", "crowded", 7, 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    record = tokens.find(heard("token.publicado"), lambda one: bool(one["change"]) and "id" not in one["change"])
    record["change"]["cola"] = {"left": 1, "joined": []}


@breach("an older publication is applied", "prices", 7)
def _(books: Edited) -> None:
    record = books.tokens.find(heard("token.publicado"), lambda one: one["change"] is None)
    word = _entered(books, record["id"].partition(":")[0])
    record["change"] = {name: word[name] for name in ("nombre", "imagen", "precio")} | {"publicado": word["fecha"]}


@breach("a publication that is answered as applied and changes nothing", "prices", 4, 7)
def _(books: Edited) -> None:
    record = books.tokens.find(heard("token.publicado"), lambda one: "publicado" in (one["change"] or {}), skip=14)
    assert "id" not in record["change"]
    record["change"] = None


@breach("a rename that is answered as applied and changes nothing", "topped up", 4, 7)
def _(books: Edited) -> None:
    record = books.usuarios.find(heard("usuario.registrado"), of("2"), with_field("nombre"), skip=1)
    record["change"] = None


@breach("an older rename is applied", "topped up", 7)
def _(books: Edited) -> None:
    record = books.usuarios.find(heard("usuario.registrado"), lambda one: one["change"] is None)
    record["change"] = {"nombre": "Otra"}


@breach("a token sold to a second buyer", "ordinary", 3)
def _(books: Edited) -> None:
    tokens = books.tokens
    first = tokens.find(says("compra.confirmada"))
    late = tokens.find(refusing("token-vendido"), heard("compra.solicitada"), of(first["row"]), after(first))
    compra = late["id"].partition(":")[0]
    buyer = late["words"][0]["usuarioId"]
    new = tokens.put(first, after=late)
    new["id"] = f"{compra}:saldo.reservado"
    new["words"] = [{**new["words"][0], "compraId": compra, "usuarioId": buyer}]
    new["change"]["reserva"] |= {"compra_id": compra, "usuario_id": buyer}


@breach("a token sold twice to the same buyer", "ordinary", 3, 9)
def _(books: Edited) -> None:
    first = books.tokens.find(says("compra.confirmada"))
    books.tokens.put(first, after=first)


@breach("who waits behind gets it before who waits in front", "crowded", 6, 7, 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    record = tokens.find(
        heard("saldo.rechazado"),
        says("token.reservado"),
        lambda one: len(_line_at(tokens, one)) > one["change"]["cola"]["left"],
    )
    behind = _line_at(tokens, record)[record["change"]["cola"]["left"]]
    held = next(word for word in record["words"] if word["type"] == "token.reservado")
    held |= {"compraId": behind["compra_id"], "usuarioId": behind["usuario_id"], "fecha": behind["fecha"]}
    precio = record["change"]["reserva"]["precio"]
    record["change"]["reserva"] = {name: behind[name] for name in ("compra_id", "usuario_id", "fecha")}
    record["change"]["reserva"]["precio"] = precio


def _line_at(tokens: Journal, record: Record) -> list[Record]:
    """Who waits for its token before this record."""
    line: list[Record] = []
    for one in tokens.records:
        if one is record:
            break
        if one["row"] == record["row"] and (cola := (one["change"] or {}).get("cola")):
            line = line[cola["left"] :] + cola["joined"]
    return line


@breach("who could pay is skipped in the line as precio-mayor", "crowded", 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    for record in tokens.records:
        if heard("saldo.rechazado")(record) and says("token.reservado")(record):
            line, left = _line_at(tokens, record), record["change"]["cola"]["left"]
            if len(line) > left and line[left]["precio_maximo"] is None:
                break
    skipped, behind = line[left - 1], line[left]
    held = record["words"].pop()
    record["words"].append(
        {
            "type": "compra.rechazada",
            "fecha": skipped["fecha"],
            "compraId": skipped["compra_id"],
            "usuarioId": skipped["usuario_id"],
            "tokenId": held["tokenId"],
            "motivo": "precio-mayor",
        }
    )
    names = {"compraId": behind["compra_id"], "usuarioId": behind["usuario_id"], "fecha": behind["fecha"]}
    record["words"].append({**held, **names})
    record["change"]["cola"]["left"] += 1
    record["change"]["reserva"] |= {name: behind[name] for name in ("compra_id", "usuario_id", "fecha")}


@breach("who waits first is forgotten when it is free again", "crowded", 4, 7, 13)
def _(books: Edited) -> None:
    record = books.tokens.find(heard("saldo.rechazado"), says("token.reservado"))
    record["words"] = [word for word in record["words"] if word["type"] != "token.reservado"]
    record["change"] = {"reserva": None}


@breach("who waits is never answered when it is sold", "crowded", 4, 7, 13)
def _(books: Edited) -> None:
    record = books.tokens.find(says("compra.confirmada"), refusing("token-vendido"))
    record["words"].pop()


@breach("one too many waits in a line that is full, and all books agree", "crowded", 7, 13)
def _(books: Edited) -> None:
    _let_wait(books)


@breach("the ten thousand and first waits, and all books agree", "full line", 7, 13)
def _(books: Edited) -> None:
    _let_wait(books)


def _let_wait(books: Edited) -> None:
    tokens = books.tokens
    record = tokens.find(refusing("token-disputado"))
    (refusal,) = record["words"]
    asked = ask_for(books, refusal["compraId"])
    espera = {name: asked["change"][name] for name in ("usuario_id", "fecha", "precio_maximo")}
    espera = {"compra_id": refusal["compraId"], **espera}
    record["words"], record["change"] = [], {"cola": {"left": 0, "joined": [espera]}}
    # It ends as the others do who wait. Who joined later stood behind it.
    last = tokens.find(of(record["row"]), says("compra.confirmada"), after(record))
    names = [waits["compra_id"] for waits in _line_at(tokens, last)]
    last["change"]["cola"]["left"] += 1
    last["words"].insert(1 + names.index(refusal["compraId"]), {**refusal, "motivo": "token-vendido"})
    for one in books.compras.records:
        if one["row"] == refusal["compraId"] and (one["change"] or {}).get("motivo"):
            one["change"]["motivo"] = "token-vendido"
    tell(books, refusal["compraId"], motivo="token-vendido")


@breach("a buyer waits twice in one line", "crowded", 7, 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    for again in filter(refusing("ya-en-cola"), tokens.records):
        line = _line_at(tokens, again)
        if len(line) < 3 and any(_is_of(again, one) for one in line):
            break
    _joins(books, again)


@breach("a buyer waits behind themselves", "crowded", 7, 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    for again in filter(refusing("ya-en-cola"), tokens.records):
        line = _line_at(tokens, again)
        if len(line) < 3 and not any(_is_of(again, one) for one in line):
            break
    _joins(books, again)


def _is_of(record: Record, waits: Record) -> bool:
    return bool(waits["usuario_id"] == record["words"][0]["usuarioId"])


def _joins(books: Edited, record: Record) -> None:
    (refusal,) = record["words"]
    espera = {"compra_id": refusal["compraId"], "usuario_id": refusal["usuarioId"], "fecha": refusal["fecha"]}
    espera["precio_maximo"] = ask_for(books, refusal["compraId"])["change"]["precio_maximo"]
    record["words"], record["change"] = [], {"cola": {"left": 0, "joined": [espera]}}


@breach("refused as ya-en-cola by the rules of a version that let a buyer wait twice", "crowded", 7, 13)
def _(books: Edited) -> None:
    del books.tokens.find(refusing("ya-en-cola"))["rules"]


@breach("decided by rules that nobody knows", "crowded", 7, refusable=True)
def _(books: Edited) -> None:
    books.tokens.find(heard("compra.solicitada"))["rules"] = 2


@breach("a publication says by which rules it was decided", "crowded", 7)
def _(books: Edited) -> None:
    books.tokens.find(heard("token.publicado"))["rules"] = 1


@breach("two entries under one key", "topped up", 7, 9, 10)
def _(books: Edited) -> None:
    compras = books.compras
    one, other = compras.find(heard("usuario.registrado")), compras.find(heard("saldo.recargado"))
    alta, (word,) = one["row"], other["words"]
    again = compras.put(other, after=one)
    again |= {"id": f"{alta}:saldo.recargado", "row": alta, "words": [{**word, "altaId": alta}]}
    mensaje = {key: value for key, value in again["words"][0].items() if key != "type"}
    again["change"] = {"tipo": "saldo.recargado", "mensaje": _text(mensaje), "fecha": word["fecha"]}


@breach("the line is said to be full one place too early, and all books agree", "crowded", 13)
def _(books: Edited) -> None:
    _refuse_early(books, 3)


@breach("the ten thousandth is told that the line is full, and all books agree", "full line", 13)
def _(books: Edited) -> None:
    _refuse_early(books, 10_000)


def _refuse_early(books: Edited, places: int) -> None:
    """Who joined as the last of a full line, and was refused when it was sold, is refused at once as one too many."""
    tokens = books.tokens
    for record in tokens.records:
        cola = (record["change"] or {}).get("cola") or {"joined": []}
        if cola["joined"] and len(_line_at(tokens, record)) == places - 1:
            compra = cola["joined"][0]["compra_id"]
            late = [one for one in tokens.records if says("compra.confirmada")(one) and compra in _told(one)]
            if late:
                break
    else:
        raise AssertionError("nobody waited to the end at the last place")
    (sale,) = late
    refusal = next(word for word in sale["words"] if word["compraId"] == compra)
    sale["words"].remove(refusal)
    record["change"], record["words"] = None, [{**refusal, "motivo": "token-disputado"}]
    sale["change"]["cola"]["left"] -= 1
    for full in tokens.records:
        if full["row"] == record["row"] and refusing("token-disputado")(full) and full is not record:
            tokens.remove(full)
    for one in books.compras.records:
        if one["row"] == compra and (one["change"] or {}).get("motivo"):
            one["change"]["motivo"] = "token-disputado"
    tell(books, compra, motivo="token-disputado")


def _told(record: Record) -> set[str]:
    return {word.get("compraId") for word in record["words"]}


@breach("who asks for a free token waits", "refused", 7, 13)
def _(books: Edited) -> None:
    record = books.tokens.find(says("token.reservado"), heard("compra.solicitada"))
    reserva = record["change"]["reserva"]
    espera = {name: reserva[name] for name in ("compra_id", "usuario_id", "fecha")} | {"precio_maximo": None}
    record["words"], record["change"] = [], {"cola": {"left": 0, "joined": [espera]}}


@breach("the price is looked at before who holds, and the dearer waits", "crowded", 7, 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    record = tokens.find(refusing("precio-mayor"), heard("compra.solicitada"))
    (refusal,) = record["words"]
    asked = ask_for(books, refusal["compraId"])
    espera = {name: asked["change"][name] for name in ("usuario_id", "fecha", "precio_maximo")}
    record["words"] = []
    record["change"] = {"cola": {"left": 0, "joined": [{"compra_id": refusal["compraId"], **espera}]}}


@breach("a held token is let go, and nobody refused its buyer", "refused", 6, 7)
def _(books: Edited) -> None:
    tokens = books.tokens
    record = tokens.find(heard("saldo.rechazado"))
    late = tokens.find(of("401"), says("token.reservado"))
    new = tokens.put(record, after=late)
    new |= {"id": f"{late['words'][0]['compraId']}:saldo.rechazado", "row": "401", "words": []}
    new["change"] = {"reserva": None}


@breach("a purchase that paid is refused, and its money kept", "ordinary", 6)
def _(books: Edited) -> None:
    record = books.tokens.find(says("compra.confirmada"))
    word = record["words"][0]
    word["type"] = "compra.rechazada"
    word["motivo"] = "saldo-insuficiente"
    del word["precio"]
    record["change"] |= {"vendido": False, "reserva": None}


@breach("a purchase that nobody paid for is confirmed", "refused", 6)
def _(books: Edited) -> None:
    record = books.tokens.find(heard("saldo.rechazado"), refusing("saldo-insuficiente"))
    word = record["words"][0]
    word["type"] = "compra.confirmada"
    del word["motivo"]
    word["precio"] = 50
    record["change"] = {"vendido": True}


@breach("a whole sale that compras never asked for", "ordinary", 5, 7)
def _(books: Edited) -> None:
    """Invented in tokens, usuarios and transacciones, each right by itself."""
    compra = sold(books)
    for service in ("tokens", "usuarios", "transacciones"):
        journal = books.book(service)
        for record in [one for one in journal.records if one["id"].startswith(compra)]:
            record["id"] = record["id"].replace(compra, NOBODYS)
        for word in words(books, compra, service):
            word["compraId"] = NOBODYS
        for record in journal.records:
            reserva = (record["change"] or {}).get("reserva") or {}
            if reserva.get("compra_id") == compra:
                reserva["compra_id"] = NOBODYS


@breach("a purchase as for another token from tokens on", "ordinary", 6, 7)
def _(books: Edited) -> None:
    compra = sold(books)
    for record in books.compras.records:
        if record["row"] == compra and heard("compra.solicitada")(record):
            record["words"][0]["tokenId"] = record["change"]["token_id"] = 202_020


@breach("a purchase as of another buyer from tokens on", "ordinary", 6, 7)
def _(books: Edited) -> None:
    compra = sold(books)
    for record in books.compras.records:
        if record["row"] == compra and heard("compra.solicitada")(record):
            record["words"][0]["usuarioId"] = record["change"]["usuario_id"] = 17


@breach("a purchase is dated anew by tokens, and all who hear of it agree", "ordinary", 7)
def _(books: Edited) -> None:
    compra = sold(books)
    for word in words(books, compra, "tokens", "usuarios", "transacciones"):
        word["fecha"] = "2025-09-10T18:00:00.000Z"
    for record in books.tokens.records:
        reserva = (record["change"] or {}).get("reserva") or {}
        if reserva.get("compra_id") == compra:
            reserva["fecha"] = "2025-09-10T18:00:00.000Z"


# The book of sales


@breach("the dates of two records swapped", "ordinary", 5, 7)
def _(books: Edited) -> None:
    one, other = books.transacciones.records[1]["words"][0], books.transacciones.records[4]["words"][0]
    one["fecha"], other["fecha"] = other["fecha"], one["fecha"]


@breach("the numbers of two records swapped", "ordinary", 5)
def _(books: Edited) -> None:
    one, other = books.transacciones.records[1]["words"][0], books.transacciones.records[4]["words"][0]
    one["transaccionId"], other["transaccionId"] = other["transaccionId"], one["transaccionId"]


@breach("the numbers of two records swapped, and compras agrees", "ordinary", 5)
def _(books: Edited) -> None:
    one, other = books.transacciones.records[1]["words"][0], books.transacciones.records[4]["words"][0]
    one["transaccionId"], other["transaccionId"] = other["transaccionId"], one["transaccionId"]
    for word in (one, other):
        _number_in_compras(books, word["compraId"], word["transaccionId"])


def _number_in_compras(books: Edited, compra: str, number: int) -> None:
    for record in books.compras.records:
        if record["row"] == compra and (record["change"] or {}).get("transaccion_id") is not None:
            record["change"]["transaccion_id"] = number
    tell(books, compra, transaccionId=number)


@breach("a number is left out, and compras agrees", "ordinary", 5)
def _(books: Edited) -> None:
    for record in books.transacciones.records[3:]:
        record["change"]["ultimo"] += 1
        for word in record["words"]:
            word["transaccionId"] += 1
            _number_in_compras(books, word["compraId"], word["transaccionId"])


@breach("numbers begin at 0, and compras agrees", "ordinary", 5)
def _(books: Edited) -> None:
    for record in books.transacciones.records:
        record["change"]["ultimo"] -= 1
        for word in record["words"]:
            word["transaccionId"] -= 1
            _number_in_compras(books, word["compraId"], word["transaccionId"])


@breach("two records of one sale", "ordinary", 5, 9)
def _(books: Edited) -> None:
    last = books.transacciones.records[-1]
    new = books.transacciones.put(last, after=last)
    new["words"][0]["transaccionId"] += 1
    new["change"]["ultimo"] += 1


@breach("a record of a purchase that was refused", "ordinary", 5)
def _(books: Edited) -> None:
    compra = refused_as(books, "token-vendido")
    asked = ask_for(books, compra)["words"][0]
    last = books.transacciones.records[-1]
    new = books.transacciones.put(last, after=last)
    new["id"] = f"{compra}:compra.confirmada"
    new["words"][0] |= {name: asked[name] for name in ("compraId", "usuarioId", "tokenId", "fecha")}
    new["words"][0]["transaccionId"] += 1
    new["change"]["ultimo"] += 1


@breach("a sale without its record, and the others numbered as if", "ordinary", 5)
def _(books: Edited) -> None:
    transacciones = books.transacciones
    transacciones.remove(transacciones.records[2])
    for record in transacciones.records[2:]:
        record["change"]["ultimo"] -= 1
        for word in record["words"]:
            word["transaccionId"] -= 1
            _number_in_compras(books, word["compraId"], word["transaccionId"])


@breach("a record of another buyer, the same in compras' list", "ordinary", 5, 6, 7)
def _(books: Edited) -> None:
    books.transacciones.records[0]["words"][0]["usuarioId"] = 17


# compras: what buyers see


@breach("a refusal with a registration in its history", "ordinary", 4, 6, 7)
def _(books: Edited) -> None:
    record = books.compras.find(heard("compra.rechazada"), with_field("historia"))
    historia = record["change"]["historia"]
    historia.insert(-1, {**historia[-1], "estado": "registrada"})


@breach("refused in compras' book, and sold in all others", "ordinary", 4, 6)
def _(books: Edited) -> None:
    record = books.compras.find(heard("transaccion.registrada"), with_field("estado"))
    record["change"] |= {"estado": "rechazada", "motivo": "token-vendido"}
    record["change"]["historia"][-1]["estado"] = "rechazada"


@breach("registered in compras' book, and refused in all others", "ordinary", 4, 6)
def _(books: Edited) -> None:
    record = books.compras.find(heard("compra.rechazada"), with_field("estado"))
    record["change"] |= {"estado": "registrada", "transaccion_id": 1}
    record["change"]["historia"][-1]["estado"] = "registrada"
    record["change"].pop("motivo", None)


@breach("an end that compras never heard", "ordinary", 4)
def _(books: Edited) -> None:
    books.compras.remove(books.compras.find(heard("transaccion.registrada")))


@breach("a refusal that compras never heard", "ordinary", 4)
def _(books: Edited) -> None:
    books.compras.remove(books.compras.find(heard("compra.rechazada")))


@breach("an entry that is never answered", "topped up", 4)
def _(books: Edited) -> None:
    books.compras.remove(books.compras.find(heard("alta.aplicada")))


@breach("a purchase that tokens never heard", "ordinary", 4, 6, 7)
def _(books: Edited) -> None:
    books.tokens.remove(books.tokens.find(heard("compra.solicitada"), refusing("token-vendido")))


@breach("an entry that its service never heard", "topped up", 4, 7)
def _(books: Edited) -> None:
    books.tokens.remove(books.tokens.find(heard("token.publicado"), of("510")))


@breach("a purchase whose refusal nobody said", "ordinary", 4, 7)
def _(books: Edited) -> None:
    record = books.tokens.find(refusing("token-vendido"), heard("compra.solicitada"))
    record["words"] = []


@breach("a purchase that no client asked for, under nobody's key", "ordinary", 4, 7, 10)
def _(books: Edited) -> None:
    """compras alone has it, unfinished."""
    record = books.compras.find(heard("compra.solicitada"))
    new = books.compras.put(record, after=record)
    new |= {"id": f"{NOBODYS}:compra.solicitada", "row": NOBODYS}
    new["change"]["id"] = new["words"][0]["compraId"] = NOBODYS


@breach("compras forgets a purchase that was answered 202", "ordinary", 4)
def _(books: Edited) -> None:
    compra = _good(books, 202)["answer"]["id"]
    for service in SERVICES:
        journal = books.book(service)
        for record in [one for one in journal.records if one["id"].startswith(compra)]:
            journal.remove(record)
        for record in journal.records:
            record["words"] = [word for word in record["words"] if word.get("compraId") != compra]


@breach("an unknown reason, and all books agree", "ordinary", 7, 13)
def _(books: Edited) -> None:
    refuse_as(books, refused_as(books, "token-vendido"), "no-me-gusta")


@breach("compras has another reason than tokens", "ordinary", 7, 13)
def _(books: Edited) -> None:
    record = books.compras.find(heard("compra.rechazada"), with_field("motivo"))
    record["change"]["motivo"] = "token-disputado"
    tell(books, record["row"], motivo="token-disputado")


@breach("compras has another price than tokens", "ordinary", 6, 7)
def _(books: Edited) -> None:
    compra = sold(books)
    for record in books.compras.records:
        if record["row"] == compra and (record["change"] or {}).get("precio") is not None:
            record["change"]["precio"] += 1
    tell(books, compra, precio=10**6)


@breach("compras has another number than transacciones", "ordinary", 5, 7)
def _(books: Edited) -> None:
    _number_in_compras(books, sold(books), 999)


@breach("two purchases have each other's numbers in compras' book", "ordinary", 5, 7)
def _(books: Edited) -> None:
    one, other = (books.transacciones.records[at]["words"][0] for at in (0, 1))
    _number_in_compras(books, one["compraId"], other["transaccionId"])
    _number_in_compras(books, other["compraId"], one["transaccionId"])


@breach("a history that begins in the middle", "ordinary", 4, 7)
def _(books: Edited) -> None:
    record = books.compras.find(heard("transaccion.registrada"), with_field("historia"))
    del record["change"]["historia"][0]


@breach("a history that runs backwards", "ordinary", 4, 7)
def _(books: Edited) -> None:
    record = books.compras.find(heard("transaccion.registrada"), with_field("historia"))
    record["change"]["historia"].reverse()


@breach("a history with a state twice", "ordinary", 4, 7)
def _(books: Edited) -> None:
    historia = books.compras.find(heard("transaccion.registrada"), with_field("historia"))["change"]["historia"]
    historia.insert(1, copied(historia[1]))


@breach("a state is forgotten by the next", "ordinary", 4, 7)
def _(books: Edited) -> None:
    record = books.compras.find(heard("transaccion.registrada"), lambda one: len(one["change"]["historia"]) == 5)
    del record["change"]["historia"][2]


@breach("a state's date is another when the next comes", "ordinary", 7)
def _(books: Edited) -> None:
    record = books.compras.find(heard("transaccion.registrada"), lambda one: len(one["change"]["historia"]) == 5)
    record["change"]["historia"][2]["fecha"] = "2025-09-10T17:00:00.001Z"


@breach("late news take a purchase back to an earlier state", "disordered", 4, 7)
def _(books: Edited) -> None:
    late = books.compras.find(
        heard("token.reservado"), with_field("historia"), lambda one: "estado" not in one["change"]
    )
    late["change"]["estado"] = "reservada"


@breach("late news are put behind what came later", "disordered", 4, 7)
def _(books: Edited) -> None:
    late = books.compras.find(
        heard("token.reservado"), with_field("historia"), lambda one: "estado" not in one["change"]
    )
    historia = late["change"]["historia"]
    historia.append(historia.pop(1))


@breach("news of a purchase that its service never told", "ordinary", 7)
def _(books: Edited) -> None:
    compra = refused_as(books, "token-vendido")
    record = books.compras.find(heard("saldo.rechazado", "compra.rechazada"), about(compra))
    new = books.compras.put(record, before=record)
    new["id"] = f"{compra}:token.reservado"
    new["change"] = None


@breach("an entry applied in compras' book, and its service never said so", "topped up", 4, 7)
def _(books: Edited) -> None:
    waits = books.usuarios.find(heard("saldo.recargado"), with_field("esperan"), of("59"))
    alta = waits["id"].partition(":")[0]
    entered = books.compras.find(about(alta))
    new = books.compras.put(books.compras.find(heard("alta.aplicada")), after=entered)
    new |= {"id": f"{alta}:alta.aplicada", "row": alta}


@breach("an entry as it is sent again is not as it was sent", "topped up", 7)
def _(books: Edited) -> None:
    record = books.compras.find(heard("saldo.recargado"))
    mensaje = {name: value for name, value in record["words"][0].items() if name != "type"}
    record["change"]["mensaje"] = _text({**mensaje, "monto": mensaje["monto"] + 1})


@breach("two entries about one token have the same date, and the later is in force", "prices", 7)
def _(books: Edited) -> None:
    """The second of two publications is dated as the first, in both books: then it must change nothing."""
    tokens = books.tokens
    second = tokens.find(heard("token.publicado"), lambda one: bool(one["change"]) and "id" not in one["change"])
    first = [
        one
        for one in tokens.records
        if one["row"] == second["row"] and one["seq"] < second["seq"] and "publicado" in (one["change"] or {})
    ][-1]
    fecha = first["change"]["publicado"]
    second["change"].pop("publicado")
    alta = second["id"].partition(":")[0]
    for word in words(books, alta, "tokens", "compras"):
        word["fecha"] = fecha
    entered = books.compras.find(about(alta), with_field("mensaje"))
    mensaje = {name: value for name, value in entered["words"][0].items() if name != "type"}
    entered["change"] |= {"fecha": fecha, "mensaje": _text(mensaje)}


# Whole books, and messages that nobody should have heard or said


@breach("a purchase is dated 1999 in all books, and its client was told so", "ordinary", 7)
def _(books: Edited) -> None:
    compra, fecha = sold(books, skip=5), "1999-12-31T23:59:59.000Z"
    for word in words(books, compra):
        word["fecha"] = fecha
    for record in (*books.tokens.records, *books.compras.records):
        change = record["change"] or {}
        if (change.get("reserva") or {}).get("compra_id") == compra:
            change["reserva"]["fecha"] = fecha
        for espera in (change.get("cola") or {"joined": []})["joined"]:
            if espera["compra_id"] == compra:
                espera["fecha"] = fecha
        if record["row"] == compra and "fecha" in change:
            change["fecha"] = fecha
        if record["row"] == compra and "historia" in change:
            change["historia"][0]["fecha"] = fecha
    tell(books, compra, fecha=fecha)
    for note in books.told():
        answer = note.get("answer")
        if isinstance(answer, dict) and answer.get("id") == compra:
            answer["historia"][0]["fecha"] = fecha


@breach("a purchase waits twice in one line", "crowded", 7, 9, 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    record = tokens.find(lambda one: bool(((one["change"] or {}).get("cola") or {"joined": []})["joined"]))
    late = tokens.find(of(record["row"]), refusing("token-disputado"), after(record))
    late["change"] = copied(record["change"])
    late["words"] = []


@breach("a purchase that was refused is held again", "crowded", 6, 7)
def _(books: Edited) -> None:
    tokens = books.tokens
    record = tokens.find(heard("saldo.rechazado"))
    word = record["words"][0]
    held = {name: value for name, value in word.items() if name != "motivo"} | {"type": "token.reservado", "precio": 50}
    record["words"] = [word, held]
    record["change"] = {"reserva": {"compra_id": word["compraId"], "usuario_id": word["usuarioId"]}}
    record["change"]["reserva"] |= {"fecha": word["fecha"], "precio": 50}


@breach("a refusal to pay of who does not hold it lets the token go", "crowded", 6, 7, 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    one = tokens.find(heard("saldo.rechazado"))
    other = tokens.find(heard("saldo.rechazado"), lambda record: record["row"] != one["row"])
    tokens.swap(one, other, "id")


@breach("charged twice for one purchase, and the balance agrees", "ordinary", 1, 6, 9)
def _(books: Edited) -> None:
    usuarios = books.usuarios
    record = usuarios.find(says("saldo.reservado"))
    again = usuarios.put(record, after=record)
    add_to_balance(usuarios, again, -record["words"][0]["precio"])


@breach("refused twice, for two reasons", "crowded", 9, 13)
def _(books: Edited) -> None:
    tokens = books.tokens
    record = tokens.find(refusing("token-disputado"))
    again = tokens.put(record, after=record)
    again["words"][0]["motivo"] = "token-vendido"


@breach("both confirmed and refused", "ordinary", 4, 6, 7)
def _(books: Edited) -> None:
    record = books.tokens.find(says("compra.confirmada"))
    word = record["words"][0]
    refusal = {name: value for name, value in word.items() if name != "precio"}
    record["words"].append({**refusal, "type": "compra.rechazada", "motivo": "token-vendido"})


@breach("both paid and refused", "ordinary", 6, 7, 13)
def _(books: Edited) -> None:
    record = books.usuarios.find(says("saldo.reservado"))
    word = record["words"][0]
    refusal = {name: value for name, value in word.items() if name != "precio"}
    record["words"].append({**refusal, "type": "saldo.rechazado", "motivo": "saldo-insuficiente"})


@breach("top-ups wait in another order than they came in", "topped up", 7)
def _(books: Edited) -> None:
    first, second = (books.usuarios.find(with_field("esperan"), of("51"), skip=skip) for skip in (0, 1))
    second["change"]["esperan"] = [*second["change"]["esperan"]["joined"], *first["change"]["esperan"]]


for _service, _type in {
    "compras": "usuario.nacido",
    "tokens": "transaccion.registrada",
    "usuarios": "compra.confirmada",
    "transacciones": "saldo.reservado",
}.items():

    @breach(f"{_service} acts on {_type}, which is not for it", "ordinary", 7, refusable=True)
    def _(books: Edited, service: str = _service, kind: str = _type) -> None:
        journal = books.book(service)
        last = journal.records[-1]
        compra = sold(books)
        new = journal.put(last, after=last)
        new |= {"id": f"{compra}:{kind}", "change": None, "words": []}


for _service, _type in {
    "compras": "compra.rechazada",
    "tokens": "saldo.reservado",
    "usuarios": "compra.confirmada",
    "transacciones": "saldo.rechazado",
}.items():

    @breach(f"{_service} says {_type}, which is not its to say", "ordinary", 6, 7, 13, refusable=True)
    def _(books: Edited, service: str = _service, kind: str = _type) -> None:
        compra = sold(books)
        record = next(one for one in books.book(service).records if one["id"].startswith(compra) and one["words"])
        said = {name: record["words"][0][name] for name in ("fecha", "compraId", "usuarioId", "tokenId")}
        value = {"motivo": "saldo-insuficiente"} if "rechaza" in kind else {"precio": 10}
        record["words"].append({"type": kind, **said, **value})


for _service, _promises in {
    "compras": (4, 7),
    "tokens": (4, 6, 7),
    "usuarios": (1, 6, 7),
    "transacciones": (5, 7),
}.items():

    @breach(f"{_service}' book is put back from an older backup", "ordinary", *_promises)
    def _(books: Edited, service: str = _service) -> None:
        journal = books.book(service)
        for record in journal.records[len(journal.records) * 2 // 3 :]:
            journal.remove(record)

    @breach(f"{_service}' book is another shop's", "ordinary", *_promises, 4)
    def _(books: Edited, service: str = _service) -> None:
        books.journals[service] = Journal(books.story.parent / "crowded" / service)

    @breach(f"{_service}' book is empty", "ordinary", *_promises, refusable=True)
    def _(books: Edited, service: str = _service) -> None:
        for record in books.book(service).records:
            books.book(service).remove(record)


for _kind, _story in (
    ("usuario.registrado", "ordinary"),
    ("saldo.recargado", "topped up"),
    ("token.publicado", "ordinary"),
):

    @breach(f"an entry is written under nobody's id, and its end is never heard: {_kind}", _story, 7)
    def _(books: Edited, kind: str = _kind) -> None:
        record = next(one for one in books.compras.records if one["id"].endswith(f":{kind}"))
        alta = record["id"].rpartition(":")[0]
        record["id"] = f"00000000-0000-4000-8000-000000000000:{kind}"
        books.compras.remove(next(one for one in books.compras.records if one["id"] == f"{alta}:alta.aplicada"))


# Dead letters


@breach("two dead letters", "ordinary", 11)
def _(books: Edited) -> None:
    books.dead_letters = {f"{service}.muertos": 2 * (service == "tokens") for service in SERVICES}


@breach("a dead letter in every queue", "ordinary", 11)
def _(books: Edited) -> None:
    books.dead_letters = {f"{service}.muertos": 1 for service in SERVICES}


# What the clients were told


def _answers(books: Edited, *statuses: int) -> list[Record]:
    entries = {note["n"] for note in books.told() if "enters" in note}
    answers = [note for note in books.told() if note.get("status") in statuses and "answer" in note]
    return [note for note in answers if note["n"] not in entries]


def _good(books: Edited, *statuses: int) -> Record:
    """An answer to a request that was good."""
    good = {note["n"] for note in books.told() if note.get("asks")}
    return next(note for note in _answers(books, *statuses) if note["n"] in good)


def _note_of(books: Edited, number: int) -> Record:
    return next(note for note in books.told() if note.get("n") == number and "key" in note)


@breach("told registrada, and later solicitada", "ordinary", 12)
def _(books: Edited) -> None:
    late = _answers(books, 200)[-1]
    assert late["answer"]["estado"] in ("registrada", "rechazada")
    books.told().insert(-1, {**copied(_note_of(books, late["n"])), "n": 9001})
    earlier = copied(late["answer"])
    earlier = {name: value for name, value in earlier.items() if name not in ("motivo", "precio", "transaccionId")}
    earlier |= {"estado": "solicitada", "historia": earlier["historia"][:1]}
    books.told().insert(-1, {"n": 9001, "t": late["t"] + 100, "status": 202, "answer": earlier})


@breach("told an end by the stream, and later solicitada", "ordinary", 12)
def _(books: Edited) -> None:
    ended = next(note for note in books.told() if "ended" in note)
    first = next(note for note in _answers(books, 202) if note["answer"]["id"] == ended["ended"])
    books.told().insert(-1, {**copied(_note_of(books, first["n"])), "n": 9001, "t": ended["t"] + 100})
    answer = {**copied(first["answer"]), "estado": "solicitada"}
    answer["historia"] = answer["historia"][:1]
    books.told().insert(-1, {"n": 9001, "t": ended["t"] + 101, "status": 202, "answer": answer})


@breach("a 500 to a good request", "ordinary", 12)
def _(books: Edited) -> None:
    note = _good(books, 202)
    note |= {"status": 500, "answer": problem(500, "this could not be decided: AssertionError")}


@breach("a 400 to a good request", "ordinary", 12)
def _(books: Edited) -> None:
    note = _good(books, 202)
    note |= {"status": 400, "answer": problem(400, "that is no request to buy")}


@breach("a 404 to a good request", "ordinary", 12)
def _(books: Edited) -> None:
    note = _good(books, 202)
    note |= {"status": 404, "answer": problem(404, "there is no purchase")}


@breach("a 202 to a bad request", "ordinary", 12)
def _(books: Edited) -> None:
    bad = next(note["n"] for note in books.told() if "raw" in note)
    note = next(note for note in books.told() if note.get("n") == bad and "status" in note)
    note |= {"status": 202, "answer": copied(_good(books, 202)["answer"])}


@breach("a 500 to a bad request", "ordinary", 12)
def _(books: Edited) -> None:
    bad = next(note["n"] for note in books.told() if "raw" in note)
    note = next(note for note in books.told() if note.get("n") == bad and "status" in note)
    note |= {"status": 500, "answer": problem(500, "an error")}


@breach("a 422, as for a used key, to a key that is new", "ordinary", 10)
def _(books: Edited) -> None:
    note = _good(books, 202)
    note |= {"status": 422, "answer": problem(422, "this Idempotency-Key was used")}


@breach("a 422 to the same request again", "ordinary", 10)
def _(books: Edited) -> None:
    note = _answers(books, 200)[-1]
    note |= {"status": 422, "answer": problem(422, "this Idempotency-Key was used")}


@breach("another body under a used key is accepted", "ordinary", 10, 12)
def _(books: Edited) -> None:
    note = _good(books, 422)
    asked = _note_of(books, note["n"])
    about_ = compra_id(asked["asks"]["usuarioId"], asked["key"])
    first = next(one for one in _answers(books, 200, 202) if one["answer"]["id"] == about_)
    note |= {"status": 202, "answer": copied(first["answer"])}


@breach("one key is two purchases", "ordinary", 10)
def _(books: Edited) -> None:
    one, other = _answers(books, 202)[0], _answers(books, 202)[3]
    assert one["answer"]["id"] != other["answer"]["id"]
    one["answer"] = copied(other["answer"])


@breach("a purchase that was answered 202 is in no book", "ordinary", 4, 10)
def _(books: Edited) -> None:
    note = _good(books, 202)
    asked = _note_of(books, note["n"])
    asked["key"] = "una clave que nadie tiene"
    note["answer"]["id"] = compra_id(asked["asks"]["usuarioId"], asked["key"])


for _what, _answer in {
    "null": None,
    "a list": [{"id": 1}],
    "text": "aceptada",
    "a number": 7,
    "nothing in it": {},
    "an id that is a number": {"id": 5},
}.items():

    @breach(f"a 202 with {_what}", "ordinary", 12)
    def _(books: Edited, answer: Any = _answer) -> None:
        _good(books, 202)["answer"] = copied(answer)


@breach("a 202 with another purchase's answer", "ordinary", 10)
def _(books: Edited) -> None:
    notes = _answers(books, 202)
    notes[0]["answer"], notes[1]["answer"] = notes[1]["answer"], notes[0]["answer"]


@breach("an answer to a request that nobody sent", "ordinary", 12, refusable=True)
def _(books: Edited) -> None:
    note = copied(_good(books, 202))
    books.told().insert(-1, {**note, "n": 77_777})


@breach("two answers to one request, and they differ", "ordinary", 10, 12, refusable=True)
def _(books: Edited) -> None:
    note = _good(books, 202)
    place = next(at for at, one in enumerate(books.told()) if one is note)
    again = copied(note)
    again |= {"status": 422, "answer": problem(422, "this Idempotency-Key was used")}
    books.told().insert(place + 1, again)


@breach("the stream told another end", "ordinary", 12)
def _(books: Edited) -> None:
    note = next(note for note in books.told() if note.get("estado") == "registrada")
    note |= {"estado": "rechazada", "motivo": "token-vendido"}


@breach("the stream told another reason", "ordinary", 12)
def _(books: Edited) -> None:
    note = next(note for note in books.told() if "ended" in note and "motivo" in note)
    note["motivo"] = "saldo-insuficiente"


@breach("the stream told of a refusal as registered", "ordinary", 12)
def _(books: Edited) -> None:
    note = next(note for note in books.told() if "ended" in note and "motivo" in note)
    note["estado"] = "registrada"
    del note["motivo"]


@breach("the stream told the end of a purchase that is in no book", "ordinary", 4, 12)
def _(books: Edited) -> None:
    next(note for note in books.told() if "ended" in note)["ended"] = NOBODYS


@breach("the stream told two ends of one purchase", "ordinary", 12)
def _(books: Edited) -> None:
    note = next(note for note in books.told() if note.get("estado") == "registrada")
    books.told().insert(-1, {**copied(note), "estado": "rechazada", "motivo": "token-vendido"})


# What a client was shown without asking to buy


def _shown(books: Edited, **lie: Any) -> None:
    """A GET, or an event, behind all else: of a purchase that is over."""
    answer = next(note["answer"] for note in _answers(books, 200) if note["answer"]["estado"] == "registrada")
    books.told().insert(-1, {"t": 0, "seen": {**copied(answer), **lie}})


for _lie in (
    {"precio": 1},
    {"usuarioId": 999},
    {"estado": "rechazada", "motivo": "token-vendido"},
    {"fecha": "2025-09-10T17:00:00.999Z"},
    {"transaccionId": None},
):

    @breach(f"a client saw another {next(iter(_lie))}", "ordinary", 12)
    def _(books: Edited, lie: Record = _lie) -> None:  # type: ignore[assignment]
        _shown(books, **lie)


@breach("a client saw a purchase that is in no book", "ordinary", 12)
def _(books: Edited) -> None:
    _shown(books, id=NOBODYS)


@breach("a client saw what is no purchase", "ordinary", 12)
def _(books: Edited) -> None:
    books.told().insert(-1, {"t": 0, "seen": None})


@breach("a client saw an end, and was then told that it is under way", "ordinary", 12)
def _(books: Edited) -> None:
    ended = next(note for note in _answers(books, 200) if note["answer"]["estado"] == "registrada")
    asked = _note_of(books, ended["n"])
    books.told()[:] = [note for note in books.told() if note.get("ended") != ended["answer"]["id"]]
    first = copied(ended["answer"])
    answer = {name: value for name, value in first.items() if name not in ("precio", "transaccionId")}
    answer |= {"estado": "solicitada", "historia": answer["historia"][:1]}
    again = [{**copied(asked), "n": 9001}, {"n": 9001, "status": 202, "answer": answer}]
    books.told()[-1:-1] = [{"t": 0, "seen": first}, *again]


# What operators were told of their entries


def _entered_as(books: Edited, path: str, skip: int = 0) -> tuple[Record, Record]:
    """What was entered at such a path, and what was answered."""
    asked = [note for note in books.told() if path in note.get("enters", "")][skip]
    return asked, next(note for note in books.told() if note.get("n") == asked["n"] and "status" in note)


def _lose(asked: Record, told: Record) -> None:
    """compras has it under no key, and told of it."""
    asked["key"] = "una clave que nadie tiene"
    told["answer"]["id"] = str(uuid5(NAMESPACE, f"operador:{asked['key']}"))


@breach("a top-up that was answered 202 is in no book", "topped up", 1)
def _(books: Edited) -> None:
    _lose(*_entered_as(books, "/recargas"))


@breach("a token that was answered 202 is in no book", "topped up", 4)
def _(books: Edited) -> None:
    _lose(*_entered_as(books, "/tokens/"))


@breach("a user who was answered 202 is in no book, nor their money", "topped up", 1)
def _(books: Edited) -> None:
    _lose(*_entered_as(books, "/usuarios/51", skip=2))


@breach("a top-up that is in all books as another user's", "topped up", 1)
def _(books: Edited) -> None:
    asked, _ = _entered_as(books, "/usuarios/1/recargas")
    asked["enters"] = "/usuarios/2/recargas"


@breach("a top-up that is in all books with another amount", "topped up", 1)
def _(books: Edited) -> None:
    asked, _ = _entered_as(books, "/recargas")
    asked["body"]["monto"] += 1


@breach("a top-up that got no answer is in all books with another amount", "topped up", 1, unchecked=True)
def _(books: Edited) -> None:
    asked, told = _entered_as(books, "/recargas")
    asked["body"]["monto"] += 1
    told.pop("answer")
    told |= {"status": None, "lost": "TimeoutError"}


@breach("a user who is in all books with money that nobody gave", "topped up", 1)
def _(books: Edited) -> None:
    asked, _ = _entered_as(books, "/usuarios/51", skip=2)
    asked["body"]["saldo"] -= 1


@breach("a token that is in all books at another price than was entered", "topped up", 12)
def _(books: Edited) -> None:
    asked, _ = _entered_as(books, "/tokens/")
    asked["body"]["precio"] += 1


@breach("a user who is in all books with another name than was entered", "topped up", 12)
def _(books: Edited) -> None:
    asked, _ = _entered_as(books, "/usuarios/52")
    asked["body"]["nombre"] = "Otra"


@breach("an entry that is another kind of entry in all books", "topped up", 12)
def _(books: Edited) -> None:
    asked, _ = _entered_as(books, "/usuarios/52")
    asked |= {"enters": "/usuarios/52/recargas", "body": {"monto": 1}}


@breach("one key of an operator is two entries", "topped up", 10)
def _(books: Edited) -> None:
    _, told = _entered_as(books, "/recargas")
    told["answer"] = copied(_entered_as(books, "/recargas", skip=1)[1]["answer"])


@breach("one top-up, sent twice, has two ids", "topped up", 10)
def _(books: Edited) -> None:
    asked, told = _entered_as(books, "/recargas")
    books.told().insert(-1, {**copied(asked), "n": 9001})
    other = copied(_entered_as(books, "/recargas", skip=1)[1]["answer"])
    books.told().insert(-1, {**copied(told), "n": 9001, "answer": other})


@breach("an entry is told to be in force, and later not", "topped up", 12)
def _(books: Edited) -> None:
    asked, told = _entered_as(books, "/recargas")
    for number, estado, status in ((9001, "aplicada", 200), (9002, "solicitada", 202)):
        books.told().insert(-1, {**copied(asked), "n": number})
        answer = {**told["answer"], "estado": estado}
        books.told().insert(-1, {"n": number, "status": status, "answer": answer})


@breach("a top-up that waits for its user is told to be in force", "topped up", 12)
def _(books: Edited) -> None:
    _, told = _entered_as(books, "/usuarios/59/recargas")
    told |= {"status": 200, "answer": {**told["answer"], "estado": "aplicada"}}


@breach("a 422, as for a used key, to an entry's key that is new", "topped up", 10)
def _(books: Edited) -> None:
    asked, told = _entered_as(books, "/recargas")
    asked["key"] = "una clave que nadie tiene"
    told |= {"status": 422, "answer": problem(422, "this Idempotency-Key was used")}


@breach("a 422 to the same entry again", "topped up", 10)
def _(books: Edited) -> None:
    _, told = _entered_as(books, "/recargas")
    told |= {"status": 422, "answer": problem(422, "this Idempotency-Key was used")}


for _status in (400, 404, 500):

    @breach(f"a {_status} to a good entry", "topped up", 12)
    def _(books: Edited, status: int = _status) -> None:
        _, told = _entered_as(books, "/recargas")
        told |= {"status": status, "answer": problem(status, "that is no top-up")}


for _what, _answer in {
    "null": None,
    "text": "aceptada",
    "nothing in it": {},
    "an id that is a number": {"id": 5},
}.items():

    @breach(f"a 202 to an entry with {_what}", "topped up", 12)
    def _(books: Edited, answer: Any = _answer) -> None:
        _entered_as(books, "/recargas")[1]["answer"] = copied(answer)


for _name, _value in {"fecha": "2025-09-10T17:00:00.999Z", "tipo": "token.publicado", "estado": "rechazada"}.items():

    @breach(f"an entry's {_name} is told as it never was", "topped up", 12)
    def _(books: Edited, name: str = _name, value: str = _value) -> None:
        _entered_as(books, "/recargas")[1]["answer"][name] = value


@breach("an empty client's journal", "ordinary", 10, 12, refusable=True, unchecked=True)
def _(books: Edited) -> None:
    books.client = lambda raw: b""


@breach("a client's journal with nothing asked in it", "ordinary", 10, 12, refusable=True, unchecked=True)
def _(books: Edited) -> None:
    books.told()[2:-1] = []


@breach("a client's journal cut at a line's end", "ordinary", 10, 12, refusable=True, unchecked=True)
def _(books: Edited) -> None:
    books.client = lambda raw: b"".join(raw.splitlines(keepends=True)[:-9])


@breach("a client's journal cut in a line", "ordinary", 10, 12, refusable=True, unchecked=True)
def _(books: Edited) -> None:
    books.client = lambda raw: raw[:-30]


@breach("a client's journal that lacks lines in the middle", "ordinary", 10, 12, refusable=True, unchecked=True)
def _(books: Edited) -> None:
    books.client = lambda raw: b"".join(raw.splitlines(keepends=True)[:6] + raw.splitlines(keepends=True)[8:])


@breach("a client's journal whose last line counts others", "ordinary", 10, 12, refusable=True, unchecked=True)
def _(books: Edited) -> None:
    books.client = lambda raw: raw.replace(b'"closed": true, "lines": ', b'"closed": true, "lines": 9')


@breach("a client's journal of another shop", "ordinary", 10, 12, refusable=True)
def _(books: Edited) -> None:
    next(note for note in books.told() if "shop" in note)["shop"]["crc"] = "00000000"


@breach("a client's journal of a newer format", "ordinary", 10, 12, refusable=True)
def _(books: Edited) -> None:
    books.told()[0]["client"] = 2


# Two reasons: every refusal that a story has, told with every other reason, the same in all books

MOTIVOS: Final = {
    "saldo-insuficiente": "crowded",
    "usuario-inexistente": "crowded",
    "token-inexistente": "refused",
    "token-vendido": "crowded",
    "token-disputado": "crowded",
    "ya-en-cola": "crowded",
    "precio-mayor": "prices",
}
for _true, _story in MOTIVOS.items():
    for _false in sorted(MOTIVOS.keys() - {_true}):

        @breach(f"refused as {_false}, and {_true} is so, and all books agree", _story, 13)
        def _(books: Edited, true: str = _true, false: str = _false) -> None:
            refuse_as(books, refused_as(books, true), false)
