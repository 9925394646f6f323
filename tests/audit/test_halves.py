"""Big books: each half of the audit has a process of its own, and what the second falls over is said as what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from audit_shop import LIVE, Ask, Shop
from audit_stories import ANA, GATO
from small_shops import told, verdict_of

from loadgen.audit import audit


async def one_sale(shop: Shop) -> None:
    await shop.seed("usuarios", ANA)
    await shop.seed("tokens", GATO)
    await shop.buy(Ask(1, 101, shop.key()))


def test_what_the_second_half_falls_over_is_raised_and_no_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = told(tmp_path / "shop", one_sale)
    live = json.loads((folder / LIVE).read_text(encoding="utf-8"))
    monkeypatch.setattr(audit, "BIG_BYTES", 0)
    assert verdict_of(folder, live=live).holds
    with pytest.raises(TypeError) as raised:
        verdict_of(folder, live=live | {"compras": 7})
    assert any("purchases_are_shown" in note for note in raised.value.__notes__)
