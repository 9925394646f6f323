"""The clock of a load: seconds since 1970 that never jump, whatever is done to the wall clock meanwhile."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """The wall clock is asked once; from then on the monotonic clock counts, which all processes of a machine share."""

    def __init__(self) -> None:
        self.ahead_seconds = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return self.ahead_seconds + time.monotonic()

    @property
    def set_seconds(self) -> float:
        """By how much the wall clock was set since. It is looked at twice, as a process may have to wait in between."""
        return min(abs(time.time() - self.now()) for _ in range(2))

    def utc(self) -> str:
        """Now, as RFC 3339 has it."""
        return datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# One for the process. A worker sets it by that of the process which started it.
CLOCK = Clock()
