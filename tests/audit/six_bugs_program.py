"""A service of a shop with six bugs in its business, each in what agrees with all the rest.

python six_bugs_program.py FOLDER services.tokens.main:app [uvicorn's options]

An audit that looks only at whether the books agree sees none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from msgspec.structs import replace

from broker.messages import CompraMessage, CompraSolicitada, TokenReservado, TransaccionRegistrada
from services.compras import domain as compras
from services.shared.decision import Decision
from services.tokens import domain as tokens
from services.transacciones import domain as transacciones
from services.usuarios import domain as usuarios

# Of so many purchases, each of the bugs that does not strike all strikes one.
EACH = 12


def strikes(compra: CompraMessage, bug: int) -> bool:
    """The same purchases, whoever asks, and after a restart."""
    return int(compra.compra_id[:8], 16) % EACH == bug


def in_tokens() -> None:
    reservar = tokens.reservar

    def wrong(token: tokens.Token | None, compra: CompraSolicitada) -> tokens.TokenDecision:
        if token is not None and not token.vendido and token.reserva is None and strikes(compra, 0):
            # 2: refused as if the line were full, with nobody in it.
            return Decision(token, (tokens.rechazar(compra, "token-disputado"),))
        # 1: sold for more than the buyer would pay.
        return reservar(token, compra.model_copy(update={"precio_maximo": None}))

    tokens.reservar = wrong


def in_usuarios() -> None:
    cobrar = usuarios.cobrar

    def wrong(usuario: usuarios.Usuario | None, reserva: TokenReservado) -> usuarios.UsuarioDecision:
        if strikes(reserva, 1):
            # 3: a registered buyer is said not to be.
            return Decision(usuario, (usuarios.rechazar(reserva, "usuario-inexistente"),))
        return cobrar(usuario, reserva)

    usuarios.cobrar = wrong


def in_transacciones() -> None:
    registrar = transacciones.registrar

    def wrong(libro: transacciones.Libro, compra: Any) -> transacciones.LibroDecision:
        # 4: every record has a date of its own.
        return registrar(libro, compra.model_copy(update={"fecha": "1999-12-31T23:59:59Z"}))

    transacciones.registrar = wrong


def in_compras() -> None:
    avanzar = compras.avanzar

    def wrong(compra: compras.Compra, message: CompraMessage) -> compras.Compra:
        after = avanzar(compra, message)
        if strikes(message, 2) and after.precio is not None:
            # 5: the buyer is shown another price.
            return replace(after, precio=7)
        if strikes(message, 3) and isinstance(message, TransaccionRegistrada):
            # 6: the buyer is shown another record.
            return replace(after, transaccion_id=message.transaccion_id + 1_000)
        return after

    compras.avanzar = wrong


BUGS: dict[str, Callable[[], None]] = {
    "tokens": in_tokens,
    "usuarios": in_usuarios,
    "transacciones": in_transacciones,
    "compras": in_compras,
}


def main() -> None:
    BUGS[sys.argv[2].split(".")[1]]()
    uvicorn.main(sys.argv[2:])


if __name__ == "__main__":
    main()
