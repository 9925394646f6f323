"""What anybody may ask the front door: buy, see how a purchase stands, listen, read what the other services show."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import ConfigDict

from broker.messages import MAX_ID, CompraSolicitada, Id, Money, compra_id
from services.compras.answers import ASKED, Body, accepted, door_of, elsewhere, found, idempotency_key, keeping, kept
from services.compras.domain import Compra, finished, public
from services.compras.ids import check_id, not_there
from services.compras.schemas import CompraVista, EstadoVisto
from services.compras.streams import HEARD, STREAM, Listening, last_event_id, stream
from services.shared.http.bodies import Digits, json_bytes, page, read_body, runtime_of
from services.shared.http.edge import in_turn
from services.shared.http.openapi import LINK, documented, problems
from services.shared.http.shares import asker
from services.shared.views import PICTURE, TokenEntero, TokenVisto, TransaccionVista, UsuarioVisto

MAX_LIMITE: Final = 1_000
# More than this are not shown at once, whatever is asked for: each is read from the disk.
PAGE: Final = 100
# By then a follower has read of whatever its writer has answered.
NEWS_SECONDS: Final = 2.0

routes = APIRouter()


class Solicitud(Body):
    """A buyer, a token, and the most they are willing to pay."""

    # Of the seed: who tries it, buys.
    model_config = ConfigDict(json_schema_extra={"examples": [{"usuarioId": 1, "tokenId": 101}]})

    usuario_id: Id
    token_id: Id
    precio_maximo: Money | None = None


@routes.post(
    "/compras",
    status_code=202,
    summary="Buy a token",
    openapi_extra={**documented(Solicitud), **ASKED},
    responses=kept(CompraVista),
)
async def comprar(request: Request) -> Response:
    """Answered once the request is on the disk: from then on it is not lost, whatever dies.

    Send an Idempotency-Key, and the same one when you send it again: one key is one purchase.
    """
    solicitud, key = await read_body(request, Solicitud), idempotency_key(request)
    subject = compra_id(solicitud.usuario_id, key)
    with keeping(request, key, f"/compras/{subject}"):
        if (answer := await elsewhere(request, key)) is not None:
            return answer
        message = CompraSolicitada(
            compra_id=subject,
            usuario_id=solicitud.usuario_id,
            token_id=solicitud.token_id,
            precio_maximo=solicitud.precio_maximo,
            fecha=door_of(request).acceptance.fecha(),
        )
        return await accepted(request, message, "compras", key)


@routes.get(
    "/compras/{compra_id}",
    summary="How a purchase stands",
    responses={200: {"model": CompraVista}, **problems(404, 503)},
)
async def compra(request: Request, compra_id: str) -> Response:
    return await found(request, compra_id, Compra, "purchase")


@routes.get(
    "/compras",
    summary="Purchases, oldest first; Link: rel=next where there are more",
    responses={200: {"model": list[CompraVista], "headers": LINK}, **problems(422)},
)
async def compras(
    request: Request,
    usuarioId: Annotated[int | None, Query(ge=1, le=MAX_ID), Digits] = None,  # noqa: N803
    desde: Annotated[int, Query(ge=0, le=MAX_ID, description="Place in the list to go on behind"), Digits] = 0,
    limite: Annotated[int, Query(ge=1, le=MAX_LIMITE, description=f"At most {PAGE} at once"), Digits] = PAGE,
) -> Response:
    limite = min(limite, PAGE)
    store = runtime_of(request).store
    search = partial(store.listed, limite + 1, after=desde, where={"usuario_id": usuarioId})
    listed = await in_turn(request, search)
    lines, headers = page("/compras", listed, limite, usuarioId=usuarioId)
    rows = await store.rows_of([line["compraId"] for line in lines])
    shown = []
    for line in lines:
        # What cannot be read is left out there; asked for alone, it says why.
        row = rows.get(line["compraId"]) or await store.row(line["compraId"])
        assert row is not None, f"{line['compraId']} is listed, and has no row"
        shown.append(public(row))
    return json_bytes(shown, headers=headers)


Desde = Annotated[int | None, Query(ge=0, le=MAX_ID, description="As Last-Event-ID: events behind this one"), Digits]


@routes.get(
    "/eventos",
    summary="What happens to purchases, as it happens (server-sent events)",
    response_class=StreamingResponse,
    openapi_extra=HEARD,
    responses={200: STREAM, **problems(400, 422, 503)},
)
async def eventos(request: Request, desde: Desde = None) -> Response:
    """An event's id is a number that never repeats, on whichever replica: after a break, send it as Last-Event-ID."""
    after, events, whose = last_event_id(request, desde), door_of(request).events, asker(request.scope)

    async def answer() -> Response:
        return stream(events.all(after, whose))

    return Listening(events.listeners, answer)


@routes.get(
    "/compras/{compra_id}/eventos",
    summary="What happens to one purchase, until its end (server-sent events)",
    response_class=StreamingResponse,
    openapi_extra=HEARD,
    responses={
        200: STREAM,
        204: {"description": "Finished, and all of it was told"},
        **problems(400, 404, 422, 503),
    },
)
async def compra_eventos(request: Request, compra_id: str, desde: Desde = None) -> Response:
    check_id(compra_id, "purchase")
    after, events, whose = last_event_id(request, desde), door_of(request).events, asker(request.scope)
    seconds = 0 if runtime_of(request).store.leads else NEWS_SECONDS

    async def answer() -> Response:
        row = await events.known(compra_id, seconds)
        if not isinstance(row, Compra):
            raise not_there("purchase", compra_id)
        if after is not None and finished(row) and not await events.missed(compra_id, after, whose):
            return Response(status_code=204)
        return stream(events.of(compra_id, after, whose))

    return Listening(events.listeners, answer)


@routes.get("/estado", summary="The services, the queues, the broker", responses={200: {"model": EstadoVisto}})
async def estado(request: Request) -> Response:
    return json_bytes(await door_of(request).status.answer())


async def _passed_on(request: Request) -> Response:
    service = {"imagenes": "tokens"}.get(name := request.scope["path"].split("/")[1], name)
    return await door_of(request).forwarding.read_from(service, request)


def _path(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(name: str, least: int, most: int, description: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return {"name": name, "in": "query", "description": description, "schema": schema}


_ID: Final = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
_FIRST: Final = [
    _query("desde", 0, MAX_ID, "Ids above this one"),
    _query("limite", 1, 10_000, "So many, by id; unless told, 10,000"),
]
_RECORDS: Final = [
    _query("usuarioId", 1, MAX_ID, "Of this user"),
    _query("tokenId", 1, MAX_ID, "Of this token"),
    _query("desde", 0, MAX_ID, "Ids above this one"),
    _query("limite", 1, 10_000, "So many; unless told, 1,000"),
]
# What the others show, who show it, and what can be asked of them.
for _place, _answer, _asked, _errors in (
    ("/tokens", {"model": list[TokenVisto], "headers": LINK}, _FIRST, (422, 503)),
    ("/tokens/{token_id}", {"model": TokenEntero}, [_path("token_id", _ID)], (404, 422, 503)),
    ("/imagenes/{file}", PICTURE, [_path("file", {"type": "string"})], (404, 412, 503)),
    ("/usuarios", {"model": list[UsuarioVisto], "headers": LINK}, _FIRST, (422, 503)),
    ("/usuarios/{usuario_id}", {"model": UsuarioVisto}, [_path("usuario_id", _ID)], (404, 422, 503)),
    ("/transacciones", {"model": list[TransaccionVista], "headers": LINK}, _RECORDS, (422, 503)),
    ("/transacciones/{transaccion_id}", {"model": TransaccionVista}, [_path("transaccion_id", _ID)], (404, 422, 503)),
):
    routes.add_api_route(
        _place,
        _passed_on,
        summary=f"GET {_place} of its service",
        response_class=JSONResponse if "model" in _answer else Response,
        responses={200: _answer, **problems(*_errors)},
        openapi_extra={"parameters": _asked},
    )
