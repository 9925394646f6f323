"""Two real brokers for the whole run: one that lives, and one that is killed, frozen and starved. A fresh virtual
host for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest
from shop_builders import running_node

from ops.rabbitmq import Node

numbers = count()


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The one to hurt. `mortal_url` mends it afterwards."""
    yield from running_node(tmp_path_factory.mktemp("mortal"))


@pytest.fixture
async def vhost(node: Node) -> str:
    name = f"test-{next(numbers)}"
    await node.add_vhost(name)
    # It is not deleted: to delete many of our queues at once kills `rabbit_fifo_dlx_sup` of 3.10, and whatever queue
    # is declared before that is back is dead.
    return name


@pytest.fixture
def url(node: Node, vhost: str) -> str:
    return node.url(vhost)


@pytest.fixture
async def mortal_url(mortal: Node) -> AsyncIterator[str]:
    name = f"test-{next(numbers)}"
    await mortal.add_vhost(name)
    yield mortal.url(name)
    if mortal.pid is None:
        await mortal.start()
    mortal.thaw()
