"""What a load is to send, which process sends what of it, and what must be in the shop before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loadgen.load.client import Client
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

    def all(self) -> Iterator[BuyRequest]:
        return requests(self.mix, self.fixture, self.seed, self.until)

    def share(self, worker: int) -> Iterator[BuyRequest]:
        """Every n-th request of n workers, from the 1st worker on."""
        for number, ask in enumerate(requests(self.mix, self.fixture, self.seed)):
            if number >= self.until:
                return
            if number % self.workers == worker - 1:
                yield ask


async def prepared(client: Client, fixture: Fixture) -> Fixture:
    """Register buyers and tokens with ids that nobody has yet. Raises NotQuiet."""
    user, token = 0, 0
    async for row in client.every("/usuarios"):
        user = max(user, row["id"])
    async for row in client.every("/tokens"):
        token = max(token, row["id"])
    fixture = fixture.behind(user, token)
    await client.prepare(users=fixture.buyers, tokens=fixture.tokens, saldo=fixture.saldo, precio=fixture.precio)
    return fixture
