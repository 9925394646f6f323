"""Whose book said a message, at which record, and how far its sender had heard of every other book.

It travels as one CloudEvents extension of about 130 bytes:
`tokens/3fa2c1d0/1/1234/1201-9f3a compras/9b07e211/1/88/1-07e2`.
The first entry is the sender's own, of the record that holds the message: a word that is repeated keeps the number that
it first had. What the resender asks for again has that of the moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias, cast

from broker.services import SERVICES, Service

HEADER: Final = "ce-zocoheights"
_ENTRY: Final = re.compile(
    rf"({'|'.join(SERVICES)})/([0-9a-f]{{8}})/([1-9][0-9]{{0,8}})/([0-9]{{1,16}})(?:/([0-9]{{1,16}}-[0-9a-f]{{4}}))?"
)


class Height(NamedTuple):
    """A record of a book: the book's identity, made with it; how often it was rebuilt, from 1; the record's number.

    `branch`: the number of the first record that was written in one go with it, and four hex digits that differ
    wherever two went on from one copy of the book; "": not known.
    """

    book: str
    generation: int
    seq: int
    branch: str = ""

    def excludes(self, other: Height) -> bool:
        """Whether no one book has both: whoever wrote one of them had a copy without the other."""
        if self[:2] != other[:2] or self.branch == other.branch or not (self.branch and other.branch):
            return False
        (first, seq), (other_first, other_seq) = (_first(self), self.seq), (_first(other), other.seq)
        return seq >= other_first if first <= other_first else other_seq >= first


Heights: TypeAlias = Mapping[Service, Height]


def written(heights: Iterable[tuple[Service, Height]]) -> str:
    """As they travel."""
    return " ".join([f"{service}/" + "/".join(map(str, at if at.branch else at[:3])) for service, at in heights])


def sender(heights: str) -> tuple[Service, Height] | None:
    """Who said it, and where that stands; None: nobody knows, as of a version before this one, or of a stranger."""
    return _entry(heights.partition(" ")[0])


# All messages of a batch have the same.
@lru_cache(maxsize=64)
def heard(heights: str) -> Heights:
    """What the sender had heard of other books."""
    entries = map(_entry, heights.split(" ")[1:])
    return {entry[0]: entry[1] for entry in entries if entry is not None}


def rest(heights: str) -> str:
    """The same for all messages of a sender's batch: what it had heard, without the sender's own."""
    return heights[heights.find(" ") :] if " " in heights else ""


# A message's is asked for several times.
@lru_cache(maxsize=1024)
def _entry(text: str) -> tuple[Service, Height] | None:
    if not (found := _ENTRY.fullmatch(text)):
        return None
    service, book, generation, seq, branch = found.groups()
    return cast(Service, service), Height(book, int(generation), int(seq), branch or "")


def _first(at: Height) -> int:
    return int(at.branch.partition("-")[0])
