"""A purchase, or an operator's entry, as it is shown: by GET, and as an event."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from services.compras.domain import ETAPAS, Alta, Asunto, Paso

# The states by which the price is known.
CON_PRECIO: Final = {estado for estado, etapa in ETAPAS.items() if "precio" in etapa.sabe}


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
