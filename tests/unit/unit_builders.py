"""Messages and rows for the unit tests: whole ones, of which a test says only what it is about.

pytest puts this folder on the path (it has no `__init__.py`), so a test imports this by name.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings

from broker.messages import (
    AltaAplicada,
    CompraConfirmada,
    CompraRechazada,
    CompraSolicitada,
    Message,
    Motivo,
    MotivoSaldo,
    SaldoRecargado,
    SaldoRechazado,
    SaldoReservado,
    TokenPublicado,
    TokenReservado,
    TransaccionRegistrada,
    UsuarioRegistrado,
    compra_id,
)
from services.shared.decision import Fila

# The same examples in each run: what passes here passes everywhere.
steady = settings(derandomize=True, database=None, deadline=None, max_examples=100)

FECHA = "2025-09-10T17:00:00.000Z"
ANA, LUIS, EVA = 1, 2, 3
GATO, LUNA = 101, 102


def fecha(number: int) -> str:
    """The number-th moment: a later one is greater."""
    return f"2025-09-10T{17 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"


def solicitada(
    usuario: int = ANA, key: str = "k", *, token: int = GATO, maximo: int | None = None, fecha: str = FECHA
) -> CompraSolicitada:
    return CompraSolicitada(
        compra_id=compra_id(usuario, key), usuario_id=usuario, token_id=token, fecha=fecha, precio_maximo=maximo
    )


def _same(compra: CompraSolicitada) -> dict[str, Any]:
    """What every message of a purchase has in common."""
    return {
        "compra_id": compra.compra_id,
        "usuario_id": compra.usuario_id,
        "token_id": compra.token_id,
        "fecha": compra.fecha,
    }


def reservado(compra: CompraSolicitada, precio: int = 50) -> TokenReservado:
    return TokenReservado(**_same(compra), precio=precio)


def pagado(compra: CompraSolicitada, precio: int = 50) -> SaldoReservado:
    return SaldoReservado(**_same(compra), precio=precio)


def impagado(compra: CompraSolicitada, motivo: MotivoSaldo = "saldo-insuficiente") -> SaldoRechazado:
    return SaldoRechazado(**_same(compra), motivo=motivo)


def confirmada(compra: CompraSolicitada, precio: int = 50) -> CompraConfirmada:
    return CompraConfirmada(**_same(compra), precio=precio)


def rechazada(compra: CompraSolicitada, motivo: Motivo) -> CompraRechazada:
    return CompraRechazada(**_same(compra), motivo=motivo)


def registrada(compra: CompraSolicitada, numero: int = 1) -> TransaccionRegistrada:
    return TransaccionRegistrada(**_same(compra), transaccion_id=numero)


def usuario_registrado(
    usuario: int = ANA, *, nombre: str = "Ana", saldo: int | None = None, alta: str = "alta:u", fecha: str = FECHA
) -> UsuarioRegistrado:
    return UsuarioRegistrado(alta_id=alta, usuario_id=usuario, nombre=nombre, saldo=saldo, fecha=fecha)


def saldo_recargado(usuario: int = ANA, *, monto: int = 10, alta: str = "alta:r", fecha: str = FECHA) -> SaldoRecargado:
    return SaldoRecargado(alta_id=alta, usuario_id=usuario, monto=monto, fecha=fecha)


def token_publicado(
    token: int = GATO,
    *,
    nombre: str = "Gato Cósmico",
    imagen: str = "gato.jpg",
    precio: int = 50,
    alta: str = "alta:t",
    fecha: str = FECHA,
) -> TokenPublicado:
    return TokenPublicado(alta_id=alta, token_id=token, nombre=nombre, imagen=imagen, precio=precio, fecha=fecha)


def aplicada(alta: str, fecha: str = FECHA) -> AltaAplicada:
    return AltaAplicada(alta_id=alta, fecha=fecha)


# One of each, with all that it can carry. `golden/` has how they travel.
EXAMPLES: dict[str, Message] = {
    message.type: message
    for message in (
        solicitada(key="golden", maximo=60),
        reservado(solicitada(key="golden")),
        pagado(solicitada(key="golden")),
        impagado(solicitada(key="golden")),
        confirmada(solicitada(key="golden")),
        rechazada(solicitada(key="golden"), "token-vendido"),
        registrada(solicitada(key="golden"), 1),
        usuario_registrado(saldo=100, alta="semilla:1"),
        saldo_recargado(monto=25, alta="recarga:7"),
        token_publicado(alta="semilla:101"),
        aplicada("semilla:101"),
    )
}


class CountingList(list[Any]):
    """A list that counts how many items were read from it or copied out of it, its copies' counts included."""

    def __init__(self, items: Any = (), tally: list[int] | None = None) -> None:
        super().__init__(items)
        self.tally = [0] if tally is None else tally

    def __getitem__(self, where: Any) -> Any:
        found = super().__getitem__(where)
        if isinstance(where, slice):
            self.tally[0] += len(found)
            return CountingList(found, self.tally)
        self.tally[0] += 1
        return found

    def __iter__(self) -> Any:
        self.tally[0] += len(self)
        return super().__iter__()


def counted_line(*items: Any) -> tuple[Fila[Any], CountingList]:
    """A line, and the list below it that counts what is copied."""
    below = CountingList(items)
    return Fila(below, 0, len(below)), below


def is_counted(line: Fila[Any]) -> bool:
    """Whether the list below is still one that counts: the line was not built anew in some other way."""
    return isinstance(line._items, CountingList)
