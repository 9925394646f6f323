"""What the processes of a load say to each other: frames on stdin and stdout, a length in eight bytes and so many bytes
of pickle. Both ends are processes of the same load."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen.load.plan import Plan
from ops.running import Keys

READY: Final = "ready"
LENGTH_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Assignment:
    """For the `number`th worker. `ahead_seconds` is the clock's of the process that started it."""

    number: int
    plan: Plan
    url: str
    keys: Keys
    journal: Path
    ahead_seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker is."""

    arrived: int
    accepted: int


def frame(what: Any) -> bytes:
    raw = pickle.dumps(what)
    return len(raw).to_bytes(LENGTH_BYTES) + raw


async def heard(reader: asyncio.StreamReader) -> Any:
    """The next frame. Raises asyncio.IncompleteReadError when the other process has ended."""
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES))
    return pickle.loads(await reader.readexactly(length))
