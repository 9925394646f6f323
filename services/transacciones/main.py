"""transacciones over HTTP: the book of sales. It is written by messages only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import pydantic_core
from fastapi import APIRouter, Query, Request, Response

from broker.messages import MAX_ID, Message
from services.shared.http.app import create_app
from services.shared.http.openapi import LINK, problems
from services.shared.http.problems import Problem
from services.shared.http.responses import json_bytes, page, runtime_of
from services.shared.journal.json_file import BookView, array
from services.shared.runtime import Runtime, Service
from services.shared.views import TransaccionVista
from services.transacciones.domain import DOMAIN, Libro

MAX_LIMITE: Final = 10_000


def seed(raw: bytes) -> Sequence[Message]:
    """Raises ValueError: a sale is recorded because it happened, and for no other reason."""
    if pydantic_core.from_json(raw) != []:
        raise ValueError("transacciones starts empty: write []")
    return []


def public(word: Mapping[str, Any]) -> dict[str, Any]:
    """A record of the book, of what transacciones said of it."""
    return {"id": word["transaccionId"], **{name: word[name] for name in ("usuarioId", "tokenId", "fecha")}}


routes = APIRouter()
Filter = Annotated[int | None, Query(ge=1, le=MAX_ID)]


@routes.get(
    "/transacciones",
    summary="The records, oldest first; Link: rel=next where there are more",
    responses={200: {"model": list[TransaccionVista], "headers": LINK}, **problems(422)},
)
async def transacciones(
    request: Request,
    usuarioId: Filter = None,  # noqa: N803
    tokenId: Filter = None,  # noqa: N803
    desde: Annotated[int, Query(ge=0, le=MAX_ID, description="Ids above this one")] = 0,
    limite: Annotated[int, Query(ge=1, le=MAX_LIMITE)] = 1000,
) -> Response:
    runtime: Runtime[Libro] = runtime_of(request)
    book: BookView[Libro] = runtime.view  # type: ignore[assignment]
    lines = runtime.store.book.lines(after=desde, user=usuarioId, token=tokenId)
    found, headers = page("/transacciones", lines, limite, usuarioId=usuarioId, tokenId=tokenId)
    return json_bytes(array(book.lines(found)), headers=headers)


@routes.get(
    "/transacciones/{transaccion_id}",
    summary="One record",
    responses={200: {"model": TransaccionVista}, **problems(404, 422)},
)
async def transaccion(request: Request, transaccion_id: int) -> Response:
    runtime: Runtime[Libro] = runtime_of(request)
    try:
        place = runtime.store.book.place(transaccion_id)
    except IndexError:
        raise Problem(404, f"there is no record {transaccion_id}: GET /transacciones lists them") from None
    return json_bytes(public(runtime.store.word(place)))


app = create_app(
    Service(
        domain=DOMAIN,
        routes=routes,
        seed=seed,
        seed_file=Path(__file__).with_name("transacciones.json"),
        view=lambda store, file: BookView(store, file, public),
    )
)
