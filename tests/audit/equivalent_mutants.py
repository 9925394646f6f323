# ruff: noqa: E501 - the lines as they stand in the code
"""Mutants that change nothing that anybody could see, each with the reason: file, function, line and change.

One that is not there any more fails a test, and so does one that the audit sees.
"""

from __future__ import annotations

from typing import Final

Name = tuple[str, str, str, str]

EQUIVALENT: Final[dict[str, tuple[Name, ...]]] = {
    "whether a row could be changed in place; nothing ever does": (
        ("services/compras/domain.py", "", "class Compra(Struct, frozen=True):", "True -> False"),
        ("services/compras/domain.py", "", "class Paso(Struct, frozen=True):", "True -> False"),
        ("services/compras/domain.py", "", "class Alta(Struct, frozen=True):", "True -> False"),
        ("services/compras/domain.py", "", "class Etapa(Struct, frozen=True):", "True -> False"),
        ("services/tokens/domain.py", "", "class Reserva(Struct, frozen=True):", "True -> False"),
        ("services/tokens/domain.py", "", "class Espera(Struct, frozen=True):", "True -> False"),
        ("services/tokens/domain.py", "", "class Token(Struct, frozen=True):", "True -> False"),
        ("services/usuarios/domain.py", "", "class Recarga(Struct, frozen=True):", "True -> False"),
        ("services/usuarios/domain.py", "", "class Usuario(Struct, frozen=True):", "True -> False"),
        ("services/transacciones/domain.py", "", "class Libro(Struct, frozen=True):", "True -> False"),
    ),
    "a name for a type, which only mypy and readers use": (
        ("services/compras/domain.py", "", "Asunto: TypeAlias = Compra | Alta", "Compra | Alta -> None"),
        ("services/compras/domain.py", "", "CompraDecision: TypeAlias = Decision[Asunto]", "Decision[Asunto] -> None"),
        ("services/tokens/domain.py", "", "TokenDecision: TypeAlias = Decision[Token]", "Decision[Token] -> None"),
        (
            "services/usuarios/domain.py",
            "",
            "UsuarioDecision: TypeAlias = Decision[Usuario]",
            "Decision[Usuario] -> None",
        ),
        (
            "services/transacciones/domain.py",
            "",
            "LibroDecision: TypeAlias = Decision[Libro]",
            "Decision[Libro] -> None",
        ),
    ),
    "the text of an assertion, not the assertion: why a dead letter is one, which no book, client or service shows": (
        (
            "services/compras/domain.py",
            "decide",
            'raise AssertionError(f"compras does not hear {message.type}")',
            'f"compras does not hear {message.type}" -> None',
        ),
        (
            "services/compras/domain.py",
            "decide",
            'raise AssertionError(f"{message.type} for {message.subject}, under whose key is something else")',
            'f"{message.type} for {message.subject}, under whose key is something else" -> None',
        ),
        (
            "services/tokens/domain.py",
            "decide",
            'raise AssertionError(f"tokens does not hear {message.type}")',
            'f"tokens does not hear {message.type}" -> None',
        ),
        (
            "services/tokens/domain.py",
            "vender",
            'assert pago.precio == reserva.precio, f"{pago.compra_id} paid {pago.precio}, and holds at {reserva.precio}"',
            "precio -> precio_maximo (3)",
        ),
        (
            "services/tokens/domain.py",
            "vender",
            'assert pago.precio == reserva.precio, f"{pago.compra_id} paid {pago.precio}, and holds at {reserva.precio}"',
            "precio -> precio_maximo (4)",
        ),
        (
            "services/tokens/domain.py",
            "_held_by",
            'assert token is not None, f"{message.type} for token {message.token_id}, which does not exist"',
            "token_id -> usuario_id",
        ),
        (
            "services/usuarios/domain.py",
            "decide",
            'raise AssertionError(f"usuarios does not hear {message.type}")',
            'f"usuarios does not hear {message.type}" -> None',
        ),
        (
            "services/transacciones/domain.py",
            "decide",
            'raise AssertionError(f"transacciones does not hear {message.type}")',
            'f"transacciones does not hear {message.type}" -> None',
        ),
    ),
    "only the order of states matters, and these two never stand in one history, or stand in it in this order anyway": (
        ("services/compras/domain.py", "", '"solicitada": Etapa(0, CompraSolicitada),', "0 -> 1"),
        ("services/compras/domain.py", "", '"reservada": Etapa(1, TokenReservado, sabe=("precio",)),', "1 -> 0"),
        (
            "services/compras/domain.py",
            "",
            '"registrada": Etapa(4, TransaccionRegistrada, sabe=("transaccion_id",), pagada=True, final=True),',
            "4 -> 5",
        ),
        (
            "services/compras/domain.py",
            "",
            '"rechazada": Etapa(4, CompraRechazada, sabe=("motivo",), final=True),',
            "4 -> 3",
        ),
        (
            "services/compras/domain.py",
            "",
            '"rechazada": Etapa(4, CompraRechazada, sabe=("motivo",), final=True),',
            "4 -> 5",
        ),
    ),
    "the row of a purchase that is asked for is made by `solicitar`: nobody looks here for the message that brings it": (
        (
            "services/compras/domain.py",
            "",
            '"solicitada": Etapa(0, CompraSolicitada),',
            "CompraSolicitada -> None",
        ),
    ),
    "no more than nothing is asked of it: None is as false as False": (
        ("services/compras/domain.py", "", "pagada: bool = False", "False -> None"),
        ("services/compras/domain.py", "", "final: bool = False", "False -> None"),
    ),
    "the readable file beside the journal is for people, and no part of the books: tests/store/test_view.py looks at it": (
        (
            "services/transacciones/domain.py",
            "",
            'listing=Listing(TransaccionRegistrada, ("usuario_id", "token_id"), public),',
            "public -> None",
        ),
        (
            "services/transacciones/domain.py",
            "",
            'listing=Listing(TransaccionRegistrada, ("usuario_id", "token_id"), public),',
            "public -> nothing",
        ),
    ),
    "an entry has two states, and the other one is behind this one in the alphabet, too": (
        (
            "services/compras/domain.py",
            "finished",
            'return row.estado == "aplicada" if isinstance(row, Alta) else ETAPAS[row.estado].final',
            "= -> <",
        ),
    ),
    "to sort what is in order changes nothing: no state comes twice": (
        ("services/compras/domain.py", "avanzar", "if ETAPAS[compra.estado].orden > ETAPAS[estado].orden:", "> -> !="),
        (
            "services/compras/domain.py",
            "avanzar",
            "if ETAPAS[compra.estado].orden > ETAPAS[estado].orden:",
            "nothing -> =",
        ),
    ),
    "it would also show the motivo of what is paid or confirmed, and neither ever has one: that is a dead letter": (
        (
            "services/compras/domain.py",
            "public",
            '"motivo": row.motivo if row.estado == "rechazada" else None,',
            "= -> <",
        ),
    ),
    "a default that is never used: every line of the code gives the value": (
        ("services/tokens/domain.py", "", "precio_maximo: int | None = None", 'None -> ""'),
    ),
    "a line grows by one at a time, and is never longer than it may be": (
        (
            "services/tokens/domain.py",
            "impedimento",
            'return "token-disputado" if len(token.cola) >= MAX_COLA else None',
            "> -> =",
        ),
    ),
    "the journal's own message has its names as on the wire, by which it is read anyway": (
        (
            "services/compras/domain.py",
            "pregunta",
            "return model.model_validate_json(row.mensaje, by_alias=True, by_name=False)",
            "False -> None",
        ),
        (
            "services/compras/domain.py",
            "pregunta",
            "return model.model_validate_json(row.mensaje, by_alias=True, by_name=False)",
            "False -> True",
        ),
        (
            "services/compras/domain.py",
            "pregunta",
            "return model.model_validate_json(row.mensaje, by_alias=True, by_name=False)",
            "True -> None",
        ),
        (
            "services/compras/domain.py",
            "pregunta",
            "return model.model_validate_json(row.mensaje, by_alias=True, by_name=False)",
            "by_alias=True -> nothing",
        ),
        (
            "services/compras/domain.py",
            "pregunta",
            "return model.model_validate_json(row.mensaje, by_alias=True, by_name=False)",
            "by_name=False -> nothing",
        ),
    ),
}
