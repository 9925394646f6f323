"""One shop for most tests of the whole system."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from shop_builders import Shop, processes_of, start, started


@pytest.fixture(autouse=True, scope="session")
def _nothing_is_left_running() -> Iterator[None]:
    """A test that failed half-way may have left its shop."""
    yield
    for shop in started:
        if shop.process.poll() is None:
            shop.stop()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One shop for all tests that bring their own buyers and tokens."""
    folder = tmp_path_factory.mktemp("shop")
    shop = start(folder, ZOCO_NUDGE_SECONDS="2")
    yield shop
    shop.stop()
    assert processes_of(folder) == []


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Beginnings of ranges of a thousand ids that no other test uses."""
    return count(10_000, 1_000)
