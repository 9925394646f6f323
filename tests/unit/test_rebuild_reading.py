"""Reading the others' books, as `zoco rebuild` does."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from services.rebuild.run import Rebuild

# A sale with a full line behind it: ten thousand refusals in one record.
WAITING = 10_000


async def test_the_record_of_a_sale_with_a_full_line_behind_it_is_read_whole() -> None:
    refusal = {
        "type": "compra.rechazada",
        "compraId": "0" * 36,
        "usuarioId": 1,
        "tokenId": 1,
        "motivo": "token-vendido",
    }
    sale = {"seq": 1, "words": [refusal] * WAITING}

    async def diario(request: web.Request) -> web.Response:
        return web.Response(text=json.dumps(sale) + "\n" + json.dumps({"seq": 2, "words": []}) + "\n")

    app = web.Application()
    app.add_routes([web.get("/diario", diario)])
    async with TestServer(app) as server:
        peers = SimpleNamespace(urls={"tokens": str(server.make_url("")).rstrip("/")})
        runtime: Any = SimpleNamespace(
            name="compras", store=None, peers=peers, settings=SimpleNamespace(operator_token=None)
        )
        read = [record async for record in Rebuild(runtime)._diario("tokens")]
    assert [(record["seq"], len(record["words"])) for record in read] == [(1, WAITING), (2, 0)]
