"""A drill on a shop whose six bugs agree with each other: this project's first judge said that all promises hold."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shop_builders import ZOCO, Shop, start

from loadgen.load.client import Client
from loadgen.load.workloads import WORKLOADS, BuyRequest, requests

HERE = Path(__file__).parent
PURCHASES = 400
KILLS = 3
AT_ONCE = 20
# In whose book and field each bug must be found, what stands there and what the rules say (None: nothing).
Named = Callable[[Any, Any], bool]
BUGS: dict[str, tuple[str, str, Named]] = {
    "sold above precioMaximo": ("tokens", "motivo", lambda stands, rules: (stands, rules) == (None, "precio-mayor")),
    "refused as token-disputado with nobody in line": (
        "tokens",
        "motivo",
        lambda stands, rules: (stands, rules) == ("token-disputado", None),
    ),
    "registered buyers refused as usuario-inexistente": (
        "usuarios",
        "motivo",
        lambda stands, rules: (stands, rules) == ("usuario-inexistente", None),
    ),
    "all records dated 1999": (
        "transacciones",
        "fecha",
        lambda stands, rules: stands == "1999-12-31T23:59:59Z" != rules,
    ),
    "wrong prices in compras": ("compras", "precio", lambda stands, rules: stands == 7 != rules),
    "wrong numbers in compras": ("compras", "transaccion_id", lambda stands, rules: stands == rules + 1_000),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `zoco audit` says of it, as JSON."""
    folder = tmp_path_factory.mktemp("six-bugs")
    (folder / "orders").mkdir()
    faulty, program = HERE.parent / "faults" / "zoco_faulty.py", HERE / "six_bugs_program.py"
    shop = start(folder, command=(sys.executable, str(faulty), str(program), str(folder / "orders")))
    try:
        asyncio.run(drilled(shop))
        client = ("--client", str(folder / "client.jsonl"))
        return audited("--data", str(shop.data), *client)
    finally:
        shop.stop()


async def drilled(shop: Shop) -> None:
    """So many purchases, with transacciones killed again and again while they are under way."""
    fixture = WORKLOADS["normal"].fixture(PURCHASES)
    async with shop.client() as client:
        await client.prepare(users=fixture.buyers, tokens=fixture.tokens, saldo=fixture.saldo, precio=fixture.precio)
        wanted = list(requests("normal", fixture, 16, PURCHASES))
        part = PURCHASES // (KILLS + 1)
        for first in range(0, PURCHASES, part):
            if first:
                await asyncio.to_thread(shop.kill, "transacciones")
            await bought(client, wanted[first : first + part])
        await client.quiet()


async def bought(client: Client, wanted: list[BuyRequest]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(ask: BuyRequest) -> None:
        async with places:
            await client.buy(ask.usuario, ask.token, key=ask.key, precio_maximo=ask.precio_maximo)

    await asyncio.gather(*(one(ask) for ask in wanted))


def audited(*words: str) -> dict[str, Any]:
    answer = subprocess.run(
        [str(ZOCO), "audit", *words, "--json"], capture_output=True, text=True, check=False, timeout=120
    )
    found: dict[str, Any] = json.loads(answer.stdout)
    return found | {"code": answer.returncode}


def test_the_audit_of_a_shop_with_six_bugs_exits_with_one(found: dict[str, Any]) -> None:
    assert found["code"] == 1
    assert not found["holds"]
    assert found["accepted"] == PURCHASES


@pytest.mark.parametrize("bug", BUGS)
def test_each_of_the_six_bugs_is_named_with_book_and_line(found: dict[str, Any], bug: str) -> None:
    book, field, is_it = BUGS[bug]
    named = [
        breach
        for breach in found["breaches"]
        if breach["book"] == book
        and (breach["field"] or "").rpartition(".")[2] == field
        and is_it(breach.get("stands"), breach.get("rules"))
    ]
    assert named, f"{bug}: {found['promises']}"
    for breach in named:
        path, _, line = breach["where"].rpartition(":")
        assert f"/{book}/journal-" in path
        assert int(line) > 1
