"""What one service shows and the front door passes on: tokens, users, records. For documentation, and for the tests."""

from __future__ import annotations

from typing import Final

from services.shared.http.openapi import Vista, header


class TokenVisto(Vista):
    """A token, as in the seed."""

    id: int
    nombre: str
    imagen: str
    precio: int
    vendido: bool


class ReservaVista(Vista):
    """The purchase that holds the token, or bought it."""

    compra_id: str
    usuario_id: int
    precio: int


class TokenEntero(TokenVisto):
    """A token, who holds it, and the purchases that wait for it in their order."""

    reserva: ReservaVista | None
    cola: list[str]


class UsuarioVisto(Vista):
    """A user, as in the seed."""

    id: int
    nombre: str
    saldo: int


class TransaccionVista(Vista):
    """A record of the book of sales."""

    id: int
    usuario_id: int
    token_id: int
    fecha: str


PICTURE: Final = {
    "description": "The picture",
    "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    "headers": {"Cache-Control": header("public, max-age=86400")},
}
