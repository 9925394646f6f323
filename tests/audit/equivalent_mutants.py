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
            "avanzar",
            'raise AssertionError(f"compras does not hear {message.type}")',
            'f"compras does not hear {message.type}" -> None',
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
        ("services/compras/domain.py", "", '"solicitada": 0,', "0 -> 1"),
        ("services/compras/domain.py", "", '"reservada": 1,', "1 -> 0"),
        ("services/compras/domain.py", "", '"registrada": 4,', "4 -> 5"),
        ("services/compras/domain.py", "", '"rechazada": 4,', "4 -> 3"),
        ("services/compras/domain.py", "", '"rechazada": 4,', "4 -> 5"),
    ),
    "to sort what is in order changes nothing: no state comes twice": (
        ("services/compras/domain.py", "paso", "if ORDEN[compra.estado] > ORDEN[estado]:", "> -> !="),
        ("services/compras/domain.py", "paso", "if ORDEN[compra.estado] > ORDEN[estado]:", "nothing -> ="),
    ),
    "what ends a purchase as refused is never without its motivo, at which the other half of the line looks": (
        (
            "services/compras/domain.py",
            "paso",
            'refused = after.estado == "rechazada" or after.motivo is not None',
            "rechazada -> RECHAZADA",
        ),
        (
            "services/compras/domain.py",
            "paso",
            'refused = after.estado == "rechazada" or after.motivo is not None',
            "rechazada -> XXrechazadaXX",
        ),
        (
            "services/compras/domain.py",
            "paso",
            'refused = after.estado == "rechazada" or after.motivo is not None',
            "rechazada -> solicitada",
        ),
    ),
    "it would also show the motivo of what is paid or confirmed, and neither ever has one: that is a dead letter": (
        (
            "services/compras/views.py",
            "vista",
            '"motivo": row.motivo if row.estado == "rechazada" else None,',
            "= -> <",
        ),
    ),
    "a default that is never used: every line of the code gives the value": (
        ("services/tokens/domain.py", "", "precio_maximo: int | None = None", 'None -> ""'),
    ),
    "a line grows by one at a time, and is never longer than it may be": (
        ("services/tokens/domain.py", "reservar", "if len(token.cola) >= MAX_COLA:", "> -> ="),
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
