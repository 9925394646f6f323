"""What happens to queues, to messages on their way, and to the wire: and the books stay whole."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractChannel
from fault_builders import told_and_audited
from patience import PATIENCE_SECONDS
from shop_builders import ZOCO, Shop, rabbitmqctl, start

from broker.amqp.dead_letters import DeadLetterQueue
from broker.messages import SaldoReservado, compra_id, encode
from broker.services import SERVICES
from broker.topology import DEAD_LETTER_EXCHANGE, EXCHANGE
from loadgen.drill.proxy import Proxy
from loadgen.load.client import Client
from ops.rabbitmq import Node

UNHEARD_OF = SaldoReservado(
    compra_id=compra_id(1, "nobody"), usuario_id=1, token_id=101, fecha="2025-09-10T17:00:00.000Z", precio=50
)
NOT_GOOD = {
    "no JSON": (b"\xff{", "compra.solicitada"),
    "nothing": (b"", "compra.solicitada"),
    "a list": (b"[1]", "compra.solicitada"),
    "a deep nest": (b"[" * 5_000, "compra.solicitada"),
    "a field of another type": (b'{"usuarioId": "1"}', "compra.solicitada"),
    "a type that nobody knows": (b"{}", "compra.nosuch"),
    "no type": (b"{}", ""),
    "what this service does not hear": (b"{}", "transaccion.registrada"),
    "a megabyte": (b'{"usuarioId": "' + b"1" * 1_000_000 + b'"}', "compra.solicitada"),
    "money for a token that nobody holds": (encode(UNHEARD_OF), UNHEARD_OF.type),
}


ALARMS = [("set_vm_memory_high_watermark", "0.00001", "0.4"), ("set_disk_free_limit", "900000GB", "50MB")]


@asynccontextmanager
async def channel_to(url: str) -> AsyncIterator[AbstractChannel]:
    """With the rights of an operator."""
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


async def waiting(channel: AbstractChannel, queue: str) -> int:
    declared = await channel.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


async def until_waiting(channel: AbstractChannel, queue: str, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await waiting(channel, queue) < count:
            await asyncio.sleep(0.05)


async def bought_with_one_down(client: Client, channel: AbstractChannel, shop: Shop, victim: str, first: int) -> None:
    """Twenty purchases, each of them in this service's queue as it is down."""
    await client.prepare(users=[first], tokens=range(first, first + 20), saldo=1_000, precio=10)
    shop.kill(victim, PATIENCE_SECONDS)
    await asyncio.gather(*(client.buy(first, first + n) for n in range(20)))
    await until_waiting(channel, victim, 20)


@pytest.mark.parametrize(("harm", "victim"), [("purge", "usuarios"), ("delete", "tokens"), ("delete", "transacciones")])
async def test_a_queue_that_is_purged_or_deleted_with_purchases_in_it_loses_none(
    shop: Shop, numbers: Iterator[int], harm: str, victim: str
) -> None:
    async with shop.client() as client, channel_to(shop.running.broker_url) as channel:
        await bought_with_one_down(client, channel, shop, victim, next(numbers))
        queue = await channel.get_queue(victim)
        await (queue.purge() if harm == "purge" else queue.delete(if_unused=False, if_empty=False))
        shop.let_it_start(victim)
    await shop.audited()


async def test_dead_letters_that_are_driven_again_find_their_purchases(shop: Shop, numbers: Iterator[int]) -> None:
    async with shop.client() as client, channel_to(shop.running.broker_url) as channel:
        await bought_with_one_down(client, channel, shop, "usuarios", next(numbers))
        letters = await channel.get_exchange(DEAD_LETTER_EXCHANGE)
        taken = await channel.get_queue("usuarios")
        for _ in range(20):
            raw = await taken.get()
            headers = {**raw.headers, "x-motivo": "an error of last week", "x-routing-key": raw.routing_key}
            copy = aio_pika.Message(raw.body, headers=headers, message_id=raw.message_id, type=raw.type)
            await letters.publish(copy, routing_key="usuarios")
            await raw.ack()
        shop.let_it_start("usuarios")
        async with DeadLetterQueue(shop.running.broker_url) as desk:
            assert len(await desk.list()) == 20
            assert await desk.replay("usuarios", None) == 20
    await shop.audited()


async def test_poison_of_every_kind_among_purchases_harms_none_of_them(shop: Shop, numbers: Iterator[int]) -> None:
    random = Random(7)

    async def poison(channel: AbstractChannel) -> None:
        for n, (body, kind) in enumerate(random.sample(sorted(NOT_GOOD.values()), len(NOT_GOOD))):
            headers = {"x": "y" * random.choice((0, 100_000))}
            message = aio_pika.Message(body, message_id=f"poison-{n}", type=kind, headers=headers)
            await channel.default_exchange.publish(message, routing_key="tokens")
            await asyncio.sleep(0.05)
        # Its key says what it is, whatever it says itself.
        exchange = await channel.get_exchange(EXCHANGE)
        forged = aio_pika.Message(encode(UNHEARD_OF), message_id="forged", type=UNHEARD_OF.type)
        await exchange.publish(forged, routing_key="compra.solicitada")

    first, last = next(numbers), next(numbers)
    async with channel_to(shop.running.broker_url) as channel, DeadLetterQueue(shop.running.broker_url) as desk:
        async with shop.client() as client:
            await client.prepare(users=[first], tokens=range(first, first + 40), saldo=1_000, precio=10)
            await asyncio.gather(poison(channel), *(client.buy(first, first + n) for n in range(40)))
            await client.quiet()
        await until_waiting(channel, "tokens.muertos", len(NOT_GOOD) + 1)
        letters = await desk.list()
        assert {letter.queue for letter in letters} == {"tokens.muertos"}
        assert sorted(str(letter.id) for letter in letters) == sorted(
            ["forged", *(f"poison-{n}" for n in range(len(NOT_GOOD)))]
        )
        assert all(letter.motivo for letter in letters)
        for letter in letters:
            assert await desk.discard("tokens", str(letter.id)) == 1
    await told_and_audited(shop, last)


@pytest.mark.long
@pytest.mark.parametrize(
    "alarm", [("set_vm_memory_high_watermark", "0.00001", "0.4"), ("set_disk_free_limit", "900000GB", "50MB")]
)
async def test_under_an_alarm_purchases_are_accepted_and_wait(
    node: Node, shop: Shop, numbers: Iterator[int], alarm: tuple[str, str, str]
) -> None:
    what, raised, lifted = alarm
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=[first], tokens=range(first, first + 20), saldo=1_000, precio=10)
        await rabbitmqctl(node, what, raised)
        try:
            told = await asyncio.gather(*(client.buy(first, first + n) for n in range(20)))
            # Longer than it takes to sell them all.
            await asyncio.sleep(5)
            stands = {(await client.get(f"/compras/{one['id']}"))["estado"] for one in told}
            assert stands == {"solicitada"}
        finally:
            await rabbitmqctl(node, what, lifted)
    await shop.audited()


async def as_the_doctor_says(shop: Shop) -> None:
    """Wait until every service hears its queue, and meanwhile delete what `zoco doctor` tells an operator to delete."""
    running = shop.running
    auth = aiohttp.encode_basic_auth(running.management_user or "", running.management_password or "")
    async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession(headers={"Authorization": auth}) as http:
        while not await hears_all(shop):
            for finding in await asyncio.to_thread(findings, shop):
                if found := re.search(r"Delete it at (\S+)/#(/queues/\S+);", finding["says"]):
                    (await http.delete(f"{found[1]}/api{found[2]}")).raise_for_status()
            await asyncio.sleep(1)


def findings(shop: Shop) -> list[dict[str, str]]:
    words = [str(ZOCO), "doctor", "--json", "--data", str(shop.data)]
    found: list[dict[str, str]] = json.loads(subprocess.run(words, capture_output=True, check=False).stdout)
    return found


async def hears_all(shop: Shop) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{shop.front}/estado") as answer:
            queues = (await answer.json())["colas"]
    except aiohttp.ClientError:
        return False
    return queues is not None and all(queues[name]["consumers"] for name in SERVICES)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.9])
async def test_a_broker_that_is_killed_within_a_second_of_the_first_declaration_is_made_good(
    tmp_path: Path, numbers: Iterator[int], seconds: float
) -> None:
    shop = await asyncio.to_thread(start, tmp_path, wait=False, ZOCO_NUDGE_SECONDS="1")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (shop.data / "up.json").exists():
                await asyncio.sleep(0.02)
            async with await aio_pika.connect(shop.running.broker_url) as connection:
                while True:
                    channel = await connection.channel()
                    try:
                        await channel.declare_queue("transacciones", passive=True)
                        break
                    except aio_pika.exceptions.ChannelNotFoundEntity:
                        await asyncio.sleep(0.01)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(shop.kill, "rabbitmq")
        await as_the_doctor_says(shop)
        await told_and_audited(shop, next(numbers))
    finally:
        await asyncio.to_thread(shop.stop)


@pytest.fixture
async def by_wire(node: Node, broker_url: str, tmp_path: Path) -> AsyncIterator[tuple[Shop, Proxy]]:
    """A shop whose way to the broker can be slow, or cut at one end."""
    proxy = Proxy(node.amqp_port)
    await proxy.start()
    url = broker_url.replace(f":{node.amqp_port}/", f":{proxy.port}/")
    shop = await asyncio.to_thread(start, tmp_path, ZOCO_RABBITMQ_URL=url, ZOCO_NUDGE_SECONDS="1")
    yield shop, proxy
    await asyncio.to_thread(shop.stop)
    await proxy.stop()


@pytest.mark.long
async def test_a_slow_wire_only_takes_longer(by_wire: tuple[Shop, Proxy], numbers: Iterator[int]) -> None:
    shop, proxy = by_wire

    async def slow() -> None:
        random = Random(7)
        while True:
            proxy.stall()
            await asyncio.sleep(random.uniform(0.05, 0.5))
            proxy.flow()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(slow())
    for _ in range(3):
        await told_and_audited(shop, next(numbers), tokens=20)
    task.cancel()


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 3])
async def test_connections_that_stand_still_until_both_ends_give_up_lose_nothing(
    by_wire: tuple[Shop, Proxy], numbers: Iterator[int], times: int
) -> None:
    shop, proxy = by_wire
    for _ in range(times):
        first = next(numbers)
        async with shop.client() as client:
            await client.prepare(users=[first], tokens=range(first, first + 40), saldo=1_000, precio=10)
            buying = asyncio.gather(*(client.buy(first, first + n) for n in range(40)))
            proxy.stall()
            await buying
            # Two heartbeats of 10 s missed, and more.
            await asyncio.sleep(35)
            proxy.flow()
        await shop.audited()
