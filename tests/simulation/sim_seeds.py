"""The seeds of tests that live through many worlds, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from sim_broker import Broken
from sim_world import World, simulate


def in_chunks(metafunc: pytest.Metafunc, seeds: int, more: int, chunk: int) -> None:
    """The first seed of each chunk as `first`; of those behind `seeds`, in the long tests (or as many as --worlds)."""
    if "first" in metafunc.fixturenames:
        end = metafunc.config.getoption("--worlds", default=None) or seeds + more
        long = [pytest.param(first, marks=pytest.mark.long) for first in range(seeds, end, chunk)]
        metafunc.parametrize("first", [*range(0, seeds, chunk), *long])


def live_through(seeds: Iterable[int], kind: type[World]) -> Counter[str]:
    """What happened in these worlds, together. Fails the test at the first that breaks a promise."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        try:
            seen.update(simulate(seed, kind).counts)
        except Broken as broken:
            pytest.fail(f"seed {seed}: {broken}", pytrace=False)
    return seen
