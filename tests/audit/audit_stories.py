"""The stories that books are made of, each the same for the same seed. Every one of them keeps every promise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from audit_shop import Ask, Faults, Shop
from small_shops import Telling

from services.tokens import domain as tokens_domain

ANA, LUIS = {"id": 1, "nombre": "Ana", "saldo": 100}, {"id": 2, "nombre": "Luis", "saldo": 150}
GATO = {"id": 101, "nombre": "Gato Cósmico", "imagen": "gato.jpg", "precio": 50, "vendido": False}
LUNA = {"id": 102, "nombre": "Paisaje Lunar", "imagen": "luna.jpg", "precio": 70, "vendido": False}
BUHO = {"id": 103, "nombre": "Búho", "imagen": "buho.jpg", "precio": 30, "vendido": False}
# The torn end of a record, as a process leaves it that dies in the middle of a write.
TORN: Final = b'{"seq":9999,"batch":9999,"time":"2025-09-'
# So few wait in a crowded story that the line is full; the real one has 10,000 places.
SHORT_LINE: Final = 3


@dataclass(frozen=True)
class Story:
    """What happens, and how long a line may be while it does (None: as long as the shop has it).

    `alone`: all who buy have this journal, and each message says whose record it is."""

    tell: Callable[[Shop], Awaitable[None]]
    line: int | None = None
    snapshot_bytes: int = 20_000
    kind: type[Shop] = Shop
    alone: bool = False

    def write(self, folder: Path, seed: int) -> None:
        """Write the books of this story into a folder."""
        shop = self.kind(folder, Random(f"{self.tell.__name__} {seed}"), self.snapshot_bytes)
        with line_of(self.line or tokens_domain.MAX_COLA):
            asyncio.run(self._told(shop))

    async def _told(self, shop: Shop) -> None:
        await shop.begin()
        await self.tell(shop)
        await shop.end()


@contextmanager
def line_of(places: int) -> Iterator[None]:
    """A shop in which so many may wait for a token."""
    before = tokens_domain.MAX_COLA
    tokens_domain.MAX_COLA = places  # type: ignore[misc]
    try:
        yield
    finally:
        tokens_domain.MAX_COLA = before  # type: ignore[misc]


async def ordinary(shop: Shop) -> None:
    """Most buy; keys are sent again, answers are lost, and every service begins anew in the middle."""
    random = shop.random
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    for number in range(11, 19):
        await shop.user(number, f"Comprador {number}", random.choice((200, 500, 1000)))
    for number in range(201, 231):
        await shop.publish(number, random.choice((10, 25, 40)))
    await shop.deliver_all()
    shop.ask_badly("half of i", 400)
    asked: list[Ask] = []
    for _ in range(14):
        some = [
            Ask(
                random.choice((1, 2, *range(11, 19))),
                random.choice((101, 102, *range(201, 231))),
                shop.key(),
                random.choice((None, None, 40, 100)),
                random.choice(("told", "told", "told", "told", "lost", "503", "busy")),
            )
            for _ in range(random.randrange(1, 7))
        ]
        again = [Ask(ask.usuario, ask.token, ask.key, ask.maximo) for ask in random.sample(asked, min(2, len(asked)))]
        changed = [
            Ask(ask.usuario, ask.token + 1, ask.key, ask.maximo) for ask in random.sample(asked, min(1, len(asked)))
        ]
        asked += some
        await shop.buy(*some, *again, *changed)
        await shop.deliver(random.choice(("tokens", "usuarios", "transacciones", "compras")), random.randrange(1, 9))
        if random.random() < 0.3:
            await shop.deliver_all()
            await shop.restart(random.choice(tuple(shop.stores)))
    shop.ask_badly('{"usuarioId":0,"tokenId":1}', 422)
    await shop.settle()
    for name in shop.stores:
        await shop.restart(name, fenced=name == "compras")
    for ask in random.sample(asked, 5):
        await shop.buy(Ask(ask.usuario, ask.token, ask.key, ask.maximo))
    await shop.buy(Ask(14, 230, shop.key()), Ask(15, 229, shop.key()))


async def crowded(shop: Shop) -> None:
    """Many want a few tokens: they wait in line, holders cannot pay, prices rise meanwhile, and lines are full."""
    random = shop.random
    for number in range(21, 33):
        await shop.user(number, f"Comprador {number}", random.choice((0, 20, 20, 300, 500)))
    for number in range(301, 309):
        await shop.publish(number, 50)
    await shop.deliver_all()
    for token in range(301, 309):
        buyers = [*random.sample(range(21, 33), 7), 999]
        random.shuffle(buyers)
        for buyer in buyers:
            await shop.buy(Ask(buyer, token, shop.key(), random.choice((None, 50, 60, 45))))
            await shop.deliver_all("tokens")
        if random.random() < 0.6:
            await shop.publish(token, random.choice((55, 60, 30)))
            await shop.deliver_all("tokens")
        for _ in range(random.randrange(4)):
            await shop.deliver("usuarios", 1)
            await shop.deliver_all("tokens")
            await shop.buy(Ask(random.randrange(21, 33), token, shop.key()))
        if token == 304:
            await shop.deliver_all("tokens")
            await shop.restart("tokens")
            await shop.restart("usuarios", torn=TORN)
    await shop.settle()
    await shop.buy(*(Ask(random.randrange(21, 33), random.randrange(301, 309), shop.key()) for _ in range(6)))


async def refused(shop: Shop) -> None:
    """Every reason to refuse, each of them by itself."""
    await shop.user(41, "Rica", 1000)
    await shop.user(42, "Pobre", 10)
    for number in range(401, 409):
        await shop.publish(number, 50)
    await shop.deliver_all()
    await shop.buy(Ask(41, 401, shop.key()))
    await shop.settle()
    await shop.buy(Ask(42, 402, shop.key()), Ask(43, 403, shop.key()), Ask(42, 499, shop.key(), 5))
    await shop.buy(Ask(42, 401, shop.key()), Ask(41, 404, shop.key(), 49), Ask(41, 404, shop.key(), 0))
    await shop.buy(*(Ask(user, 405, shop.key()) for user in (42, 41, 43, 42, 45, 41, 46)))
    await shop.deliver_all("tokens")
    await shop.settle()
    await shop.publish(499, 5)
    await shop.settle()
    await shop.buy(Ask(42, 499, shop.key(), 5), Ask(42, 406, shop.key()), Ask(41, 406, shop.key(), 50))
    await shop.buy(Ask(44, 407, shop.key()), Ask(45, 407, shop.key()), Ask(42, 407, shop.key(), 60))
    for name in shop.stores:
        await shop.restart(name)
    await shop.deliver_all("tokens")
    await shop.publish(407, 70)
    await shop.settle()
    await shop.user(43, "Tarde", 60)
    await shop.settle()
    await shop.buy(Ask(43, 408, shop.key()), Ask(43, 402, shop.key()), Ask(41, 402, shop.key()))


async def topped_up(shop: Shop) -> None:
    """Money that comes before and after its user, renames, seeds that add and never overwrite."""
    random = shop.random
    await shop.top_up(51, 30)
    await shop.top_up(51, 12)
    await shop.top_up(1, 7)
    await shop.top_up(59, 5)
    await shop.deliver_all()
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO)
    await shop.user(51, "Eva", 8)
    await shop.user(52, "Iris")
    await shop.user(1, "Ana María", 10**6)
    await shop.settle()
    for number in range(501, 513):
        await shop.publish(number, random.choice((20, 20, 30)))
    await shop.deliver_all()
    for round_ in range(8):
        for _ in range(2):
            await shop.top_up(random.choice((1, 2, 51, 52)), random.choice((5, 11, 20)))
            await shop.deliver(random.choice(("usuarios", "compras")), random.randrange(1, 4))
        await shop.buy(
            Ask(random.choice((1, 2, 51, 52, 53)), random.randrange(501, 513), shop.key()),
            Ask(random.choice((1, 2, 51, 52, 53)), random.choice((101, 103, 512)), shop.key()),
        )
        await shop.deliver_all("tokens", "usuarios")
        if round_ == 3:
            # The seed files have grown, and say otherwise of who lives.
            await shop.restart("usuarios")
            await shop.seed("usuarios", {**ANA, "saldo": 9999}, LUIS, {"id": 51, "nombre": "Otra", "saldo": 1})
            await shop.seed("usuarios", {"id": 53, "nombre": "Nora", "saldo": 44})
            await shop.restart("tokens", fenced=True)
            await shop.seed("tokens", GATO, BUHO, {**LUNA, "id": 501})
        if round_ == 5:
            await shop.user(2, "Luis Alberto")
            await shop.user(52, "Iris Inés", 77)
    await shop.settle()
    await shop.buy(Ask(51, 101, shop.key()), Ask(53, 103, shop.key()), Ask(2, 502, shop.key()))


async def prices(shop: Shop) -> None:
    """Tokens are published anew while they are held, waited for and sold; older entries come late."""
    random = shop.random
    await shop.seed("tokens", GATO, LUNA)
    for number in range(61, 67):
        await shop.user(number, f"Comprador {number}", random.choice((40, 90, 400)))
    for number in range(601, 609):
        await shop.publish(number, 40)
    await shop.deliver_all()
    for token in (*range(601, 609), 101, 102):
        for _ in range(random.randrange(2, 5)):
            await shop.buy(Ask(random.randrange(61, 67), token, shop.key(), random.choice((None, 40, 50, 80))))
            await shop.deliver_all("tokens")
            for _ in range(random.randrange(3)):
                nombre = random.choice(("Gato Cósmico", "Gato «ñ» ☕"))
                await shop.publish(token, random.choice((30, 45, 60)), nombre, random.choice(("gato.jpg", "luna.jpg")))
            # The later entry may come first: then the older one changes nothing.
            random.shuffle(shop.waiting["tokens"])
            await shop.deliver("tokens", random.randrange(4))
        if random.random() < 0.5:
            await shop.deliver_all("tokens", "usuarios")
        if token == 605:
            await shop.deliver_all()
            await shop.restart("tokens")
            await shop.restart("compras")
            await shop.restart("transacciones")
    await shop.settle()
    for token in range(601, 609):
        await shop.publish(token, 99, "Vendido")
    await shop.settle()
    await shop.buy(*(Ask(66, token, shop.key(), 98) for token in (601, 602, 603)))


async def disordered(shop: Shop) -> None:
    """Messages are lost, come twice, late, and in another order; clocks are hours apart, and processes die."""
    random = shop.random
    shop.skews = {"tokens": -7200, "usuarios": 5400, "transacciones": -86_400}
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    shop.faults = Faults(lost=0.05, twice=0.2, late=0.2, shuffled=0.5)
    for number in range(71, 79):
        await shop.top_up(number, random.choice((5, 10)))
        await shop.user(number, f"Comprador {number}", random.choice((30, 60, 200)))
        await shop.top_up(number, random.choice((5, 10)))
        await shop.user(number, f"Compradora {number}")
    for number in range(701, 713):
        await shop.publish(number, 25)
        await shop.publish(number, random.choice((20, 30)))
    await shop.deliver_all()
    for _ in range(20):
        await shop.buy(
            *(
                Ask(
                    random.choice((1, 2, 70, *range(71, 79))),
                    random.choice((101, 102, *range(701, 714))),
                    shop.key(),
                    random.choice((None, 25, 35)),
                    random.choice(("told", "told", "503", "lost")),
                )
                for _ in range(random.randrange(1, 6))
            )
        )
        await shop.deliver(random.choice(tuple(shop.stores)), random.randrange(1, 12))
        if random.random() < 0.25:
            name = random.choice(tuple(shop.stores))
            if random.random() < 0.3:
                shop.stillborn(name)
            await shop.restart(name, torn=random.choice((b"", TORN)), fenced=random.random() < 0.3)
    await shop.settle()
    shop.tear("compras", TORN)
    shop.stillborn("usuarios")


async def full_line(shop: Shop) -> None:
    """Ten thousand wait for one token, whose holder cannot pay; one more finds the line full."""
    await shop.user(81, "Pobre", 1)
    await shop.user(82, "Rica", 100)
    await shop.publish(801, 10)
    await shop.publish(802, 10)
    await shop.deliver_all()
    await shop.buy(Ask(81, 801, shop.key()))
    await shop.deliver_all("tokens")
    for first in range(0, tokens_domain.MAX_COLA, 500):
        many = range(first, min(first + 500, tokens_domain.MAX_COLA))
        # The first of them cannot pay, the next can.
        await shop.buy(*(Ask(82 if number == 1 else 1000 + number, 801, shop.key(), fate="lost") for number in many))
        await shop.deliver("tokens", 500)
    await shop.buy(Ask(83, 801, shop.key()), Ask(82, 802, shop.key()), Ask(81, 801, shop.key(), 5))
    await shop.buy(Ask(82, 801, shop.key()), Ask(81, 801, shop.key()))
    await shop.deliver_all("tokens")
    while any(shop.waiting.values()):
        for name in shop.stores:
            await shop.deliver(name, 500)


async def telling(shop: Shop) -> None:
    """A line, a sale, refusals and entries, and every service begins anew; nothing is lost, and asked for again."""
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    await shop.user(7, "Eva", 30)
    await shop.publish(104, 90)
    await shop.deliver_all()
    await shop.top_up(7, 10)
    await shop.buy(Ask(7, 101, shop.key()), Ask(1, 101, shop.key(), 1000), Ask(2, 102, shop.key()))
    await shop.settle()
    for service in shop.stores:
        await shop.restart(service)
    await shop.buy(Ask(2, 101, shop.key()), Ask(1, 104, shop.key()))
    await shop.settle()
    await shop.buy(Ask(2, 104, shop.key(), 5))


STORIES: Final[dict[str, Story]] = {
    "ordinary": Story(ordinary),
    "crowded": Story(crowded, SHORT_LINE),
    "refused": Story(refused, SHORT_LINE),
    "topped up": Story(topped_up),
    "prices": Story(prices),
    "disordered": Story(disordered),
    "telling": Story(telling, kind=Telling, alone=True),
    "full line": Story(full_line, snapshot_bytes=2_000_000),
}
