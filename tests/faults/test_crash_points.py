"""Processes that kill themselves at a named place: in every service, at every message, in every step. The next one goes
on from the books, and the books are checked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest

import aiohttp
import pytest
from crash_program import HEARD, ROTATION, SAID, SNAPSHOT, TAKEOVER
from fault_builders import HEARS, SAYS, FaultyShop, Orders, faulty, told_and_audited
from patience import POLL_SECONDS

from broker.services import SERVICES

PLACES = (*HEARD, *SAID, *ROTATION, *SNAPSHOT)
# What comes by HTTP is not acked to anybody.
DECIDED = HEARD[:4]


def every_order(service: str) -> list[str]:
    """Each place with each message that comes by it."""
    by_http = SAYS[service] if service == "compras" else []
    return [
        *(f"{place} {kind} 1" for kind in HEARS[service] for place in HEARD),
        *(f"{place} {kind} 1" for kind in by_http for place in DECIDED),
        *(f"{place} {kind} 1" for kind in SAYS[service] for place in SAID),
        *(f"{place} * 1" for place in (*ROTATION, *SNAPSHOT)),
    ]


def any_order(service: str, number: int) -> str:
    """The place of this number, with one of the messages that come by it."""
    place = PLACES[number % len(PLACES)]
    kinds = HEARS[service] if place in HEARD else SAYS[service] if place in SAID else ["*"]
    return f"{place} {kinds[number % len(kinds)]} 1"


# In a few rounds each place once, at some service; in many each place with each message at each service.
FEW = [
    {service: any_order(service, len(SERVICES) * turn + n) for n, service in enumerate(SERVICES)}
    for turn in range(-(-len(PLACES) // len(SERVICES)))
]
ALL = [
    {service: order for service, order in zip(SERVICES, orders, strict=True) if order}
    for orders in zip_longest(*(every_order(service) for service in SERVICES))
]
AT_THE_START = [
    {service: f"{TAKEOVER[(n + turn) % len(TAKEOVER)]} * 1" for n, service in enumerate(SERVICES)}
    for turn in range(len(TAKEOVER))
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[FaultyShop]:
    """One shop for all: each round ends with its books whole."""
    folder = tmp_path_factory.mktemp("crash")
    with faulty(
        folder,
        "crash_program.py",
        ZOCO_RABBITMQ_URL=broker_url,
        ZOCO_NUDGE_SECONDS="1",
        # A rotation and a snapshot every few records.
        ZOCO_SNAPSHOT_BYTES="1024",
    ) as shop:
        yield shop


@pytest.fixture
def shop(served: FaultyShop) -> Iterator[FaultyShop]:
    served.clear()
    yield served
    served.clear()


def words(orders: Orders) -> str:
    return " | ".join(f"{service} {order[:-2]}" for service, order in orders.items())


async def dies_and_goes_on(shop: FaultyShop, orders: Orders, first: int) -> None:
    shop.order(orders)
    await told_and_audited(shop, first)
    await shop.until_died(orders)
    await shop.audited()


@pytest.mark.parametrize("orders", FEW, ids=words)
async def test_services_that_die_in_the_middle_lose_nothing(
    shop: FaultyShop, numbers: Iterator[int], orders: Orders
) -> None:
    await dies_and_goes_on(shop, orders, next(numbers))


@pytest.mark.parametrize("orders", AT_THE_START[:1], ids=words)
async def test_services_that_die_in_a_takeover_lose_nothing(
    shop: FaultyShop, numbers: Iterator[int], orders: Orders
) -> None:
    shop.order(orders)
    for service in orders:
        shop.kill(service)
        # Who leads notes it down where somebody else did before, or nobody: here it is the same address each time.
        (shop.data / service / "writer").unlink(missing_ok=True)
    await told_and_audited(shop, next(numbers))
    await shop.until_died(orders)


@pytest.mark.long
@pytest.mark.parametrize("orders", ALL, ids=words)
async def test_every_service_dies_at_every_place_with_every_message(
    shop: FaultyShop, numbers: Iterator[int], orders: Orders
) -> None:
    await dies_and_goes_on(shop, orders, next(numbers))


@pytest.mark.long
@pytest.mark.parametrize("passage", [2, 3])
@pytest.mark.parametrize("orders", FEW, ids=words)
async def test_later_passages_of_the_same_places_lose_nothing(
    shop: FaultyShop, numbers: Iterator[int], orders: Orders, passage: int
) -> None:
    later = {service: f"{order.split()[0]} * {passage}" for service, order in orders.items()}
    shop.order(later)
    while shop.died != sorted(f"{service} {order[:-2]}" for service, order in later.items()):
        # Somebody may die while the books are checked.
        with suppress(aiohttp.ClientError):
            await told_and_audited(shop, next(numbers))
    await shop.audited()


@pytest.mark.long
@pytest.mark.parametrize("orders", AT_THE_START[1:], ids=words)
async def test_services_that_die_in_any_other_step_of_a_takeover_lose_nothing(
    shop: FaultyShop, numbers: Iterator[int], orders: Orders
) -> None:
    await test_services_that_die_in_a_takeover_lose_nothing(shop, numbers, orders)


@pytest.mark.parametrize("passage", [2, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("place", DECIDED)
async def test_a_list_of_tokens_that_a_death_cut_off_is_finished_when_it_is_sent_again_and_no_other_is_taken_for_it(
    shop: FaultyShop, numbers: Iterator[int], place: str, passage: int
) -> None:
    """Its first entry is on the disk before the others are asked for: they are the second that passes."""
    tokens = [{"id": next(numbers), "nombre": "Sol", "imagen": "sol.jpg", "precio": 5} for _ in range(20)]
    other = [*tokens[:-1], {**tokens[-1], "precio": 6}, {**tokens[0], "id": next(numbers)}]
    key = {"Authorization": f"Bearer {shop.running.operator_token}", "Idempotency-Key": f"lista-{tokens[0]['id']}"}
    orders = {"compras": f"{place} token.publicado {passage}"}
    shop.order(orders)

    async def sent(body: list[dict[str, object]]) -> int:
        with suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession() as http,
                http.post(f"{shop.front}/tokens", json=body, headers=key) as answer,
            ):
                return answer.status
        return 503

    assert await sent(tokens) == 503
    await shop.until_died(orders)
    while (status := await sent(tokens)) == 503:
        await asyncio.sleep(POLL_SECONDS)
    assert status in (200, 202)
    assert await sent(other) == 422
    async with shop.client() as client:
        await client.quiet()
        assert [(await client.get(f"/tokens/{token['id']}"))["precio"] for token in tokens] == [5] * 20
        with pytest.raises(aiohttp.ClientResponseError):
            await client.get(f"/tokens/{other[-1]['id']}")
    await told_and_audited(shop, next(numbers), tokens=1)
