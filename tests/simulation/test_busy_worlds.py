"""Worlds whose queues are never empty, so that nobody asks again for what does not get on. Processes die, disks fail,
the broker goes away; what it was given it keeps. What was decided and not told yet is said all the same."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from sim_broker import Broken, SimWire
from sim_seeds import in_chunks, live_through
from sim_world import World, simulate

from broker.services import SERVICES
from services.shared.journal.store import JsonStore

SEEDS = 50
MORE = 1_950
CHUNK = 50
# So many of them are lived through without what is said for the dead.
WITHOUT = 20
# What loses a message that the broker has: only who asks again finds that.
ITS_LOSSES = {"purge", "wipe"}


class BusyWorld(World):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.rates["lost message"] = 0
        self.kinds = [kind for kind in self.kinds if kind not in ITS_LOSSES] or ["kill at a call"]


@pytest.fixture(autouse=True)
def _never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    async def oldest(wire: SimWire) -> dict[str, float]:
        return dict.fromkeys(SERVICES, inf)

    monkeypatch.setattr(SimWire, "oldest", oldest)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    in_chunks(metafunc, SEEDS, MORE, CHUNK)


def test_what_was_decided_and_not_told_is_said_though_nobody_asks_again(first: int) -> None:
    live_through(range(first, first + CHUNK), BusyWorld)


def test_without_what_is_said_for_the_dead_the_same_worlds_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until that was written, the half of them did: purchases that were accepted and told nobody, turns in a line."""

    async def silent(store: JsonStore[Any]) -> None: ...

    monkeypatch.setattr(JsonStore, "tell", silent)
    found: list[str] = []
    for seed in range(WITHOUT):
        try:
            simulate(seed, BusyWorld)
        except Broken as broken:
            found.append(broken.promise)
    assert found.count("4") >= WITHOUT // 5, found
