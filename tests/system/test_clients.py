"""Clients that nobody here wrote, by their default settings: each buys, reads its purchase, and hears its events."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop_builders import Shop

CLIENTS = Path(__file__).with_name("clients")
SHELL = ("sh", str(CLIENTS / "buy.sh"))
COMMANDS = {
    "curl": (SHELL, ()),
    "curl-http2": (SHELL, ("--http2",)),
    "curl-http1.0": (SHELL, ("--http1.0",)),
    "go": (("go", "run", str(CLIENTS / "buy.go")), ()),
    "requests": ((sys.executable, str(CLIENTS / "buy.py")), ("requests",)),
    "httpx": ((sys.executable, str(CLIENTS / "buy.py")), ("httpx",)),
    "java": (("java", str(CLIENTS / "Buy.java")), ()),
    "node": (("node", str(CLIENTS / "buy.mjs")), ()),
}
# Not everybody who runs `make test` has these; CI runs them by themselves.
ELSEWHERE = ("java", "node")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in ELSEWHERE else ()) for name in COMMANDS]
)
async def test_it_buys_reads_and_listens(shop: Shop, numbers: Iterator[int], name: str) -> None:
    command, options = COMMANDS[name]
    assert shutil.which(command[0]), f"{command[0]} is missing: install it"
    first = next(numbers)
    async with shop.client() as client:
        await client.prepare(users=[first], tokens=[first, first + 1], saldo=100, precio=50)
        words = (*command, shop.front, str(first), str(first), f"key-{first}", *options)
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, errors = (told.decode() for told in await process.communicate())
        assert process.returncode == 0, errors
        # Once, whatever it offered and however often it sent it.
        (compra,) = await client.get(f"/compras?usuarioId={first}")
        assert (compra["estado"], compra["tokenId"]) == ("registrada", first)
        assert said.startswith("200") and said.count('"estado":"registrada"') >= 3, said
        assert said.count("event: compra") == 1 and said.count("200") >= 3, said
        # By ours, so that there is something to compare with the books.
        await client.buy(first, first + 1)
    await shop.audited()
