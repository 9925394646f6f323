"""The book of sales. Pure: messages in, a row and messages out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from msgspec import Struct

from broker.messages import CompraConfirmada, Message, TransaccionRegistrada
from services.shared.decision import Decision, Domain, Listing


class Libro(Struct, frozen=True):
    """The number of the last record. The records themselves are what transacciones has said: its words."""

    ultimo: int = 0


LibroDecision: TypeAlias = Decision[Libro]


def decide(libro: Libro | None, message: Message) -> LibroDecision:
    """Raises AssertionError for a message that transacciones does not hear."""
    match message:
        case CompraConfirmada():
            return registrar(libro or Libro(), message)
    raise AssertionError(f"transacciones does not hear {message.type}")


def registrar(libro: Libro, compra: CompraConfirmada) -> LibroDecision:
    """Append the next record."""
    numero = libro.ultimo + 1
    registrada = TransaccionRegistrada(
        compra_id=compra.compra_id,
        usuario_id=compra.usuario_id,
        token_id=compra.token_id,
        fecha=compra.fecha,
        transaccion_id=numero,
    )
    return Decision(Libro(numero), (registrada,))


def public(word: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it is shown, of what transacciones said of it."""
    return {"id": word["transaccionId"], **{name: word[name] for name in ("usuarioId", "tokenId", "fecha")}}


DOMAIN: Final = Domain(
    name="transacciones",
    rows=(Libro,),
    decide=decide,
    key=lambda message: "libro",
    listing=Listing(TransaccionRegistrada, ("usuario_id", "token_id"), public),
)
