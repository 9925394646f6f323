"""The time of a load: seconds since 1970 that never jump, the same for all its processes."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """The wall's time once, at the start, and from then on the machine's monotonic clock, which nobody sets.

    That clock is the machine's, not the process's: processes that are given the same `epoch` tell the same time.
    """

    def __init__(self, epoch: float | None = None) -> None:
        self.epoch = time.time() - time.monotonic() if epoch is None else epoch

    def now(self) -> float:
        return self.at(time.monotonic())

    def at(self, monotonic: float) -> float:
        """The instant at which `time.monotonic()` said this."""
        return self.epoch + monotonic


def rfc3339(instant: float) -> str:
    """In UTC, to a millisecond."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
