"""A dead letter: the message as it came, and in front of its headers why nobody could act on it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from broker.amqp.frames import Delivered, Outgoing, table
from broker.amqp.tables import entries
from broker.services import Service
from broker.topology import DEAD_LETTER_EXCHANGE

REASON_BYTES: Final = 1000
# A header frame's payload beside its table: class, weight, body size; flags; all properties at their longest.
BESIDE_BYTES: Final = 12 + 2 + 1600
# What the smallest frame that AMQP knows (4,096 bytes) holds.
SHORTEST: Final = 4088
# How many go there in how long, before that is an alarm and not the ordinary way: at most a few megabytes, and what an
# operator can still look through. Poison comes by the handful.
BUDGET: Final = 10_000
BUDGET_SECONDS: Final = 3600.0


def letter(raw: Delivered, reason: str, service: Service, hora: str, longest: int) -> Outgoing:
    """`longest`: the bytes that a frame may hold; headers that do not fit are left out, and counted."""
    says = {
        "x-motivo": reason.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore"),
        "x-servicio": service,
        "x-routing-key": raw.routing_key,
        "x-hora": hora,
    }
    ours = table(says)
    room = longest - BESIDE_BYTES - len(ours)
    theirs, left_out = [], 0
    for entry in entries(raw.table):
        if entry.name in {name.encode() for name in says}:
            continue
        if len(entry.raw) <= room:
            theirs.append(entry.raw)
            room -= len(entry.raw)
        else:
            left_out += 1
    if left_out:
        ours += table({"x-omitidas": str(left_out)})
    headers = ours + b"".join(theirs)
    return Outgoing(DEAD_LETTER_EXCHANGE, service, raw.repeated(headers), raw.body)


class Budget:
    """How many letters a service may write for now. With none left it stops: nothing more is acked, so that soon
    nothing more comes."""

    def __init__(self, service: Service, letters: int = BUDGET, seconds: float = BUDGET_SECONDS) -> None:
        self._letters = letters
        self._seconds = seconds
        self._written: deque[float] = deque()
        self.says = (
            f"{service} stopped: {letters} messages went to the dead letters within {seconds / 60:.0f} minutes. See "
            f"`zoco dead-letters list`, end what sends them, and start {service} again"
        )

    def spend(self, count: int) -> None:
        self._written.extend([time.monotonic()] * count)

    @property
    def spent(self) -> bool:
        since = time.monotonic() - self._seconds
        while self._written and self._written[0] < since:
            self._written.popleft()
        return len(self._written) >= self._letters

    async def until_some_is_left(self, look_seconds: float) -> None:
        while self.spent:  # noqa: ASYNC110 - time alone ends it
            await asyncio.sleep(look_seconds)
