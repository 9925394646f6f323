"""Following a shop: its purchases' ends as they come into compras' journal, asked for in one request for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import aiohttp
import msgspec

from loadgen.load.client import Client
from loadgen.load.clock import CLOCK

# Each question costs the front door about a millisecond.
POLL_SECONDS: Final = 0.2
# How a record that ends a purchase reads; only these lines are looked at closely.
SOLD: Final = b'"estado":"registrada"'
REFUSED: Final = b'"estado":"rechazada"'


# Shop and client need not have one clock: an end that by the shop's came so long before it can have come, or after it
# was seen, counts from when it was seen.
ODD_SECONDS: Final = 1.0


class Follower:
    """Tells of each end: (purchase, its instant, whether it was sold), and the client writes it down. An end may be
    told again, and may be that of somebody else's purchase."""

    def __init__(self, client: Client, ends: Callable[[str, float, bool], None]) -> None:
        self._client = client
        self._ends = ends
        self._seq = 0
        # Which book that is of, in which generation; None: the front door was away, and it may be another one.
        self._book: str | None = None
        self._last: str | None = None
        # Before this everything was read that there was.
        self._read_until = CLOCK.now()

    async def start_here(self) -> None:
        """Skip what is in the journal already. Raises aiohttp.ClientError."""
        state = await self._client.get("/readyz")
        self._seq, self._book = state["records"], _book(state)

    async def run(self) -> None:
        """Go on until cancelled; a front door that is away is asked again."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.catch_up()

    async def catch_up(self) -> None:
        """Read what is new, as far as the front door answers."""
        asked = CLOCK.now()
        try:
            if self._book is None:
                await self._look_which()
            async for line in self._client.lines(f"/diario?desde={self._seq}"):
                self._seq += 1
                if SOLD in line or REFUSED in line:
                    self._take(msgspec.json.decode(line, type=dict[str, Any]))
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
            self._last, self._book = self._book or self._last, None
            return
        self._read_until = asked

    async def _look_which(self) -> None:
        """A book that was written again has its records in other places: all of it is read anew."""
        state = await self._client.get("/readyz")
        self._book = _book(state)
        if self._book != self._last or state["records"] < self._seq:
            self._seq = 0

    def _take(self, record: dict[str, Any]) -> None:
        change = record["change"] or {}
        estado = change.get("estado")
        if estado in ("registrada", "rechazada"):
            self._client.ended(record["row"], estado, change.get("motivo"))
            self._ends(record["row"], self._instant(record["time"]), estado == "registrada")

    def _instant(self, time: str) -> float:
        told, seen = datetime.fromisoformat(time).timestamp(), CLOCK.now()
        return told if self._read_until - ODD_SECONDS <= told <= seen + ODD_SECONDS else seen


def _book(state: dict[str, Any]) -> str:
    """Whose, which, and in which generation."""
    heights: str = state["book"]["heights"]
    return "/".join(heights.partition(" ")[0].split("/")[:3])
