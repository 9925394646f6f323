"""Where something stands in the journal, and what is remembered of each purchase, as one integer each.

A position is the number of a segment in its chain and an offset in it, in bytes. The dedup index has one entry for each
purchase or operator's entry that was ever heard of: which types of message were seen, and where its last word stands.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NewType

from services.shared.records import SEAL_BYTES, with_checksum

Position = NewType("Position", int)
# There is no such place: offset 0 of a segment is its header.
NOWHERE: Final = Position(0)
# Up to where all is told stands beside the journal, and is always as long, as it is written over in place.
TOLD, NOTE_BYTES = "told", 96
OFFSET_BITS: Final = 32
SEEN_BITS: Final = 11
SEEN: Final = (1 << SEEN_BITS) - 1
# What the 64 bits of an entry have room for. A segment is ended, and a start refused, before one of them is passed.
MAX_SEGMENT_BYTES: Final = 1 << OFFSET_BITS
MAX_SEGMENTS: Final = 1 << (64 - SEEN_BITS - OFFSET_BITS)
UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def position(segment: int, offset: int) -> Position:
    return Position((segment << OFFSET_BITS) | offset)


def segment_and_offset(at: Position) -> tuple[int, int]:
    return at >> OFFSET_BITS, at & ((1 << OFFSET_BITS) - 1)


def dedup_entry(last_word: Position, seen: int) -> int:
    return (last_word << SEEN_BITS) | (seen & SEEN)


def last_word_of(entry: int) -> Position:
    return Position(entry >> SEEN_BITS)


# It is asked several times for each message.
@lru_cache(maxsize=4096)
def dedup_key(subject: str) -> int:
    """A purchase's UUID as a number; for anything else a hash that no UUID will ever meet."""
    if UUID.fullmatch(subject):
        return int(subject.replace("-", ""), 16)
    return int.from_bytes(blake2b(subject.encode(), digest_size=16).digest(), "big")


def told(heights: str) -> bytes:
    """That the broker has what records up to this one say. `heights`: as they travel, the own ones first."""
    return with_checksum((b'{"told":"%s"' % heights.partition(" ")[0].encode()).ljust(NOTE_BYTES - SEAL_BYTES))
