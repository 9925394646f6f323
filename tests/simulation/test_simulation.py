"""A thousand small worlds, each from a seed, each with its own faults. To see one again:

.venv/bin/python tests/simulation 1234
.venv/bin/pytest tests/simulation/test_simulation.py --seed 1234
"""

from __future__ import annotations

from collections import Counter

import pytest
from sim_broker import Broken
from sim_world import FAULTS, POINTS, RATES, World, simulate

SEEDS = 1_000
CHUNK = 100
# What happened in all worlds together.
SEEN: Counter[str] = Counter()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "first" in metafunc.fixturenames:
        one = metafunc.config.getoption("seed", default=None)
        metafunc.parametrize("first", range(0, SEEDS, CHUNK) if one is None else [one])


def test_the_promises_hold_in_every_world(first: int, request: pytest.FixtureRequest) -> None:
    one = request.config.getoption("seed", default=None)
    for seed in range(first, first + CHUNK) if one is None else [one]:
        try:
            SEEN.update(simulate(seed).counts)
        except Broken as broken:
            pytest.fail(f"{broken}\n\nagain: .venv/bin/python tests/simulation {seed}", pytrace=False)


def test_everything_that_can_go_wrong_did() -> None:
    if sum(SEEN.values()) < 100 * SEEDS:
        pytest.skip("only after all worlds")
    deaths = {f"died: {point}" for point in (*POINTS, "between two steps", "Fenced", "StoreBroken")}
    reasons = {
        "usuario-inexistente", "saldo-insuficiente", "token-inexistente", "token-vendido", "token-disputado",
        "precio-mayor", "sold", "status 200", "status 202", "status 422", "status 503", "dead-lettered",
        "redelivered", "torn", "ENOSPC", "sync EIO", "append EIO", "pause, lock removed",
    }  # fmt: skip
    assert not {*FAULTS, *RATES, *deaths, *reasons} - SEEN.keys()


def test_the_same_seed_is_the_same_world() -> None:
    def books(world: World) -> list[tuple[str, str, bytes]]:
        return [
            (service, name, bytes(file.data))
            for service, folder in world.folders.items()
            for name, file in folder.files.items()
        ]

    for seed in (1, 2, 3):
        assert books(simulate(seed)) == books(simulate(seed))
