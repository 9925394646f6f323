"""The shop by the rules of a version before this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from services.tokens import domain as tokens


@contextmanager
def rules_of_before() -> Iterator[None]:
    """A buyer may wait more than once in a line, and behind themselves."""
    impedimento, rules = tokens.impedimento, tokens.RULES

    def before(token: tokens.Token, compra: Any) -> Any:
        motivo = impedimento(token, compra)
        full = len(token.cola) >= tokens.MAX_COLA
        return motivo if motivo != "ya-en-cola" else "token-disputado" if full else None

    tokens.impedimento, tokens.RULES = before, 0  # type: ignore[misc]
    try:
        yield
    finally:
        tokens.impedimento, tokens.RULES = impedimento, rules  # type: ignore[misc]
