"""How often an address may ask while there is not enough for all: additive increase, multiplicative decrease (AIMD), as
TCP does it. Who is alone may ask as often as they can."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from math import inf
from statistics import median
from typing import Final

from services.shared.http.problems import Problem

# So long, that a moment in which the loop stood still makes nobody seem faster than they are.
WINDOW_SECONDS: Final = 1.0
# So often is looked whether the loop is late.
LOOK_SECONDS: Final = 0.1
# Later than this most of the time, and busy for this share of it, the process has more to do than it can. Late alone
# the loop is also on a machine that does much else.
LATE_SECONDS: Final = 0.02
BUSY: Final = 0.7
# Nobody is asked to be slower than 50 requests a second.
LEAST: Final = 50
DECREASE: Final = 0.5
INCREASE: Final = 10
# For so many windows somebody who asked counts as being there.
WINDOWS: Final = 3


class Pace:
    """Of one process. An address may ask `level` times in a window."""

    def __init__(self) -> None:
        self.level = inf
        self._asked: Counter[str] = Counter()
        self._before: deque[Counter[str]] = deque(maxlen=WINDOWS)
        # Who only looks whether the process lives is not there, unless nobody asks more than they do.
        self._there: set[str] = set()
        self._there_before: deque[set[str]] = deque(maxlen=WINDOWS)

    def check(self, whose: str, *, only_looks: bool = False) -> None:
        """Count a request. Raises Problem (429)."""
        self._asked[whose] += 1
        if not only_looks:
            self._there.add(whose)
        if self._asked[whose] > self.level:
            a_second = int(self.level / WINDOW_SECONDS)
            raise Problem(
                429,
                "there is not enough for all at the moment, and this address asks for more than its share: send the "
                f"same request again in a second, and no more than {a_second} a second",
                headers={
                    "Retry-After": "1",
                    "RateLimit": '"address";r=0;t=1',
                    "RateLimit-Policy": f'"address";q={a_second};w=1',
                },
            )

    async def run(self) -> None:
        """For as long as the process lives."""
        while True:
            late, worked, began = [], time.process_time(), time.perf_counter()
            for _ in range(round(WINDOW_SECONDS / LOOK_SECONDS)):
                looked = time.perf_counter()
                await asyncio.sleep(LOOK_SECONDS)
                late.append(time.perf_counter() - looked - LOOK_SECONDS)
            # With what its threads do: a list that is packed for somebody.
            busy = (time.process_time() - worked) / (time.perf_counter() - began)
            self.adapt(too_much=median(late) > LATE_SECONDS and busy > BUSY)

    def adapt(self, *, too_much: bool) -> None:
        """A window is over. `too_much`: there was more to do than could be done."""
        asked, self._asked = self._asked, Counter()
        self._before.append(asked)
        most = max(asked.values(), default=0)
        self._there_before.append(self._there)
        there = set().union(*self._there_before, (one for one, times in asked.items() if times == most))
        self._there = set()
        if too_much and len(there) > 1:
            self.level = max(LEAST, min(self.level, most) * DECREASE)
        elif self.level < inf:
            self.level += INCREASE
            if not any(max(one.values(), default=0) > LEAST for one in self._before):
                self.level = inf
