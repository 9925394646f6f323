"""What the fault tests share: a shop whose services do as they are told, and a story in which every message travels."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from patience import PATIENCE_SECONDS
from shop_builders import Shop, start

from broker.messages import CONSUMERS, PRODUCERS
from broker.services import SERVICES
from loadgen.audit.verdict import Verdict
from loadgen.load.client import Client

HERE = Path(__file__).parent
# What each service hears: from its queue, and by HTTP.
HEARS = {service: [model.type for model, services in CONSUMERS.items() if service in services] for service in SERVICES}
SAYS = {service: [model.type for model, services in PRODUCERS.items() if service in services] for service in SERVICES}

Orders = Mapping[str, str]


class FaultyShop(Shop):
    """A shop that was started by zoco_faulty.py."""

    @property
    def orders(self) -> Path:
        return self.data.parent / "orders"

    @property
    def died(self) -> list[str]:
        """Who died where, for how many orders were given since `clear`."""
        file = self.orders / "died"
        return sorted(file.read_text().splitlines()) if file.exists() else []

    def order(self, orders: Orders) -> None:
        for service, order in orders.items():
            new = self.orders / f".{service}"
            new.write_text(order)
            new.replace(self.orders / service)

    def clear(self) -> None:
        for file in self.orders.iterdir():
            file.unlink()

    async def until_died(self, orders: Orders, seconds: float = PATIENCE_SECONDS) -> None:
        """Return when each was carried out."""
        wanted = sorted(f"{service} {' '.join(order.split()[:2])}" for service, order in orders.items())
        try:
            async with asyncio.timeout(seconds):
                while self.died != wanted:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"ordered {wanted}, died {self.died}") from None


@contextmanager
def faulty(folder: Path, program: str, **env: str) -> Iterator[FaultyShop]:
    """A shop whose services are run by a program of this folder."""
    (folder / "orders").mkdir()
    command = (sys.executable, str(HERE / "zoco_faulty.py"), str(HERE / program), str(folder / "orders"))
    shop = start(folder, command=command, **env)
    try:
        yield FaultyShop(shop.data, shop.process, shop.log)
    finally:
        shop.stop()


async def story(client: Client, first: int, tokens: int = 4) -> Sequence[str]:
    """Everything that can be said is said: entries of each kind, sales, somebody who cannot pay, and who comes too
    late. Uses a handful of ids from `first` on. Returns the purchases' ids; not all of them have ended."""
    poor, rich, late = first, first + 1, first + 2
    things = range(first, first + tokens)
    entries = [
        *(("PUT", f"/usuarios/{user}", {"nombre": f"Comprador {user}", "saldo": 0}) for user in (poor, rich, late)),
        *(("POST", f"/usuarios/{user}/recargas", {"monto": 10 * tokens}) for user in (rich, late)),
        *(("PUT", f"/tokens/{thing}", {"nombre": f"T{thing}", "imagen": "gato.jpg", "precio": 10}) for thing in things),
    ]
    await asyncio.gather(*(client.enter(*entry) for entry in entries))
    await client.quiet()
    asked = [client.buy(user, thing) for thing in things for user in (poor, rich, late)]
    return [told["id"] for told in await asyncio.gather(*asked)]


async def told_and_audited(shop: Shop, first: int, tokens: int = 4) -> Verdict:
    """A story, and the books checked: of each token's three buyers one got it."""
    async with shop.client() as client:
        ids = await story(client, first, tokens)
        await client.quiet()
        ends = [(await client.get(f"/compras/{subject}"))["estado"] for subject in ids]
    assert [ends[n : n + 3].count("registrada") for n in range(0, len(ends), 3)] == [1] * (len(ends) // 3), ends
    return await shop.audited()
