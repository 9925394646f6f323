"""Messages that come again and in any order, and clocks that jump: for services that are real otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from fault_builders import faulty, told_and_audited

from broker.services import SERVICES
from ops.rabbitmq import Node

vhosts = count()


@pytest.fixture
def broker_url(node: Node) -> str:
    """For one shop: what it said late is in its queues when it is stopped, and is no other shop's to hear."""
    name = f"odd-{next(vhosts)}"
    asyncio.run(node.add_vhost(name))
    return node.url(name)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))])
async def test_each_message_said_1_to_5_times_in_any_order_counts_once(
    tmp_path: Path, broker_url: str, numbers: Iterator[int], seed: int
) -> None:
    with faulty(tmp_path, "odd_program.py", ZOCO_RABBITMQ_URL=broker_url, ODD="messages", ODD_SEED=str(seed)) as shop:
        await told_and_audited(shop, next(numbers), tokens=20)
        for service in SERVICES:
            async with aiohttp.ClientSession() as http, http.get(f"{shop.running.urls[service]}/metrics") as answer:
                lines = dict(line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if line[0] != "#")
            assert float(lines["zoco_messages_repeated_total"]) > 10, service


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))])
async def test_clocks_that_jump_by_seconds_and_years_change_no_books(
    tmp_path: Path, broker_url: str, numbers: Iterator[int], seed: int
) -> None:
    with faulty(tmp_path, "odd_program.py", ZOCO_RABBITMQ_URL=broker_url, ODD="clock", ODD_SEED=str(seed)) as shop:
        await told_and_audited(shop, next(numbers), tokens=20)
