"""The bare front door: FastAPI that reads the same body, answers the same 202, and does nothing.

And a route that returns ready bytes, those of the file in BENCH_BODY. `uvicorn --factory loadgen.bench.bare:app`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response

from services.compras.api import Solicitud
from services.shared.http.bodies import read_body

JSON: Final = "application/json"
# As long as a real one.
ANSWER: Final = (
    b'{"id":"00000000-0000-0000-0000-000000000000","usuarioId":1,"tokenId":100000,"fecha":"2026-01-01T00:00:00.000Z",'
    b'"estado":"solicitada","historia":[{"estado":"solicitada","fecha":"2026-01-01T00:00:00.000Z"}]}'
)


def app() -> FastAPI:
    found = FastAPI(docs_url=None, redoc_url=None)
    body = Path(os.environ["BENCH_BODY"]).read_bytes()

    async def comprar(request: Request) -> Response:
        await read_body(request, Solicitud)
        return Response(ANSWER, 202, media_type=JSON)

    async def tokens() -> Response:
        return Response(body, media_type=JSON)

    found.add_api_route("/compras", comprar, methods=["POST"], status_code=202)
    found.add_api_route("/tokens", tokens)
    return found
