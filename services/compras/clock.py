"""The dates of operator's entries, of which the later one is in force."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta


class MonotonicClock:
    """Dates that never go back, and are never the same twice for the same user or token.

    `last` is the latest that is known, whoever gave it. Many may share it: a thousand entries in a moment would
    otherwise be a second ahead of the clock, and all that comes behind them, too.
    """

    def __init__(self, now: Callable[[], str]) -> None:
        self.last = ""
        self._now = now
        # Who has got the date `_given` here.
        self._given = ""
        self._whose: set[str] = set()

    def next(self, whose: str) -> str:
        fecha = max(self._now(), self.last)
        if fecha == self.last and (fecha != self._given or whose in self._whose):
            later = datetime.fromisoformat(fecha) + timedelta(milliseconds=1)
            fecha = later.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        if fecha != self._given:
            self._given, self._whose = fecha, set()
        self._whose.add(whose)
        self.last = fecha
        return fecha
