"""The store port: how a service remembers what it decided. `journal/store.py` is the one that needs no database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from broker.messages import Message

Row_co = TypeVar("Row_co", covariant=True)


class Answer(Struct, frozen=True):
    """What came of one message: the facts to tell, or why deciding failed (then nothing changed)."""

    messages: tuple[Message, ...] = ()
    failure: str | None = None
    # The message was seen before, and these are the last words that were said.
    repeated: bool = False


class Store(Protocol[Row_co]):
    """Rows by key, changed by messages and by nothing else."""

    async def once(self, batch: Sequence[Message]) -> Sequence[Answer]:
        """Decide each message, in order, once per message id, durably.

        Returns what to publish for each, or why it failed. When this returns, all of it outlives a power cut;
        until it returns, no reader sees any of it. Raises StoreBroken when the disk cannot be believed, Fenced when
        somebody else has become the writer: in both cases end the process and publish nothing.
        """

    def row(self, key: str) -> Row_co | None:
        """The row as it is on the disk now."""


class StoreBroken(Exception):
    """The disk cannot be believed any more: a failed sync, a file that went away. Start anew and read again."""


class Fenced(Exception):
    """Somebody else has become the writer of this folder."""


class Damaged(Exception):
    """The journal is not what was written. Says the file, the offset in bytes, and what to do."""
