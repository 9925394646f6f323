"""transacciones over HTTP: the book of sales. It is written by messages only."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from broker.messages import MAX_ID
from services.shared.http.app import create_app
from services.shared.http.bodies import Digits, PathId, json_bytes, json_lines, page, runtime_of
from services.shared.http.edge import in_turn
from services.shared.http.openapi import LINK, problems
from services.shared.http.problems import Problem
from services.shared.runtime import Runtime, Service
from services.shared.seed import empty_seed
from services.shared.views import TransaccionVista
from services.transacciones.domain import DOMAIN, Libro, public

MAX_LIMITE: Final = 10_000


routes = APIRouter()
Filter = Annotated[int | None, Query(ge=1, le=MAX_ID), Digits]


@routes.get(
    "/transacciones",
    summary="The records, oldest first; Link: rel=next where there are more",
    responses={200: {"model": list[TransaccionVista], "headers": LINK}, **problems(422)},
)
async def transacciones(
    request: Request,
    usuarioId: Filter = None,  # noqa: N803
    tokenId: Filter = None,  # noqa: N803
    desde: Annotated[int, Query(ge=0, le=MAX_ID, description="Ids above this one"), Digits] = 0,
    limite: Annotated[int, Query(ge=1, le=MAX_LIMITE), Digits] = 1000,
) -> Response:
    runtime: Runtime[Libro] = runtime_of(request)
    where = {"usuario_id": usuarioId, "token_id": tokenId}
    found = await in_turn(request, partial(runtime.store.listed, limite + 1, after=desde, where=where))
    lines, headers = page("/transacciones", found, limite, usuarioId=usuarioId, tokenId=tokenId)
    return json_bytes(json_lines(map(public, lines)), headers=headers)


@routes.get(
    "/transacciones/{transaccion_id}",
    summary="One record",
    responses={200: {"model": TransaccionVista}, **problems(404, 422)},
)
async def transaccion(request: Request, transaccion_id: PathId) -> Response:
    runtime: Runtime[Libro] = runtime_of(request)
    found = await runtime.store.listed(1, after=transaccion_id - 1, where={})
    if not found or found[0][0] != transaccion_id:
        raise Problem(404, f"there is no record {transaccion_id}: GET /transacciones lists them")
    return json_bytes(public(found[0][1]))


SERVICE = Service(
    domain=DOMAIN,
    routes=routes,
    seed=empty_seed,
    seed_file=Path(__file__).with_name("transacciones.json"),
)
app = create_app(SERVICE)
