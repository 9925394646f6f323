"""Small worlds, each from a seed, each with its own faults. To see one again:

.venv/bin/python tests/simulation 1234
.venv/bin/pytest tests/simulation/test_simulation.py --seed 1234
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sim_books import audited
from sim_broker import Broken
from sim_seeds import in_chunks
from sim_world import FAULTS, POINTS, RATES, World, simulate

SEEDS = 600
# So many more among the long tests: two thousand in all.
MORE = 1_400
CHUNK = 100
# What happened in all worlds together.
SEEN: Counter[str] = Counter()
# What the audit proved in them.
PROVED: Counter[str] = Counter()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (one := metafunc.config.getoption("seed", default=None)) is None:
        in_chunks(metafunc, SEEDS, MORE, CHUNK)
    elif "first" in metafunc.fixturenames:
        metafunc.parametrize("first", [one])


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder for books that nobody keeps: where there is one in memory, there."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="zoco-world-", dir=shared if shared.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def test_the_promises_hold_in_every_world(first: int, request: pytest.FixtureRequest, memory: Path) -> None:
    """By the simulation's own checks, and by the audit, which knows nothing of the simulation."""
    one = request.config.getoption("seed", default=None)
    for seed in range(first, first + CHUNK) if one is None else [one]:
        try:
            world = simulate(seed)
        except Broken as broken:
            pytest.fail(f"{broken}\n\nagain: .venv/bin/python tests/simulation {seed}", pytrace=False)
        SEEN.update(world.counts)
        verdict = audited(world, memory / str(seed))
        found = "\n".join(f"promise {b.promise}: {b.about}: {b.says}" for b in verdict.breaches)
        assert verdict.holds, f"a false alarm in seed {seed}:\n{found}"
        assert not verdict.unchecked, f"seed {seed}: {verdict.unchecked}"
        PROVED.update(accepted=verdict.accepted, sold=verdict.sold, refused=verdict.refused)
        shutil.rmtree(memory / str(seed))


def test_everything_that_can_go_wrong_did() -> None:
    if sum(SEEN.values()) < 100 * SEEDS:
        pytest.skip("only after all worlds")
    assert min(PROVED.values()) > SEEDS
    deaths = {f"died: {point}" for point in (*POINTS, "between two steps", "Fenced", "StoreBroken")}
    reasons = {
        "usuario-inexistente", "saldo-insuficiente", "token-inexistente", "token-vendido", "token-disputado",
        "ya-en-cola", "precio-mayor", "sold", "status 200", "status 202", "status 422", "status 503", "dead-lettered",
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
