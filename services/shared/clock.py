"""The time of day; and what is dated by clocks that may be wrong: in order while they agree, never wrong for longer."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

# Two machines' clocks, and one that is put right in small steps, differ by less.
AHEAD_SECONDS: Final = 60


def utc_now() -> str:
    """RFC 3339 with milliseconds."""
    seconds, millis = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_second(seconds)}.{millis:03d}Z"


# It is asked several times for each message.
@lru_cache(maxsize=2)
def _second(since_1970: int) -> str:
    return datetime.fromtimestamp(since_1970, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def dated(now: str, last: str) -> str:
    """Now, or what was dated last if that is a little later: a clock that is set back stands still until then.

    What was dated by a clock that was far ahead is not waited for: the fault ends with it.
    """
    return last if last > now and ahead_seconds(last, now) <= AHEAD_SECONDS else now


def ahead_seconds(time: str, now: str) -> float:
    """How far a date is ahead of another one. A date that is none yet is not ahead."""
    return (datetime.fromisoformat(time) - datetime.fromisoformat(now)).total_seconds() if time and now else 0.0


def far_ahead(time: str) -> str | None:
    """What is wrong with this clock, as far as a book can tell whose last record has this date."""
    seconds = ahead_seconds(time, now := utc_now())
    if seconds <= AHEAD_SECONDS:
        return None
    return f"the last record is of {time}, {seconds:.0f} s ahead of this clock ({now}): one was wrong"
