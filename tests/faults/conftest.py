"""Shops that are made to fail. Those that are only killed share one RabbitMQ; who hurts the broker has its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest
from shop_builders import Shop, start

from ops.rabbitmq import Node

vhosts = count()


@pytest.fixture(scope="module")
def broker_url(node: Node) -> str:
    """A virtual host of this node for the tests of one file."""
    name = f"faults-{next(vhosts)}"
    asyncio.run(node.add_vhost(name))
    return node.url(name)


@pytest.fixture(scope="session")
def shop(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One shop for all tests that leave its services and its queues as they are."""
    asyncio.run(node.add_vhost("shop"))
    shop = start(tmp_path_factory.mktemp("shop"), ZOCO_RABBITMQ_URL=node.url("shop"), ZOCO_NUDGE_SECONDS="1")
    yield shop
    shop.stop()
