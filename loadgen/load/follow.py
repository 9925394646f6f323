"""Following a shop: its purchases' ends as they come into compras' journal, asked for in one request for all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Final

import aiohttp

from loadgen.load.client import Client

# Each question costs the front door about a millisecond.
POLL_SECONDS: Final = 0.2
# How a record that ends a purchase reads; only these lines are looked at closely.
SOLD: Final = b'"estado":"registrada"'
REFUSED: Final = b'"estado":"rechazada"'


class Follower:
    """Tells of each end: (purchase, instant by the shop's clock, whether it was sold). An end may be told again."""

    def __init__(self, client: Client, ends: Callable[[str, float, bool], None]) -> None:
        self._client = client
        self._ends = ends
        self._seq = 0

    async def start_here(self) -> None:
        """Skip what is in the journal already. Raises aiohttp.ClientError."""
        self._seq = (await self._client.get("/readyz"))["records"]

    async def run(self) -> None:
        """Go on until cancelled; a front door that is away is asked again."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.catch_up()

    async def catch_up(self) -> None:
        """Read what is new, as far as the front door answers."""
        try:
            async for line in self._client.lines(f"/diario?desde={self._seq}"):
                self._seq += 1
                if SOLD in line or REFUSED in line:
                    self._take(line)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return

    def _take(self, line: bytes) -> None:
        record = json.loads(line)
        state = (record["change"] or {}).get("estado")
        if state in ("registrada", "rechazada"):
            when = datetime.fromisoformat(record["time"]).timestamp()
            self._ends(record["row"], when, state == "registrada")
