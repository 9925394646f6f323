"""A shop whose lists are longer than one page."""

from __future__ import annotations

from pathlib import Path

import pytest
from shop_builders import purchases, start

from loadgen.load.plan import prepared
from loadgen.load.workloads import Fixture
from services.shared.store import MAX_LINES

AT_ONCE = 100
# Some way behind those that every shop begins with.
FIRST = 1_000


@pytest.mark.long
async def test_a_load_gets_ids_behind_all_that_there_are_on_whatever_page(tmp_path: Path) -> None:
    shop = start(tmp_path)
    tokens = range(FIRST, FIRST + MAX_LINES + 1)
    async with shop.client() as client:
        headers = {"Authorization": f"Bearer {shop.running.operator_token}"}
        for start_at in range(0, len(tokens), AT_ONCE):
            body = [
                {"id": token, "nombre": "T", "imagen": "gato.jpg", "precio": 7} for token in tokens[start_at:][:AT_ONCE]
            ]
            async with client.http.post(f"{shop.front}/tokens", json=body, headers=headers) as answer:
                assert answer.status == 202, await answer.text()
        await client.quiet()
        fixture = await prepared(client, Fixture.of(buyers=1, tokens=2, saldo=2_000))
        assert fixture.tokens == range(tokens.stop, tokens.stop + 2)
        for token in fixture.tokens:
            await client.buy(fixture.buyers.start, token)
        await client.quiet()
        assert {compra["estado"] async for compra in purchases(client, fixture.buyers.start)} == {"registrada"}
    await shop.audited()
    shop.stop()
