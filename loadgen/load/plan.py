"""What a load is to send, and which process sends what of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loadgen.load.workloads import BuyRequest, Fixture, requests


@dataclass(slots=True)
class Plan:
    """Requests of a mix at a rate, spread over so many workers. `until`: so many in all, and no more; it may change
    while they are sent."""

    mix: str
    fixture: Fixture
    seed: int
    rate: float
    until: int
    workers: int = 1

    def share(self, worker: int) -> Iterator[BuyRequest]:
        """Every n-th request of n workers, from the 1st worker on."""
        for number, ask in enumerate(requests(self.mix, self.fixture, self.seed)):
            if number >= self.until:
                return
            if number % self.workers == worker - 1:
                yield ask
