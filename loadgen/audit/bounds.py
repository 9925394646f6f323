"""What a field of a message may be: the wire refuses all else, so no correct shop has it in its books."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final

from loadgen.audit.clocks import is_moment

# Whole numbers that every reader of JSON keeps exact; and of money a thousand times less.
MOST: Final = 2**53 - 1
MOST_MONEY: Final = 10**12
NAME: Final = 200
# Some languages are written with them, and many emoji.
JOINERS: Final = "\u200c\u200d"
OPTIONAL: Final = ("precioMaximo", "saldo", "orden", "catalogo")


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _like(pattern: str) -> Callable[[Any], bool]:
    fits = re.compile(pattern).fullmatch
    return lambda value: isinstance(value, str) and fits(value) is not None


def _is_name(value: Any) -> bool:
    """One line of text that shows something. What this Python does not know yet, a newer one may print."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= NAME
        and value.strip(JOINERS) != ""
        and (value.isprintable() or all(map(_is_shown, value)))
    )


def _is_shown(char: str) -> bool:
    return char.isprintable() or char in JOINERS or unicodedata.category(char) == "Cn"


FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "compraId": _like("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    "altaId": _like("[0-9a-z:-]{1,80}"),
    "fecha": is_moment,
    **dict.fromkeys(("usuarioId", "tokenId", "orden"), _whole(1, MOST)),
    **dict.fromkeys(("precio", "precioMaximo", "saldo"), _whole(0, MOST_MONEY)),
    "monto": _whole(1, MOST_MONEY),
    "nombre": _is_name,
    "imagen": _like("[A-Za-z0-9][A-Za-z0-9._-]{0,99}"),
    "catalogo": _like("[0-9a-f]{64}"),
}


def sound(name: str, value: Any) -> bool:
    """Whether a field of a request can be what was asked for."""
    return (value is None and name in OPTIONAL) or FIELDS[name](value)
