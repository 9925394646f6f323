"""Whose money it is, and taking it. Pure: messages in, a row and messages out."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from broker.messages import (
    AltaAplicada,
    Message,
    MotivoSaldo,
    SaldoRecargado,
    SaldoRechazado,
    SaldoReservado,
    TokenReservado,
    UsuarioRegistrado,
    moment,
)
from services.shared.decision import Decision, Domain, Lista, Since


class Recarga(Struct, frozen=True):
    """A top-up that came before its user was registered."""

    alta_id: str
    fecha: str
    monto: int


class Usuario(Struct, frozen=True):
    """A buyer. Without a `nombre`, nobody is registered yet and top-ups wait in `esperan`.

    `registrado` and `orden` are those of the entry that gave the name: of two, the one entered later is in force.
    """

    id: int
    nombre: str | None = None
    saldo: int = 0
    registrado: str = ""
    esperan: Lista[Recarga] = field(default_factory=Lista)
    orden: Since = 0


UsuarioDecision: TypeAlias = Decision[Usuario]


def decide(usuario: Usuario | None, message: Message) -> UsuarioDecision:
    """Raises AssertionError for a message that usuarios does not hear."""
    match message:
        case TokenReservado():
            return cobrar(usuario, message)
        case UsuarioRegistrado():
            return registrar(usuario, message)
        case SaldoRecargado():
            return recargar(usuario, message)
    raise AssertionError(f"usuarios does not hear {message.type}")


def cobrar(usuario: Usuario | None, reserva: TokenReservado) -> UsuarioDecision:
    """Take the price of the token that is held, if the money is there."""
    if usuario is None or usuario.nombre is None:
        return Decision(usuario, (rechazar(reserva, "usuario-inexistente"),))
    if usuario.saldo < reserva.precio:
        return Decision(usuario, (rechazar(reserva, "saldo-insuficiente"),))
    pago = SaldoReservado(
        compra_id=reserva.compra_id,
        usuario_id=reserva.usuario_id,
        token_id=reserva.token_id,
        fecha=reserva.fecha,
        precio=reserva.precio,
    )
    return Decision(replace(usuario, saldo=usuario.saldo - reserva.precio), (pago,))


def registrar(usuario: Usuario | None, alta: UsuarioRegistrado) -> UsuarioDecision:
    """Register a user with what they have, or rename one; an entry older than the one in force changes nothing."""
    aplicada = AltaAplicada(alta_id=alta.alta_id, fecha=alta.fecha)
    if usuario is None:
        usuario = Usuario(alta.usuario_id)
    if usuario.nombre is None:
        esperan = usuario.esperan
        saldo = (alta.saldo or 0) + sum(recarga.monto for recarga in esperan)
        nuevo = Usuario(usuario.id, alta.nombre, saldo, alta.fecha, esperan.left(len(esperan)), alta.orden or 0)
        counted = (AltaAplicada(alta_id=recarga.alta_id, fecha=recarga.fecha) for recarga in esperan)
        return Decision(nuevo, (aplicada, *counted))
    orden = alta.orden or 0
    if (orden, moment(alta.fecha)) > (usuario.orden, moment(usuario.registrado)):
        usuario = replace(usuario, nombre=alta.nombre, registrado=alta.fecha, orden=orden)
    return Decision(usuario, (aplicada,))


def recargar(usuario: Usuario | None, recarga: SaldoRecargado) -> UsuarioDecision:
    """Add to a user's money; it waits, uncounted, for a user who is not registered yet."""
    if usuario is None:
        usuario = Usuario(recarga.usuario_id)
    if usuario.nombre is None:
        espera = Recarga(recarga.alta_id, recarga.fecha, recarga.monto)
        return Decision(replace(usuario, esperan=usuario.esperan.joined(espera)))
    aplicada = AltaAplicada(alta_id=recarga.alta_id, fecha=recarga.fecha)
    return Decision(replace(usuario, saldo=usuario.saldo + recarga.monto), (aplicada,))


def rechazar(reserva: TokenReservado, motivo: MotivoSaldo) -> SaldoRechazado:
    """The refusal to pay for a token that is held."""
    return SaldoRechazado(
        compra_id=reserva.compra_id,
        usuario_id=reserva.usuario_id,
        token_id=reserva.token_id,
        fecha=reserva.fecha,
        motivo=motivo,
    )


def public(usuario: Usuario) -> dict[str, Any] | None:
    """A user in the seed's format; None while nobody is registered under the number."""
    if usuario.nombre is None:
        return None
    return {"id": usuario.id, "nombre": usuario.nombre, "saldo": usuario.saldo}


def _key(message: Message) -> str:
    assert isinstance(message, TokenReservado | UsuarioRegistrado | SaldoRecargado)
    return str(message.usuario_id)


def _keeps(message: Message) -> bool:
    """A row keeps no entry, only what came of it."""
    return isinstance(message, UsuarioRegistrado | SaldoRecargado)


DOMAIN: Final = Domain(name="usuarios", rows=(Usuario,), decide=decide, key=_key, keeps=_keeps, shown=public)
