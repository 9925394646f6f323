"""An audit of a shop in which people buy: what one book has and another lacks is no breach, and is not called one."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from shop_builders import ZOCO, Shop

from loadgen.audit.text import Unreadable
from loadgen.audit.verdict import Verdict
from loadgen.drill import drill, reconcile
from loadgen.drill.config import DrillConfig


def audited(shop: Shop) -> subprocess.CompletedProcess[str]:
    words = ("audit", "--json", "--data", str(shop.data))
    return subprocess.run([ZOCO, *words], capture_output=True, text=True, check=False, env={"NO_COLOR": "1"})


async def test_a_shop_that_sells_is_not_condemned(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the books are read, somebody buys, and the others are read: as often as it is tried, or once."""
    monkeypatch.setattr(reconcile, "AGAIN_SECONDS", 0.0)
    urls, token, broken = shop.running.urls, shop.running.books_token, list[bool]()
    read = reconcile.books.from_service

    async with shop.client() as client:
        await client.prepare(users=[83], tokens=range(8300, 8300 + 2 * reconcile.TRIES), saldo=1000, precio=10)
        await client.quiet()
        tokens = iter(range(8300, 8300 + 2 * reconcile.TRIES))

        async def from_service(url: str, books_token: str, name: str) -> reconcile.books.Journal:
            journal = await read(url, books_token, name)
            if name == "compras" and (token_id := next(tokens, None)) is not None:
                await client.buy(83, token_id, wait_seconds=30)
                await client.quiet()
            return journal

        monkeypatch.setattr(reconcile.books, "from_service", from_service)

        async def once() -> Verdict:
            verdict = await reconcile.reconcile_running(urls, token)
            broken.append(not verdict.holds)
            return verdict

        with pytest.raises(Unreadable, match="zoco backup FILE"):
            await reconcile.settled(urls, once)
        assert broken == [True] * reconcile.TRIES
        # Then nobody buys any more.
        for _ in tokens:
            pass
        assert (await reconcile.settled(urls, once)).holds


async def test_a_drill_of_a_shop_in_which_others_buy_reads_its_books_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The services are asked, somebody buys, and the books are read."""
    monkeypatch.setattr(reconcile, "AGAIN_SECONDS", 0.0)
    asked, others = reconcile.answers, iter((8350, 8351))
    async with shop.client() as client:
        await client.prepare(users=[84], tokens=(8350, 8351), saldo=1000, precio=10)

        async def answers(urls: Mapping[str, str], **more: Any) -> Any:
            found = await asked(urls, **more)
            if (token_id := next(others, None)) is not None:
                await client.buy(84, token_id, wait_seconds=30)
                await client.quiet()
            return found

        monkeypatch.setattr(reconcile, "answers", answers)
        config = DrillConfig("transacciones", tmp_path, here=shop.data)
        async with drill._shop(config, lambda _, __: None) as drilled:
            verdict = await drilled.audit([])
        assert verdict.holds, verdict.breaches
        assert next(others, None) is None


async def test_who_asks_while_somebody_buys_is_told_so_or_sees_no_breach(shop: Shop) -> None:
    load = await asyncio.create_subprocess_exec(
        *(str(ZOCO), "load", "--rate", "30", "--for", "12", "--data", str(shop.data), "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    seen = []
    while load.returncode is None:
        done = await asyncio.to_thread(audited, shop)
        seen.append(done.returncode)
        if done.returncode == 3:
            assert "audit it when nobody buys" in done.stderr
    await load.communicate()
    assert seen and set(seen) <= {0, 3}
    async with shop.client() as client:
        await client.quiet()
    done = audited(shop)
    assert done.returncode == 0 and json.loads(done.stdout)["lost"] == 0
