"""A purchase, or an operator's entry, as it is shown: by GET, and as an event."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec.structs import replace

from broker.messages import Motivo
from services.compras.domain import Alta, Asunto, Estado, Paso
from services.shared.http.openapi import Vista
from services.shared.http.ops_routes import ServiceState

# The states by which the price is known.
CON_PRECIO: Final[set[Estado]] = {"reservada", "pagada", "confirmada"}


class PasoVisto(Vista):
    """A state, and when the front door heard of it."""

    estado: Estado
    fecha: str


class CompraVista(Vista):
    """A purchase. `precio` is what it costs, from when that is known; `motivo` is why it was refused."""

    id: str
    usuario_id: int
    token_id: int
    fecha: str
    precio_maximo: int | None = None
    estado: Estado
    motivo: Motivo | None = None
    precio: int | None = None
    transaccion_id: int | None = None
    historia: list[PasoVisto]


class AltaVista(Vista):
    """An operator's entry, and whether it is in force."""

    id: str
    tipo: Literal["usuario.registrado", "saldo.recargado", "token.publicado"]
    fecha: str
    estado: Literal["solicitada", "aplicada"]


class Fuera(Vista):
    """A service that cannot be asked."""

    ready: Literal[False]
    role: None
    problem: str


class BrokerVisto(Vista):
    conectado: bool
    problema: str | None


class ColaVista(Vista):
    messages: int
    consumers: int


class EstadoVisto(Vista):
    """The whole shop, as far as it answers within a second. `tumbar` has the commands that kill, where that is on."""

    servicios: dict[str, ServiceState | Fuera]
    broker: BrokerVisto
    colas: dict[str, ColaVista] | None
    sin_terminar: int
    tumbar: dict[str, str] | None
    gestion: str | None


def vista(row: Asunto) -> dict[str, Any]:
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
    states = {paso.estado for paso in historia}
    then = replace(
        row,
        estado=historia[-1].estado,
        historia=historia,
        # What a state brings is known from then on, and never changes.
        precio=row.precio if states & CON_PRECIO else None,
        transaccion_id=row.transaccion_id if "registrada" in states else None,
    )
    return "compra", vista(then)
