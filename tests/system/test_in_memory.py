"""The four services on another store than the one they were written for: nothing but the port is asked of it."""

from __future__ import annotations

import sys
from pathlib import Path

from shop_builders import processes_of, start

from loadgen.drill.reconcile import reconcile_running

PROGRAM = Path(__file__).with_name("zoco_in_memory.py")


async def test_a_shop_that_keeps_all_in_memory_sells_tells_and_is_audited(tmp_path: Path) -> None:
    shop = start(tmp_path, command=(sys.executable, str(PROGRAM), "up"))
    try:
        async with shop.client() as client:
            bought = [await client.buy(1, 101, wait_seconds=10), await client.buy(2, 101, wait_seconds=10)]
            bought += [await client.buy(3, 102, wait_seconds=10), await client.buy(2, 102, wait_seconds=10)]
            assert [told.get("motivo", told["estado"]) for told in bought] == [
                "registrada",
                "token-vendido",
                "usuario-inexistente",
                "registrada",
            ]
            await client.quiet()
            assert await client.get("/transacciones?usuarioId=2") == [
                {"id": 2, "usuarioId": 2, "tokenId": 102, "fecha": bought[3]["fecha"]}
            ]
            assert (await client.get("/compras?desde=1&limite=1"))[0]["id"] == bought[1]["id"]
        running = shop.running
        verdict = await reconcile_running(running.urls, running.books_token, [shop.data.parent / "client.jsonl"])
        assert verdict.holds and not verdict.unchecked, verdict.as_json()
        assert not [*shop.data.glob("*/journal-*")], "no journal is written"
    finally:
        shop.stop()
    assert processes_of(tmp_path) == {}
