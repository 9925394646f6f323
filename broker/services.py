"""The four that take part in a purchase."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Service: TypeAlias = Literal["compras", "tokens", "usuarios", "transacciones"]
SERVICES: Final[tuple[Service, ...]] = ("compras", "tokens", "usuarios", "transacciones")
