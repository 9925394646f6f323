"""Whether the consumer of this process is still there, and gets what there is to get. Others on the same queue hide
that it is gone: their number is no proof, nor that nothing waits."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from broker.amqp.frames import Delivered

# "lost": build it anew; "stuck": that has not helped.
Finding = Literal["well", "lost", "stuck"]


@dataclass(slots=True)
class Vigil:
    """Over one process's consumers, one after the other. All times in seconds."""

    silent_seconds: float
    stuck_seconds: float
    # Since when there is something to get, and nothing comes.
    _waits_since: float = 0.0
    # When it was last surely there: something came, or it was asked for.
    _seen: float = 0.0
    _began: float = 0.0
    _strikes: int = 0
    # It was built anew because nothing came: the silence goes on.
    _silenced: bool = field(default=False)

    def begins(self) -> None:
        """There is a new one."""
        self._began = self._seen = time.monotonic()
        self._strikes = 0
        if not self._silenced:
            self._waits_since = self._began
        self._silenced = False

    def renewed(self) -> None:
        """It was asked for again, and is there."""
        self._seen = time.monotonic()

    def unseen_seconds(self, received: float) -> float:
        """Since it was surely there. `received`: when something came last (`time.monotonic`)."""
        return time.monotonic() - max(self._seen, received)

    @property
    def waits_seconds(self) -> float:
        return time.monotonic() - self._waits_since

    def look(self, messages: int, consumers: int, received: float, *, full: bool) -> Finding:
        """By what the queue has. `full`: this process takes no more before it acks."""
        now = time.monotonic()
        self._waits_since = max(self._waits_since, received)
        self._strikes = self._strikes + 1 if consumers == 0 else 0
        if messages == 0 or full:
            self._waits_since = now
        silent = now - self._waits_since
        if silent > self.stuck_seconds:
            return "stuck"
        self._silenced = min(silent, now - self._began) > self.silent_seconds
        return "lost" if self._strikes > 1 or self._silenced else "well"


def oldest_seconds(held: Iterable[Delivered]) -> float | None:
    """How long ago the oldest of them was said, by the clock of who said it, in whole seconds; None: there is none.
    What has no time of its own is a stranger's. A passive declare does not tell of what is delivered and not acked."""
    said = [when.timestamp() for raw in held if (when := raw.timestamp) is not None]
    return max(0.0, time.time() - min(said)) if said else None
