"""What is dated by clocks that may be wrong: in order while they agree, and never wrong for longer than they are."""

from __future__ import annotations

from datetime import datetime
from typing import Final

# Two machines' clocks, and one that is put right in small steps, differ by less.
AHEAD_SECONDS: Final = 60


def dated(now: str, last: str) -> str:
    """Now, or what was dated last if that is a little later: a clock that is set back stands still until then.

    What was dated by a clock that was far ahead is not waited for: the fault ends with it.
    """
    return last if last > now and ahead_seconds(last, now) <= AHEAD_SECONDS else now


def ahead_seconds(time: str, now: str) -> float:
    """How far a date is ahead of another one. A date that is none yet is not ahead."""
    return (datetime.fromisoformat(time) - datetime.fromisoformat(now)).total_seconds() if time and now else 0.0
