"""What must be in the shop before a load."""

from __future__ import annotations

from loadgen.load.client import Client
from loadgen.load.mixes import Stock


async def prepared(client: Client, stock: Stock) -> Stock:
    """Register buyers and tokens with ids that nobody has yet. Raises NotQuiet."""
    users, tokens = await client.get("/usuarios"), await client.get("/tokens")
    stock = stock.behind(max((user["id"] for user in users), default=0), max((t["id"] for t in tokens), default=0))
    await client.prepare(users=stock.buyers, tokens=stock.tokens, saldo=stock.saldo, precio=stock.precio)
    return stock
