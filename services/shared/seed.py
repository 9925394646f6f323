"""Seed files: an operator's first entries. They are imported as messages, so that each counts once, for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from pydantic_core import from_json

from broker.messages import Message

# Older than any operator's entry: a seed never changes what lives.
SEED_FECHA: Final = "1970-01-01T00:00:00Z"


def seed_id(entry: int) -> str:
    return f"semilla:{entry}"


def is_seed(subject: str) -> bool:
    """Whether this is about an entry of a seed: what is said of it, nobody waits for."""
    return subject.startswith("semilla:")


def each_once(ids: Iterable[int]) -> None:
    """Raises ValueError: of two entries with one id only the first would count, and nobody would be told."""
    twice = [entry for entry, times in Counter(ids).items() if times > 1]
    if twice:
        raise ValueError(f"id {twice[0]} is there twice")


def empty_seed(raw: bytes) -> Sequence[Message]:
    """Raises ValueError: what this service knows has happened, and nobody can tell it beforehand."""
    if from_json(raw) != []:
        raise ValueError("this service starts empty: write []")
    return ()
