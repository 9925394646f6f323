"""Seed files: an operator's first entries. They are imported as messages, so that each counts once, for ever."""

from __future__ import annotations

from typing import Final

# Older than any operator's entry: a seed never changes what lives.
SEED_FECHA: Final = "1970-01-01T00:00:00Z"


def seed_id(entry: int) -> str:
    return f"semilla:{entry}"
