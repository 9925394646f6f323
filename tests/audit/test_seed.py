"""The seed's files against what was imported of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from audit_shop import Ask, Shop
from audit_stories import ANA, GATO, LUIS, LUNA
from small_shops import told, verdict_of

SEED: dict[str, list[dict[str, Any]]] = {"usuarios": [ANA, LUIS], "tokens": [GATO, LUNA]}


async def half_of_it(shop: Shop) -> None:
    """Only the first of each file is imported; who buys is refused for what is not there."""
    await shop.seed("usuarios", ANA)
    await shop.seed("tokens", GATO)
    await shop.buy(Ask(2, 101, shop.key()))
    await shop.settle()
    await shop.buy(Ask(1, 102, shop.key()))


async def all_of_it(shop: Shop) -> None:
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    await shop.buy(Ask(1, 101, shop.key()))


async def a_seed_that_comes_too_late(shop: Shop) -> None:
    """The operator was there first: what the seed says then changes nothing, and is heard all the same."""
    await shop.user(2, "Luisa", 5)
    await shop.publish(102, 3)
    await shop.settle()
    await all_of_it(shop)


def test_what_the_seed_has_and_nobody_imported_is_missed(tmp_path: Path) -> None:
    verdict = verdict_of(told(tmp_path / "shop", half_of_it), seeds=SEED)
    assert {breach.about for breach in verdict.breaches} == {"semilla:2", "semilla:102"}
    assert verdict.counts == {1: 1, 7: 2}


@pytest.mark.parametrize("tell", [all_of_it, a_seed_that_comes_too_late])
def test_what_was_imported_is_not(tmp_path: Path, tell: Any) -> None:
    verdict = verdict_of(told(tmp_path / "shop", tell), seeds=SEED)
    assert verdict.holds, verdict.breaches


def test_a_backup_of_before_the_seed_grew_lacks_nothing(tmp_path: Path) -> None:
    assert verdict_of(told(tmp_path / "shop", half_of_it), seeds=SEED, cut=True).holds
