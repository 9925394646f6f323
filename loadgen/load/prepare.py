"""What must be in the shop before a load."""

from __future__ import annotations

from loadgen.load.client import Client
from loadgen.load.workloads import Fixture


async def prepared(client: Client, fixture: Fixture) -> Fixture:
    """Register buyers and tokens with ids that nobody has yet. Raises NotQuiet."""
    users, tokens = await client.get("/usuarios"), await client.get("/tokens")
    fixture = fixture.behind(max((user["id"] for user in users), default=0), max((t["id"] for t in tokens), default=0))
    await client.prepare(users=fixture.buyers, tokens=fixture.tokens, saldo=fixture.saldo, precio=fixture.precio)
    return fixture
