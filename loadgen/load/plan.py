"""What a load is to send, and which process sends what of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loadgen.load.mixes import Ask, Stock, asks


@dataclass(slots=True)
class Plan:
    """Requests of a mix at a rate, spread over so many workers. `until`: so many in all, and no more; it may change
    while they are sent."""

    mix: str
    stock: Stock
    seed: int
    rate: float
    until: int
    workers: int = 1

    def share(self, worker: int) -> Iterator[Ask]:
        """Every n-th request of n workers, from the 1st worker on."""
        requests = asks(self.mix, self.stock, self.seed)
        for number, ask in enumerate(requests):
            if number >= self.until:
                return
            if number % self.workers == worker - 1:
                yield ask
