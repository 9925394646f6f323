"""What comes before what, though clocks may be wrong."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

# Records are dated in their order; one whose clock was further ahead than this is not waited for.
AHEAD: Final = timedelta(seconds=60)
# A date is believed if it is not further than this from the records around it: clocks are set while a request waits.
CLOCK: Final = timedelta(hours=1)
# So many batches may be written while a request waits for its turn.
BATCHES: Final = 64
# So much of a date says it up to ten minutes.
TEN_MINUTES: Final = len("2025-09-10T17:0")
FECHA: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def earlier(time: str, last: str) -> bool:
    """Whether a record of `time` cannot stand behind one of `last`."""
    return time < last and datetime.fromisoformat(last) - datetime.fromisoformat(time) <= AHEAD


def moment(fecha: str) -> str:
    """What two dates are compared by: with its Z, a whole second would come after its own fractions."""
    return fecha.removesuffix("Z")


def entered(entry: Mapping[str, Any]) -> tuple[int, str]:
    """By what the later of two entries is told: the shop's own number, then the date."""
    return entry.get("orden") or 0, moment(entry["fecha"])


def number(entry: Mapping[str, Any]) -> dict[str, int]:
    return {"orden": entry["orden"]} if entry.get("orden") else {}


def is_moment(fecha: object) -> bool:
    """Whether it is a date as all of them are: UTC, and of a day and a second that there are."""
    if not isinstance(fecha, str) or not FECHA.fullmatch(fecha):
        return False
    try:
        datetime.fromisoformat(fecha)
    except ValueError:
        return False
    return True


class Dates:
    """When the last batches of a book were written, and which dates that explains: clocks may be set at any time."""

    def __init__(self) -> None:
        self._times: deque[str] = deque(maxlen=BATCHES)
        self._batch = 0
        # Of each ten minutes the last batch: when it was written, and its number, which is that of its first record.
        self._marks: deque[tuple[str, int]] = deque(maxlen=BATCHES)
        # For so many batches more the clock may have shown what is in no record.
        self._unsure = 0
        # The last time in which nothing was written for long.
        self._gap = "", ""

    def unsure(self, fecha: str) -> bool:
        """Whether this date may have been shown, though nothing was written near it: the clock was set, or what was
        asked then waited for a disk that stood still."""
        return self._unsure > 0 or self._gap[0] <= fecha <= self._gap[1]

    def batch(self, number: int, time: str) -> None:
        """A record of this batch is next. A clock that goes on later explains no more than what was before and what is
        now; one that is set back may stand still meanwhile, as in the books of older versions, whatever it shows."""
        times = self._times
        if number == self._batch:
            return
        self._batch, self._unsure = number, max(0, self._unsure - 1)
        stands = len(times) > 1 and time == times[-1] == times[-2]
        if stands or (times and time < times[-1] and _distance(times[-1], time) > CLOCK):
            self._unsure = BATCHES
        if times and time > times[-1] and _distance(time, times[-1]) > CLOCK:
            self._gap = times[-1], time
        times.append(time)
        if self._marks and self._marks[-1][0][:TEN_MINUTES] == time[:TEN_MINUTES]:
            self._marks.pop()
        self._marks.append((time, number))

    def before(self, fecha: str) -> int:
        """A record that was there long before this date; 0: that is not known."""
        if self._unsure:
            return 0
        return next((number for time, number in reversed(self._marks) if _distance(fecha, time) > CLOCK), 0)

    def near(self, fecha: str, time: str) -> bool:
        """Whether a clock can have shown this date while the last batches were written, the last one at `time`."""
        if fecha[:13] == time[:13]:
            return True
        first, last = min(self._times), max(self._times)
        return _distance(first, fecha) <= CLOCK and _distance(fecha, last) <= CLOCK


def _distance(one: str, other: str) -> timedelta:
    """By how much the first is later."""
    return datetime.fromisoformat(one) - datetime.fromisoformat(other)
