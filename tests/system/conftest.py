"""One shop for most tests of the whole system."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shop_builders import Shop, processes_of, start


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One shop for all tests that bring their own buyers and tokens."""
    folder = tmp_path_factory.mktemp("shop")
    shop = start(folder, ZOCO_NUDGE_SECONDS="2")
    yield shop
    shop.stop()
    assert processes_of(folder) == {}
