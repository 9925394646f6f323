"""What anybody may ask the front door: buy, see how a purchase stands, listen, read what the other services show."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from broker.messages import MAX_ID, CompraSolicitada, Id, Money, compra_id
from services.compras.answers import Body, accepted, door_of, found, idempotency_key, not_there
from services.compras.domain import Compra, finished
from services.compras.views import vista
from services.shared.http.problems import Problem, documented, read_body
from services.shared.http.responses import json_bytes, page, runtime_of

MAX_LIMITE: Final = 1_000
# By then a follower has read of whatever its writer has answered.
NEWS_SECONDS: Final = 2.0

routes = APIRouter()


class Solicitud(Body):
    """A buyer, a token, and the most they are willing to pay."""

    usuario_id: Id
    token_id: Id
    precio_maximo: Money | None = None


@routes.post(
    "/compras",
    status_code=202,
    summary="Buy a token",
    openapi_extra=documented(Solicitud),
    responses={200: {"description": "Bought or refused already"}, 415: {}, 422: {}, 503: {}},
)
async def comprar(request: Request) -> Response:
    """Answered once the request is on the disk: from then on it is not lost, whatever dies.

    Send an Idempotency-Key, and the same one when you send it again: one key is one purchase.
    """
    key, door = idempotency_key(request), door_of(request)
    solicitud = await read_body(request, Solicitud)
    if (answer := await door.at_the_writer(request, key)) is not None:
        return answer
    message = CompraSolicitada(
        compra_id=compra_id(solicitud.usuario_id, key),
        usuario_id=solicitud.usuario_id,
        token_id=solicitud.token_id,
        precio_maximo=solicitud.precio_maximo,
        fecha=door.fecha(),
    )
    return await accepted(request, message, "compras", key)


@routes.get("/compras/{compra_id}", summary="How a purchase stands", responses={404: {}})
async def compra(request: Request, compra_id: str) -> Response:
    return await found(request, compra_id, Compra, "purchase")


@routes.get("/compras", summary="Purchases, oldest first; Link: rel=next where there are more")
async def compras(
    request: Request,
    usuarioId: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,  # noqa: N803
    desde: Annotated[int, Query(ge=0, le=MAX_ID, description="Place in the list to go on behind")] = 0,
    limite: Annotated[int, Query(ge=1, le=MAX_LIMITE)] = 100,
) -> Response:
    store = runtime_of(request).store
    found = await store.listed(limite + 1, after=desde, where={"usuario_id": usuarioId})
    lines, headers = page("/compras", found, limite, usuarioId=usuarioId)
    rows = [await store.row(line["compraId"]) for line in lines]
    return json_bytes([vista(row) for row in rows if row], headers=headers)


def last_event_id(request: Request, desde: int | None) -> int | None:
    """The last event that a client has seen, as browsers say it, or as asked by `desde`. Raises Problem (400)."""
    told = request.headers.get("last-event-id", "")
    if not told:
        return desde
    if not re.fullmatch(r"[0-9]{1,16}", told):
        raise Problem(400, "Last-Event-ID must be the id of an event: a whole number")
    return int(told)


Desde = Annotated[int | None, Query(ge=0, le=MAX_ID, description="As Last-Event-ID: events behind this one")]
# Not `response_class=EventSourceResponse`: FastAPI would encode every event for every listener again.
STREAM: Final[dict[str, Any]] = {"content": {"text/event-stream": {}}}
STREAM_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@routes.get(
    "/eventos",
    summary="What happens to purchases, as it happens (server-sent events)",
    response_class=StreamingResponse,
    responses={200: STREAM, 503: {}},
)
async def eventos(request: Request, desde: Desde = None) -> Response:
    """An event's id is a number that never repeats, on whichever replica: after a break, send it as Last-Event-ID."""
    after = last_event_id(request, desde)
    return EventSourceResponse(door_of(request).events.all(after), headers=STREAM_HEADERS)


@routes.get(
    "/compras/{compra_id}/eventos",
    summary="What happens to one purchase, until its end (server-sent events)",
    response_class=StreamingResponse,
    responses={200: STREAM, 204: {"description": "Finished, and all of it was told"}, 404: {}, 503: {}},
)
async def compra_eventos(request: Request, compra_id: str, desde: Desde = None) -> Response:
    after, events, store = last_event_id(request, desde), door_of(request).events, runtime_of(request).store
    row = await events.known(compra_id, 0 if store.leads else NEWS_SECONDS)
    if not isinstance(row, Compra):
        raise not_there("purchase", compra_id)
    if after is not None and finished(row) and not await events.missed(compra_id, after):
        return Response(status_code=204)
    return EventSourceResponse(events.of(compra_id, after), headers=STREAM_HEADERS)


@routes.get("/estado", summary="The services, the queues, the broker")
async def estado(request: Request) -> Response:
    return json_bytes(await door_of(request).estado())


async def _passed_on(request: Request) -> Response:
    service = {"imagenes": "tokens"}.get(name := request.url.path.split("/")[1], name)
    return await door_of(request).read_from(service, request.url.path, request.url.query)


for _path in ("/tokens", "/usuarios", "/transacciones"):
    routes.add_api_route(_path, _passed_on, summary=f"GET {_path} of its service", responses={503: {}})
    routes.add_api_route(_path + "/{id}", _passed_on, summary=f"GET {_path}/… of its service", responses={503: {}})
routes.add_api_route("/imagenes/{file}", _passed_on, summary="A token's picture", responses={503: {}})
