"""A thousand small worlds, each from a seed, each with its own faults."""

import os

import pytest
from sim_world import simulate

SEEDS = int(os.environ.get("SIM_SEEDS", "1000"))
FIRST = int(os.environ.get("SIM_FIRST", "0"))
CHUNK = 50


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_the_promises_hold_in_every_world(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        try:
            simulate(seed)
        except Exception as error:
            pytest.fail(
                f"seed {seed}: {error}\nSIM_SEED={seed} .venv/bin/pytest tests/simulation -k replay", pytrace=False
            )


def test_replay() -> None:
    simulate(int(os.environ.get("SIM_SEED", "0")))


def test_the_same_seed_is_the_same_world() -> None:
    def books(seed: int) -> list[tuple[str, bytes]]:
        world = simulate(seed)
        return [(n, bytes(f.data)) for folder in world.folders.values() for n, f in folder.files.items()]

    for seed in range(5):
        assert books(seed) == books(seed)
