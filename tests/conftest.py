"""What the folders of tests that run shops share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from postgres_server import running_postgres
from shop_builders import running_node, started

from ops.postgres import Database
from ops.process import FREE_PORTS, RANGE
from ops.rabbitmq import Node

# What `zoco` says is looked for in English, whatever the developer reads.
os.environ["LC_ALL"] = "C.UTF-8"

# How long an example takes to make says how busy the machine is, and nothing about the code.
settings.register_profile("zoco", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("zoco")

# A server that a test keeps down has a port that looks free: workers side by side take theirs from parts of their own.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
SHARE = len(FREE_PORTS) // WORKERS
FIRST = FREE_PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) * SHARE]
os.environ[RANGE] = f"{FIRST}-{FIRST + SHARE - 1}"


@pytest.fixture(autouse=True, scope="session")
def _nothing_is_left_running() -> Iterator[None]:
    """A test that failed half-way may have left its shop."""
    yield
    for shop in started:
        if shop.process.poll() is None:
            shop.stop()


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Beginnings of ranges of a thousand ids that no other test of this run uses."""
    return count(10_000, 1_000)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One RabbitMQ for the whole run, not to be hurt."""
    yield from running_node(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One PostgreSQL for the whole run, not to be hurt."""
    yield from running_postgres(tmp_path_factory.mktemp("postgres"))
