"""The dates of operator's entries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from services.shared.clock import dated


class MonotonicClock:
    """Dates that never go back, and are never the same twice for the same user or token: but for those of a clock that
    was far ahead.

    `last` is the latest that is known, whoever gave it. Many may share it: a thousand entries in a moment would
    otherwise be a second ahead of the clock, and all that comes behind them, too.
    """

    def __init__(self, now: Callable[[], str]) -> None:
        self.last = ""
        self._now = now
        # Who has got the date `_given` here.
        self._given = ""
        self._whose: set[str] = set()

    def seen(self, fecha: str) -> None:
        """Somebody else gave this date."""
        self.last = max(self.last, fecha)

    def next(self, whose: str, seen: str = "") -> str:
        now = self._now()
        known = (self.last, seen, self._given)
        self.last = max(one if dated(now, one) == one else "" for one in known)
        fecha = max(now, self.last)
        if fecha == self.last and (fecha != self._given or whose in self._whose):
            later = datetime.fromisoformat(fecha) + timedelta(milliseconds=1)
            fecha = later.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        if fecha != self._given:
            self._given, self._whose = fecha, set()
        self._whose.add(whose)
        self.last = fecha
        return fecha
