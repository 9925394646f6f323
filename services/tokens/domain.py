"""Who holds a token, who waits for it, and to whom it is sold. Pure: messages in, a row and messages out."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from broker.messages import (
    AltaAplicada,
    CompraConfirmada,
    CompraMessage,
    CompraRechazada,
    CompraSolicitada,
    Message,
    Motivo,
    SaldoRechazado,
    SaldoReservado,
    TokenPublicado,
    TokenReservado,
    moment,
)
from services.shared.decision import Decision, Domain, Fila, Since

# More than this many never wait for one token: the next is refused with `token-disputado`.
MAX_COLA: Final = 10_000
# 1: a buyer stands in a line once.
RULES: Final = 1


class Reserva(Struct, frozen=True):
    """Who holds the token, at which price. Once it is sold, who bought it."""

    compra_id: str
    usuario_id: int
    fecha: str
    precio: int


class Espera(Struct, frozen=True):
    """Who waits for the token, and what they are willing to pay at the most."""

    compra_id: str
    usuario_id: int
    fecha: str
    precio_maximo: int | None = None


class Token(Struct, frozen=True):
    """A one-of-a-kind token. `publicado` and `orden` are those of the entry that it shows: of two, the one entered
    later."""

    id: int
    nombre: str
    imagen: str
    precio: int
    publicado: str
    vendido: bool = False
    reserva: Reserva | None = None
    cola: Fila[Espera] = field(default_factory=Fila)
    orden: Since = 0


TokenDecision: TypeAlias = Decision[Token]


def decide(token: Token | None, message: Message) -> TokenDecision:
    """Raises AssertionError when somebody broke a promise, as by taking money for a token that nobody holds."""
    match message:
        case CompraSolicitada():
            return reservar(token, message)
        case SaldoReservado():
            return vender(token, message)
        case SaldoRechazado():
            return liberar(token, message)
        case TokenPublicado():
            return publicar(token, message)
    raise AssertionError(f"tokens does not hear {message.type}")


def reservar(token: Token | None, compra: CompraSolicitada) -> TokenDecision:
    """Hold the token for this purchase, or let it wait, or refuse it."""
    if token is None:
        return Decision(None, (rechazar(compra, "token-inexistente"),))
    if motivo := impedimento(token, compra):
        return Decision(token, (rechazar(compra, motivo),))
    if token.reserva is None:
        return asignar(token, compra)
    espera = Espera(compra.compra_id, compra.usuario_id, compra.fecha, compra.precio_maximo)
    return Decision(replace(token, cola=token.cola.joined(espera)))


def impedimento(token: Token, compra: CompraSolicitada) -> Motivo | None:
    """Why this purchase can neither hold the token nor wait for it. A buyer stands in a line once, at its head while
    they hold the token: else one who cannot pay fills it, and everybody else is sent away."""
    if token.vendido:
        return "token-vendido"
    if compra.precio_maximo is not None and compra.precio_maximo < token.precio:
        return "precio-mayor"
    if token.reserva is None:
        return None
    if token.reserva.usuario_id == compra.usuario_id or token.cola.has(compra.usuario_id, _usuario):
        return "ya-en-cola"
    return "token-disputado" if len(token.cola) >= MAX_COLA else None


def vender(token: Token | None, pago: SaldoReservado) -> TokenDecision:
    """The money is taken: the token is sold, and whoever waits is refused."""
    vendido, reserva = _held_by(token, pago)
    assert pago.precio == reserva.precio, f"{pago.compra_id} paid {pago.precio}, and holds at {reserva.precio}"
    confirmada = CompraConfirmada(
        compra_id=reserva.compra_id,
        usuario_id=reserva.usuario_id,
        token_id=vendido.id,
        fecha=reserva.fecha,
        precio=reserva.precio,
    )
    refusals = (rechazar(_asked(vendido, espera), "token-vendido") for espera in vendido.cola)
    return Decision(
        replace(vendido, vendido=True, cola=vendido.cola.left(len(vendido.cola))),
        (confirmada, *refusals),
    )


def liberar(token: Token | None, rechazo: SaldoRechazado) -> TokenDecision:
    """The buyer cannot pay: the token goes to the next in line that still accepts its price."""
    libre, _ = _held_by(token, rechazo)
    refusals = [rechazar(rechazo, rechazo.motivo)]
    cola = libre.cola
    while cola:
        siguiente = _asked(libre, cola.first())
        cola = cola.left()
        if siguiente.precio_maximo is None or siguiente.precio_maximo >= libre.precio:
            held = asignar(replace(libre, cola=cola), siguiente)
            return Decision(held.row, (*refusals, *held.messages))
        refusals.append(rechazar(siguiente, "precio-mayor"))
    return Decision(replace(libre, reserva=None, cola=cola), tuple(refusals))


def publicar(token: Token | None, alta: TokenPublicado) -> TokenDecision:
    """Put a token up for sale, or change what is shown of it; an entry older than the one shown changes nothing."""
    aplicada = AltaAplicada(alta_id=alta.alta_id, fecha=alta.fecha)
    shown = Token(alta.token_id, alta.nombre, alta.imagen, alta.precio, alta.fecha, orden=alta.orden or 0)
    if token is None:
        token = shown
    elif (shown.orden, moment(shown.publicado)) > (token.orden, moment(token.publicado)):
        token = replace(shown, vendido=token.vendido, reserva=token.reserva, cola=token.cola)
    return Decision(token, (aplicada,))


def asignar(token: Token, compra: CompraSolicitada) -> TokenDecision:
    """Hold the token for this purchase at the price it has now, which no later change touches."""
    reserva = Reserva(compra.compra_id, compra.usuario_id, compra.fecha, token.precio)
    reservado = TokenReservado(
        compra_id=compra.compra_id,
        usuario_id=compra.usuario_id,
        token_id=token.id,
        fecha=compra.fecha,
        precio=token.precio,
    )
    return Decision(replace(token, reserva=reserva), (reservado,))


def rechazar(compra: CompraMessage, motivo: Motivo) -> CompraRechazada:
    """The refusal of a purchase."""
    return CompraRechazada(
        compra_id=compra.compra_id,
        usuario_id=compra.usuario_id,
        token_id=compra.token_id,
        fecha=compra.fecha,
        motivo=motivo,
    )


def public(token: Token) -> dict[str, Any]:
    """A token in the seed's format."""
    return {
        "id": token.id,
        "nombre": token.nombre,
        "imagen": token.imagen,
        "precio": token.precio,
        "vendido": token.vendido,
    }


_usuario: Final = attrgetter("usuario_id")


def _asked(token: Token, espera: Espera) -> CompraSolicitada:
    """What the one who waits asked for."""
    return CompraSolicitada(
        compra_id=espera.compra_id,
        usuario_id=espera.usuario_id,
        token_id=token.id,
        fecha=espera.fecha,
        precio_maximo=espera.precio_maximo,
    )


def _held_by(token: Token | None, message: CompraMessage) -> tuple[Token, Reserva]:
    assert token is not None, f"{message.type} for token {message.token_id}, which does not exist"
    reserva = token.reserva
    assert reserva is not None, f"{message.type} for token {token.id}, which nobody holds"
    assert reserva.compra_id == message.compra_id, (
        f"{message.type} of {message.compra_id} for token {token.id}, which {reserva.compra_id} holds"
    )
    assert not token.vendido, f"{message.type} for token {token.id}, which is sold"
    return token, reserva


def _keeps(message: Message) -> bool:
    """A row keeps neither the highest price of who asked, unless they wait, nor an entry that changed nothing."""
    return isinstance(message, TokenPublicado) or getattr(message, "precio_maximo", None) is not None


def _key(message: Message) -> str:
    assert isinstance(message, CompraMessage | TokenPublicado)
    return str(message.token_id)


DOMAIN: Final = Domain(
    name="tokens",
    rows=(Token,),
    decide=decide,
    key=_key,
    finished=lambda token: token.vendido,
    keeps=_keeps,
    shown=public,
    rules=lambda message: RULES if isinstance(message, CompraSolicitada) else 0,
)
