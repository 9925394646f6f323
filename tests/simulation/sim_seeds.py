"""The seeds of tests that live through many worlds."""

from __future__ import annotations

import pytest


def in_chunks(metafunc: pytest.Metafunc, seeds: int, more: int, chunk: int) -> None:
    """The first seed of each chunk as `first`; of those behind `seeds`, in the long tests."""
    if "first" in metafunc.fixturenames:
        long = [pytest.param(first, marks=pytest.mark.long) for first in range(seeds, seeds + more, chunk)]
        metafunc.parametrize("first", [*range(0, seeds, chunk), *long])
