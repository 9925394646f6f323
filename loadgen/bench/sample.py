"""Messages as a real purchase has them, ready to be sent: the baselines move the same sizes."""

from __future__ import annotations

from typing import Final

from broker.amqp import envelope
from broker.amqp.frames import Outgoing
from broker.messages import (
    PRODUCERS,
    TYPES,
    CompraConfirmada,
    CompraSolicitada,
    Message,
    SaldoReservado,
    TokenPublicado,
    TokenReservado,
    TransaccionRegistrada,
    UsuarioRegistrado,
    compra_id,
)
from broker.services import Service
from services.shared.clock import utc_now

# What follows a message on the way of a purchase that succeeds.
NEXT: Final = {
    "compra.solicitada": "token.reservado",
    "token.reservado": "saldo.reservado",
    "saldo.reservado": "compra.confirmada",
    "compra.confirmada": "transaccion.registrada",
}
FIRST: Final = "compra.solicitada"
LAST: Final = "transaccion.registrada"
PRECIO: Final = 10
USUARIO: Final = 1


def message(type_name: str, key: str = "bench", token: int = 100_000, usuario: int = USUARIO) -> Message:
    """A message of this type, of one purchase."""
    subject = {"compra_id": compra_id(usuario, key), "usuario_id": usuario, "token_id": token, "fecha": utc_now()}
    match type_name:
        case "compra.solicitada":
            return CompraSolicitada(**subject)
        case "token.reservado":
            return TokenReservado(**subject, precio=PRECIO)
        case "saldo.reservado":
            return SaldoReservado(**subject, precio=PRECIO)
        case "compra.confirmada":
            return CompraConfirmada(**subject, precio=PRECIO)
    return TransaccionRegistrada(**subject, transaccion_id=token)


def publicado(token: int) -> TokenPublicado:
    """It is for sale."""
    return TokenPublicado(
        alta_id=f"bench:{token}",
        fecha=utc_now(),
        token_id=token,
        nombre=f"Token {token}",
        imagen="gato.jpg",
        precio=PRECIO,
    )


def registrado(usuario: int, saldo: int) -> UsuarioRegistrado:
    return UsuarioRegistrado(
        alta_id=f"bench:{usuario}", fecha=utc_now(), usuario_id=usuario, nombre="Comprador", saldo=saldo
    )


def outgoing(found: Message) -> Outgoing:
    """As the service that says it would send it."""
    return envelope.outgoing(found, PRODUCERS[type(found)][0], utc_now())


def answers(service: Service) -> dict[str, Outgoing]:
    """What a service says to each message that it has to answer, made once."""
    return {heard: outgoing(message(said)) for heard, said in NEXT.items() if service in PRODUCERS[TYPES[said]]}
