"""How much room the disk has for the books: when purchases have to stop, and when it is full at this rate."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

log = structlog.get_logger()
# As often as is looked, however often somebody asks.
LOOK_SECONDS: Final = 1.0
# What 100,000 purchases on their way (the limit, unless set) write yet is an eighth of this, in all four books.
MOST_KEPT_BYTES: Final = 4 * 1024**3
# A rate is that of so long at least, and of the last day at most.
RATE_SECONDS: Final = 60.0
RATES: Final = 24 * 60
DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Space:
    """What this process may fill of a file system, as `df` counts: free, and all in all. `disk` tells two apart."""

    free_bytes: int
    total_bytes: int
    disk: str = ""


class Room:
    """Of one service's books. `written`: how many bytes they have grown to; `share`: what packing leaves of them."""

    def __init__(
        self,
        look: Callable[[], Space],
        written: Callable[[], int],
        share: Callable[[], float] = lambda: 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        # The share of the disk that is kept for what is under way.
        self.reserve = 0.0
        self._look, self._written, self._share, self._now = look, written, share, now
        self._space, self._looked = Space(0, 0), -LOOK_SECONDS
        self._samples: deque[tuple[float, int]] = deque(maxlen=RATES)
        self._said = False

    def space(self) -> Space:
        """As of a second ago, at most."""
        if (now := self._now()) - self._looked >= LOOK_SECONDS:
            self._looked = now
            try:
                self._space = self._look()
            except OSError:
                # Whoever writes will say what is wrong with the disk.
                self._space = Space(0, 0)
        return self._space

    @property
    def kept_bytes(self) -> int:
        """What is kept for all that is under way."""
        return min(int(self.reserve * self.space().total_bytes), MOST_KEPT_BYTES)

    @property
    def short(self) -> bool:
        """Whether no more is left than that."""
        return bool(self.reserve) and self.space().free_bytes < self.kept_bytes

    @property
    def bytes_per_second(self) -> float:
        """By which the books grow, over the last day at most. 0: nothing was written, or it is too early to say."""
        if not self._samples:
            return 0.0
        (then, before), now = self._samples[0], self._now()
        return self._share() * (self._written() - before) / (now - then) if now - then >= RATE_SECONDS else 0.0

    @property
    def full_days(self) -> float | None:
        """When these books alone have filled the disk, at this rate."""
        rate = self.bytes_per_second
        return self.space().free_bytes / rate / DAY_SECONDS if rate else None

    def tend(self) -> None:
        """Now and then, by who writes."""
        now = self._now()
        if not self._samples or now - self._samples[-1][0] >= RATE_SECONDS:
            self._samples.append((now, self._written()))
        if self.short != self._said:
            self._said = not self._said
            sizes = {"free_mib": self.space().free_bytes >> 20, "kept_mib": self.kept_bytes >> 20}
            if self._said:
                log.error(
                    "the disk is nearly full: what is left is kept for what is under way, and new purchases are "
                    "refused. Make room, or set ZOCO_DISK_RESERVE lower (0: nothing is kept)",
                    **sizes,
                )
            else:
                log.info("there is room again: purchases are taken", **sizes)

    def said(self) -> dict[str, Any]:
        """For `/readyz` and `/estado`."""
        space, days = self.space(), self.full_days
        return {
            "disk": space.disk,
            "freeBytes": space.free_bytes,
            "totalBytes": space.total_bytes,
            "keptBytes": self.kept_bytes,
            "short": self.short,
            "bytesPerSecond": round(self.bytes_per_second, 1),
            "fullDays": None if days is None else round(days, 2),
        }
