"""What a buyer sees of a purchase, and an operator of an entry. Pure: messages in, a row and messages out."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from broker.messages import (
    AltaAplicada,
    AltaMessage,
    CompraConfirmada,
    CompraMessage,
    CompraRechazada,
    CompraSolicitada,
    Message,
    SaldoRecargado,
    SaldoRechazado,
    SaldoReservado,
    TokenPublicado,
    TokenReservado,
    TransaccionRegistrada,
    UsuarioRegistrado,
    encode,
)
from services.shared.decision import Decision, Domain, Listing

Estado: TypeAlias = Literal["solicitada", "reservada", "pagada", "confirmada", "registrada", "rechazada"]


class Etapa(Struct, frozen=True):
    """A row of the table of a purchase's states."""

    # How far it is. News of an earlier state that comes late fills in the history and goes no further.
    orden: int
    # The message that brings a purchase here, and which of its fields are known of the purchase from then on.
    llega: type[CompraMessage]
    sabe: tuple[str, ...] = ()
    # It has been paid for: such a state never goes with a refusal.
    pagada: bool = False
    final: bool = False


ETAPAS: Final[dict[Estado, Etapa]] = {
    "solicitada": Etapa(0, CompraSolicitada),
    "reservada": Etapa(1, TokenReservado, sabe=("precio",)),
    "pagada": Etapa(2, SaldoReservado, sabe=("precio",), pagada=True),
    "confirmada": Etapa(3, CompraConfirmada, sabe=("precio",), pagada=True),
    "registrada": Etapa(4, TransaccionRegistrada, sabe=("transaccion_id",), pagada=True, final=True),
    "rechazada": Etapa(4, CompraRechazada, sabe=("motivo",), final=True),
}
LLEGADA: Final = {etapa.llega: estado for estado, etapa in ETAPAS.items()}
SABIDO: Final = {name for etapa in ETAPAS.values() for name in etapa.sabe}


class Paso(Struct, frozen=True):
    """A state, and when the front door heard of it."""

    estado: Estado
    fecha: str


class Compra(Struct, frozen=True):
    """A purchase. `historia` has its states in their order."""

    id: str
    usuario_id: int
    token_id: int
    fecha: str
    precio_maximo: int | None
    estado: Estado
    historia: tuple[Paso, ...]
    motivo: str | None = None
    precio: int | None = None
    transaccion_id: int | None = None


class Alta(Struct, frozen=True):
    """An operator's entry: the message that asks for it, as it is sent again until it is applied."""

    id: str
    fecha: str
    tipo: str
    mensaje: str
    estado: Literal["solicitada", "aplicada"] = "solicitada"


Asunto: TypeAlias = Compra | Alta
CompraDecision: TypeAlias = Decision[Asunto]


def decide(row: Asunto | None, message: Message) -> CompraDecision:
    """Raises AssertionError for news of a purchase that nobody asked for, and for a second thing under one key."""
    match message:
        case CompraSolicitada() | UsuarioRegistrado() | SaldoRecargado() | TokenPublicado() if row is not None:
            raise AssertionError(f"{message.type} for {message.subject}, under whose key is something else")
        case CompraSolicitada():
            return solicitar(message)
        case UsuarioRegistrado() | SaldoRecargado() | TokenPublicado():
            alta = Alta(message.alta_id, message.fecha, message.type, encode(message).decode())
            return Decision(alta, (message,))
        case AltaAplicada():
            assert isinstance(row, Alta), f"alta.aplicada for {message.alta_id}, which nobody entered"
            return Decision(replace(row, estado="aplicada"))
        case CompraMessage():
            assert isinstance(row, Compra), f"{message.type} for {message.compra_id}, which nobody asked for"
            return Decision(avanzar(row, message))
    raise AssertionError(f"compras does not hear {message.type}")


def solicitar(compra: CompraSolicitada) -> CompraDecision:
    """Accept a purchase, and say so."""
    row = Compra(
        id=compra.compra_id,
        usuario_id=compra.usuario_id,
        token_id=compra.token_id,
        fecha=compra.fecha,
        precio_maximo=compra.precio_maximo,
        estado="solicitada",
        historia=(Paso("solicitada", compra.fecha),),
    )
    return Decision(row, (compra,))


def avanzar(compra: Compra, message: CompraMessage) -> Compra:
    """Take in what another service said of this purchase. What comes late or out of order is legal."""
    if isinstance(message, SaldoRechazado):
        # No state of its own: tokens says next that the purchase is refused.
        assert not vendida(compra.historia), f"{compra.id} was both paid and refused"
        return replace(compra, motivo=message.motivo)
    estado = LLEGADA[type(message)]
    historia = (*compra.historia, Paso(estado, message.received_at))
    if ETAPAS[compra.estado].orden > ETAPAS[estado].orden:
        historia = tuple(sorted(historia, key=lambda paso: ETAPAS[paso.estado].orden))
    known = {name: getattr(message, name) for name in ETAPAS[estado].sabe}
    after = replace(compra, estado=historia[-1].estado, historia=historia, **known)
    assert not (after.motivo is not None and vendida(historia)), f"{compra.id} was both sold and refused"
    return after


def vendida(historia: tuple[Paso, ...]) -> bool:
    """Whether a purchase with this history was paid for."""
    return any(ETAPAS[paso.estado].pagada for paso in historia)


def finished(row: Asunto) -> bool:
    """Whether all has been heard that ends it."""
    return row.estado == "aplicada" if isinstance(row, Alta) else ETAPAS[row.estado].final


def pregunta(row: Asunto) -> Message:
    """What is sent again, word for word, for a purchase or an entry that does not get on."""
    if isinstance(row, Alta):
        model = {model.type: model for model in (UsuarioRegistrado, SaldoRecargado, TokenPublicado)}[row.tipo]
        return model.model_validate_json(row.mensaje, by_alias=True, by_name=False)
    return CompraSolicitada(
        compra_id=row.id,
        usuario_id=row.usuario_id,
        token_id=row.token_id,
        fecha=row.fecha,
        precio_maximo=row.precio_maximo,
    )


def public(row: Asunto) -> dict[str, Any]:
    """A purchase, or an entry, as GET and the events show it."""
    if isinstance(row, Alta):
        return {"id": row.id, "tipo": row.tipo, "fecha": row.fecha, "estado": row.estado}
    shown = {
        "id": row.id,
        "usuarioId": row.usuario_id,
        "tokenId": row.token_id,
        "fecha": row.fecha,
        "precioMaximo": row.precio_maximo,
        "estado": row.estado,
        "motivo": row.motivo if row.estado == "rechazada" else None,
        "precio": row.precio,
        "transaccionId": row.transaccion_id,
        "historia": [{"estado": paso.estado, "fecha": paso.fecha} for paso in row.historia],
    }
    return {name: value for name, value in shown.items() if value is not None}


def novedad(row: Asunto, change: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The kind and the text of the event that a record's `change` is; None where there is nothing to see.

    `row` is the same purchase at any later time: whatever it has become, the event is the same.
    """
    if isinstance(row, Alta):
        # Whose entry it is, only the operator may ask.
        return "alta", {"tipo": row.tipo, "estado": change["estado"]}
    if "historia" not in change:
        return None
    historia = tuple(Paso(**paso) for paso in change["historia"])
    # What a state brings is known from then on, and never changes.
    known = {name for paso in historia for name in ETAPAS[paso.estado].sabe}
    then = replace(row, estado=historia[-1].estado, historia=historia, **dict.fromkeys(SABIDO - known))
    return "compra", public(then)


def _key(message: Message) -> str:
    assert isinstance(message, CompraMessage | AltaMessage)
    return message.subject


DOMAIN: Final[Domain[Asunto]] = Domain(
    name="compras",
    rows=(Compra, Alta),
    decide=decide,
    key=_key,
    finished=finished,
    listing=Listing(CompraSolicitada, ("usuario_id", "token_id")),
)
