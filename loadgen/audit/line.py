"""Who waits for a token, as the audit keeps them: whether a buyer does, is asked of ten thousand as of one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any


class Line(deque[Mapping[str, Any]]):
    """In their order; and how often each buyer waits, which in older books may be more than once."""

    def __init__(self, waiting: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__()
        self.buyers: Counter[int] = Counter()
        self.join(waiting)

    def join(self, waiting: Iterable[Mapping[str, Any]]) -> None:
        for one in waiting:
            self.append(one)
            self.buyers[one["usuario_id"]] += 1

    def leave(self, count: int) -> None:
        """The first so many, or all there are."""
        for _ in range(min(count, len(self))):
            self.buyers[who := self.popleft()["usuario_id"]] -= 1
            if not self.buyers[who]:
                del self.buyers[who]
