"""The rules of the shop, a second time: written from the design (sections 3 and 5), not from the services, and sharing
nothing with them. The audit decides every record of every journal again by these, and compares.

Everything here is plain: a row is a dict with the journal's names, a message a dict with the wire's. Each service has
one function, `(row, message) -> (change, words)`: the fields of the row that get a new value, and what must be said
because of it, in order. Nothing is changed in place. `Impossible` is what no correct shop ever acts on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from loadgen.audit.bounds import sound
from loadgen.audit.clocks import entered, moment, number
from loadgen.audit.line import Line

Row: TypeAlias = Mapping[str, Any]
Message: TypeAlias = Mapping[str, Any]
Words: TypeAlias = list[dict[str, Any]]
Effect: TypeAlias = tuple[dict[str, Any], Words]
Rule: TypeAlias = Callable[[Row | None, Message], Effect]

SERVICES: Final = ("compras", "tokens", "usuarios", "transacciones")
# Who says what, and who hears it: the table in section 3.
PRODUCERS: Final = {
    "compra.solicitada": ("compras",),
    "token.reservado": ("tokens",),
    "saldo.reservado": ("usuarios",),
    "saldo.rechazado": ("usuarios",),
    "compra.confirmada": ("tokens",),
    "compra.rechazada": ("tokens",),
    "transaccion.registrada": ("transacciones",),
    "usuario.registrado": ("compras",),
    "saldo.recargado": ("compras",),
    "token.publicado": ("compras",),
    "alta.aplicada": ("usuarios", "tokens"),
}
CONSUMERS: Final = {
    "compra.solicitada": ("tokens",),
    "token.reservado": ("usuarios", "compras"),
    "saldo.reservado": ("tokens", "compras"),
    "saldo.rechazado": ("tokens", "compras"),
    "compra.confirmada": ("transacciones", "compras"),
    "compra.rechazada": ("compras",),
    "transaccion.registrada": ("compras",),
    "usuario.registrado": ("usuarios",),
    "saldo.recargado": ("usuarios",),
    "token.publicado": ("tokens",),
    "alta.aplicada": ("compras",),
}
# What comes to compras by HTTP, and no service says: it is the first to know.
REQUESTS: Final = ("compra.solicitada", "usuario.registrado", "saldo.recargado", "token.publicado")
# What each of them carries, beside `fecha`; a purchase need not say the most that it would pay, nor an entry an amount.
ASKED: Final = {
    "compra.solicitada": ("compraId", "usuarioId", "tokenId", "precioMaximo"),
    "usuario.registrado": ("altaId", "usuarioId", "nombre", "saldo", "orden"),
    "saldo.recargado": ("altaId", "usuarioId", "monto"),
    "token.publicado": ("altaId", "tokenId", "nombre", "imagen", "precio", "orden", "catalogo"),
}
# The fields of each kind of row, as a row's first record has them.
COMPRA: Final = (
    *("id", "usuario_id", "token_id", "fecha", "precio_maximo", "estado", "historia", "motivo", "precio"),
    "transaccion_id",
)
TOKEN: Final = ("id", "nombre", "imagen", "precio", "publicado", "vendido", "reserva", "cola")
# Where a purchase is, in the order that a buyer sees. What ends it is the last.
STATES: Final = {
    "compra.solicitada": "solicitada",
    "token.reservado": "reservada",
    "saldo.reservado": "pagada",
    "compra.confirmada": "confirmada",
    "transaccion.registrada": "registrada",
    "compra.rechazada": "rechazada",
}
ORDER: Final = {"solicitada": 0, "reservada": 1, "pagada": 2, "confirmada": 3, "registrada": 4, "rechazada": 4}
ENDS: Final = ("registrada", "rechazada", "aplicada")
PAID: Final = ("pagada", "confirmada", "registrada")
# How many may wait for one token.
LINE: Final = 10_000
# The number of these rules. By those before, a buyer could stand in a line twice.
RULES: Final = 1


class Impossible(Exception):
    """A message that nobody may act on, given what the row is. Its text is the rule."""


def key(service: str, message: Message) -> str:
    """The row that a message is about, in this service's book."""
    if service == "compras":
        return str(message.get("compraId") or message.get("altaId"))
    if service == "tokens":
        return str(message["tokenId"])
    return str(message["usuarioId"]) if service == "usuarios" else "libro"


def keeps(service: str, message: Message) -> bool:
    """Whether the record of this message has it whole: no row says what compras' book would be written again from."""
    if service == "tokens":
        return message["type"] == "token.publicado" or message.get("precioMaximo") is not None
    return service == "usuarios" and message["type"] in {"usuario.registrado", "saldo.recargado"}


def ruled(service: str, message: Message) -> bool:
    """Whether its record says by which rules it was decided: there were others before."""
    return service == "tokens" and message["type"] == "compra.solicitada"


def answer(message: Message, kind: str, **more: Any) -> dict[str, Any]:
    """What is said of a purchase: whose it is and when it was accepted never change on its way."""
    return {
        "type": kind,
        "fecha": message["fecha"],
        "compraId": message["compraId"],
        "usuarioId": message["usuarioId"],
        "tokenId": message["tokenId"],
        **more,
    }


def applied(entry: Message) -> dict[str, Any]:
    """What is said of an operator's entry that is in force."""
    return {"type": "alta.aplicada", "fecha": entry["fecha"], "altaId": entry["altaId"]}


# tokens: the token is held first, the money taken second; a fair line.


def tokens(line: int = LINE) -> Rule:
    """The rule of tokens, where so many may wait for one."""

    def decide(token: Row | None, message: Message, rules: int = RULES) -> Effect:
        kind = message["type"]
        if kind == "token.publicado":
            return published(token, message)
        if kind == "compra.solicitada":
            return asked(token, message, line, rules)
        if token is None or token["reserva"] is None:
            raise Impossible("nobody holds this token")
        if token["reserva"]["compra_id"] != message["compraId"]:
            raise Impossible("another purchase holds this token")
        if token["vendido"]:
            raise Impossible("this token is sold already")
        return sold(token, message) if kind == "saldo.reservado" else freed(token, message)

    return decide


def published(token: Row | None, entry: Message) -> Effect:
    """Only what is shown, never who holds it or who waits; and never by an older entry than the one shown."""
    shown = {name: entry[name] for name in ("nombre", "imagen", "precio")} | {"publicado": entry["fecha"]}
    shown |= number(entry)
    if token is None:
        new = {"id": entry["tokenId"], "vendido": False, "reserva": None, "cola": _line(0, []), **shown}
        return {name: new[name] for name in (*TOKEN, "orden") if name in new}, [applied(entry)]
    if entered(entry) <= (token.get("orden", 0), moment(token["publicado"])):
        return {}, [applied(entry)]
    return {name: value for name, value in shown.items() if value != token.get(name)}, [applied(entry)]


def asked(token: Row | None, compra: Message, line: int, rules: int) -> Effect:
    """Hold it for who asks first; whoever asks while it is held waits in line, once, and not behind themselves."""
    if token is None:
        return {}, [answer(compra, "compra.rechazada", motivo="token-inexistente")]
    held, motivo = token["reserva"], ""
    if token["vendido"]:
        motivo = "token-vendido"
    elif _too_dear(compra.get("precioMaximo"), token):
        motivo = "precio-mayor"
    elif held is not None and rules and _waits(compra["usuarioId"], token):
        motivo = "ya-en-cola"
    elif held is not None and len(token["cola"]) >= line:
        motivo = "token-disputado"
    if motivo:
        return {}, [answer(compra, "compra.rechazada", motivo=motivo)]
    if held is None:
        return _held(compra, token)
    waits = {
        "compra_id": compra["compraId"],
        "usuario_id": compra["usuarioId"],
        "fecha": compra["fecha"],
        "precio_maximo": compra.get("precioMaximo"),
    }
    return {"cola": _line(0, [waits])}, []


def sold(token: Row, payment: Message) -> Effect:
    """The money is taken: the sale can only succeed, at the price at which it was held. All who wait are too late."""
    held = token["reserva"]
    if payment["precio"] != held["precio"]:
        raise Impossible("the price that was paid is not the one at which it was held")
    confirmed = answer(_who(held, token), "compra.confirmada", precio=held["precio"])
    late = [answer(_who(waits, token), "compra.rechazada", motivo="token-vendido") for waits in token["cola"]]
    return {"vendido": True, "cola": _line(len(late), [])}, [confirmed, *late]


def freed(token: Row, refusal: Message) -> Effect:
    """Who holds it cannot pay: the next in line gets it, unless it has become too dear for them."""
    words = [answer(refusal, "compra.rechazada", motivo=refusal["motivo"])]
    for left, waits in enumerate(token["cola"], 1):
        if not _too_dear(waits["precio_maximo"], token):
            change, held = _held(_who(waits, token), token)
            return {**change, "cola": _line(left, [])}, words + held
        words.append(answer(_who(waits, token), "compra.rechazada", motivo="precio-mayor"))
    waited = len(words) - 1
    return {"reserva": None, **({"cola": _line(waited, [])} if waited else {})}, words


def _held(compra: Message, token: Row) -> Effect:
    held = {
        "compra_id": compra["compraId"],
        "usuario_id": compra["usuarioId"],
        "fecha": compra["fecha"],
        "precio": token["precio"],
    }
    return {"reserva": held}, [answer(compra, "token.reservado", precio=token["precio"])]


def _waits(buyer: int, token: Row) -> bool:
    """Whether this buyer holds the token, or waits for it."""
    line = token["cola"]
    waiting = line.buyers if isinstance(line, Line) else [one["usuario_id"] for one in line]
    return buyer == token["reserva"]["usuario_id"] or buyer in waiting


def _who(who: Row, token: Row) -> Message:
    """Who holds a token or waits for it, as a message would have them."""
    return {
        "compraId": who["compra_id"],
        "usuarioId": who["usuario_id"],
        "tokenId": token["id"],
        "fecha": who["fecha"],
    }


def _too_dear(most: int | None, token: Row) -> bool:
    return most is not None and most < token["precio"]


def _line(left: int, joined: list[dict[str, Any]]) -> dict[str, Any]:
    """How a line of those who wait changes: so many left at its front, these joined at its end."""
    return {"left": left, "joined": joined}


# usuarios: whose money it is.


def usuarios(user: Row | None, message: Message) -> Effect:
    """Take the price if the money is there; an operator's amount counts once, and waits for who is not there yet."""
    kind = message["type"]
    if kind == "token.reservado":
        return charged(user, message)
    if kind == "usuario.registrado":
        return registered(user, message)
    if user is None or user["nombre"] is None:
        waiting = [_top_up(message)]
        if user is not None:
            return {"esperan": _line(0, waiting) if user["esperan"] else waiting}, []
        return {"id": message["usuarioId"], "nombre": None, "saldo": 0, "registrado": "", "esperan": waiting}, []
    return {"saldo": user["saldo"] + message["monto"]}, [applied(message)]


def charged(user: Row | None, held: Message) -> Effect:
    if user is None or user["nombre"] is None:
        return {}, [answer(held, "saldo.rechazado", motivo="usuario-inexistente")]
    if user["saldo"] < held["precio"]:
        return {}, [answer(held, "saldo.rechazado", motivo="saldo-insuficiente")]
    paid = answer(held, "saldo.reservado", precio=held["precio"])
    return ({"saldo": user["saldo"] - held["precio"]} if held["precio"] else {}), [paid]


def registered(user: Row | None, entry: Message) -> Effect:
    """An amount counts only for who is new, with what was waiting for them; later ones change the name."""
    if user is None or user["nombre"] is None:
        waiting = list(user["esperan"]) if user else []
        saldo = (entry.get("saldo") or 0) + sum(top_up["monto"] for top_up in waiting)
        new = {"nombre": entry["nombre"], "saldo": saldo, "registrado": entry["fecha"], "esperan": []}
        new |= number(entry)
        words = [applied(entry), *({"type": "alta.aplicada", **_of_entry(top_up)} for top_up in waiting)]
        if user is None:
            return {"id": entry["usuarioId"], **new}, words
        return {name: value for name, value in new.items() if value != list_or_value(user.get(name))}, words
    if entered(entry) <= (user.get("orden", 0), moment(user["registrado"])):
        return {}, [applied(entry)]
    new = {"nombre": entry["nombre"], "registrado": entry["fecha"], **number(entry)}
    return {name: value for name, value in new.items() if value != user.get(name)}, [applied(entry)]


def list_or_value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _top_up(entry: Message) -> dict[str, Any]:
    return {"alta_id": entry["altaId"], "fecha": entry["fecha"], "monto": entry["monto"]}


def _of_entry(top_up: Row) -> dict[str, Any]:
    return {"fecha": top_up["fecha"], "altaId": top_up["alta_id"]}


# transacciones: the book of sales, numbered 1, 2, 3 … from its own row.


def transacciones(book: Row | None, sale: Message) -> Effect:
    number = (book["ultimo"] if book else 0) + 1
    return {"ultimo": number}, [answer(sale, "transaccion.registrada", transaccionId=number)]


# compras: what a buyer is shown. `hora`, when it heard something, is the one thing that no other book has.


def compras(row: Row | None, message: Message, hora: str) -> Effect:
    """Take in what came by HTTP, and say it; or what another service said at `hora`, in whatever order that comes."""
    kind = message["type"]
    if kind in REQUESTS:
        if row is not None:
            raise Impossible("this key was used for something else")
        body = {}
        for name in ("fecha", *ASKED[kind]):
            value = message.get(name)
            if not sound(name, value):
                raise Impossible("no such request is accepted")
            if value is not None:
                body[name] = value
        if kind == "compra.solicitada":
            return accepted(body), [{"type": kind, **body}]
        new = {"id": body["altaId"], "fecha": body["fecha"], "tipo": kind, "estado": "solicitada"}
        return {**new, "mensaje": body}, [{"type": kind, **body}]
    if row is None:
        raise Impossible("nobody asked for this")
    if kind == "alta.aplicada":
        return {"estado": "aplicada"}, []
    return advanced(row, message, hora), []


def accepted(compra: Message) -> dict[str, Any]:
    return dict.fromkeys(COMPRA) | {
        "id": compra["compraId"],
        "usuario_id": compra["usuarioId"],
        "token_id": compra["tokenId"],
        "fecha": compra["fecha"],
        "precio_maximo": compra.get("precioMaximo"),
        "estado": "solicitada",
        "historia": [{"estado": "solicitada", "fecha": compra["fecha"]}],
    }


def advanced(compra: Row, news: Message, hora: str) -> dict[str, Any]:
    """The change of a purchase by what another service said of it. What is no end may come late."""
    kind = news["type"]
    if kind == "saldo.rechazado":
        if _paid(compra["historia"]):
            raise Impossible("it was paid and refused")
        return _new(compra, motivo=news["motivo"])
    state = STATES[kind]
    steps = [*compra["historia"], {"estado": state, "fecha": hora}]
    if ORDER[compra["estado"]] > ORDER[state]:
        steps.sort(key=lambda step: ORDER[step["estado"]])
    known = {name: news[field] for name, field in KNOWN[kind].items()}
    refused = compra["motivo"] is not None or state == "rechazada"
    if refused and _paid(steps):
        raise Impossible("it was sold and refused")
    return _new(compra, estado=steps[-1]["estado"], historia=steps, **known)


def _paid(steps: list[Row]) -> bool:
    return any(step["estado"] in PAID for step in steps)


# What compras learns by each message, beside that it came.
KNOWN: Final = {
    "token.reservado": {"precio": "precio"},
    "saldo.reservado": {"precio": "precio"},
    "compra.confirmada": {"precio": "precio"},
    "compra.rechazada": {"motivo": "motivo"},
    "transaccion.registrada": {"transaccion_id": "transaccionId"},
}


def _new(row: Row, **fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value != row[name]}


def shown(row: Row) -> dict[str, Any]:
    """A purchase as GET answers it, and POST."""
    view = {
        "id": row["id"],
        "usuarioId": row["usuario_id"],
        "tokenId": row["token_id"],
        "fecha": row["fecha"],
        "precioMaximo": row["precio_maximo"],
        "estado": row["estado"],
        "motivo": row["motivo"] if row["estado"] == "rechazada" else None,
        "precio": row["precio"],
        "transaccionId": row["transaccion_id"],
        "historia": [dict(step) for step in row["historia"]],
    }
    return {name: value for name, value in view.items() if value is not None}


def version(row: Row, heard: Sequence[str]) -> dict[str, Any]:
    """A purchase as it was shown when compras had heard these messages of it, from how it stands in the end."""
    states = {STATES.get(kind) for kind in heard}
    learnt = {name for kind in heard for name in KNOWN.get(kind, ())}
    steps = [step for step in row["historia"] if step["estado"] in states]
    then = {
        **row,
        "estado": steps[-1]["estado"] if steps else None,
        "historia": steps,
        "precio": row["precio"] if "precio" in learnt else None,
        "transaccion_id": row["transaccion_id"] if "transaccion_id" in learnt else None,
    }
    return shown(then)


def entry_shown(row: Row) -> dict[str, Any]:
    """An operator's entry as GET answers it."""
    return {name: row[name] for name in ("id", "tipo", "fecha", "estado")}
