"""compras over HTTP: the front door. Buying, asking how a purchase stands, and what the operator may do."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path as File
from typing import Annotated, Any, Final
from uuid import uuid4, uuid5

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.alias_generators import to_camel

from broker.messages import (
    MAX_ID,
    NAMESPACE,
    AltaMessage,
    Amount,
    CompraSolicitada,
    Id,
    Imagen,
    Money,
    Nombre,
    SaldoRecargado,
    TokenPublicado,
    UsuarioRegistrado,
    compra_id,
)
from services.compras.domain import DOMAIN, Alta, Asunto, Compra, finished
from services.compras.page import routes as page_routes
from services.compras.requests import WAIT_LIMIT_SECONDS, FrontDoor
from services.compras.views import vista
from services.shared.http.app import create_app
from services.shared.http.problems import Operator, Problem, documented, read_body
from services.shared.http.responses import json_bytes, page, runtime_of
from services.shared.http.shutdown import when_told_to_stop
from services.shared.runtime import Runtime, Service

MAX_KEY: Final = 255
MAX_LIMITE: Final = 1_000
# So many tokens are put up for sale by one request; as text they fill most of what a body may be.
MAX_CATALOGO: Final = 100
# By then a follower has read of whatever its writer has answered.
NEWS_SECONDS: Final = 2.0


class Body(BaseModel):
    """What every request's body is: just these fields, of just these types."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Solicitud(Body):
    """A buyer, a token, and the most they are willing to pay."""

    usuario_id: Id
    token_id: Id
    precio_maximo: Money | None = None


class AltaUsuario(Body):
    nombre: Nombre
    saldo: Money | None = None


class AltaRecarga(Body):
    monto: Amount


class AltaToken(Body):
    nombre: Nombre
    imagen: Imagen
    precio: Money


class TokenDeCatalogo(AltaToken):
    id: Id


class Catalogo(RootModel[Annotated[list[TokenDeCatalogo], Field(min_length=1, max_length=MAX_CATALOGO)]]):
    """Tokens to be put up for sale together."""


routes = APIRouter()
EntityId = Annotated[int, Path(ge=1, le=MAX_ID)]


def door_of(request: Request) -> FrontDoor:
    door: FrontDoor = runtime_of(request).extra
    return door


def idempotency_key(request: Request) -> str:
    """The key that the client sent, or a new one. Raises Problem (400)."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return str(uuid4())
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise Problem(400, f"Idempotency-Key must be 1 to {MAX_KEY} printable characters: a UUID is a good one")
    return key


def wait_seconds(request: Request) -> float:
    """How long the client prefers to wait for the end (RFC 7240)."""
    found = re.search(r"\bwait=(\d{1,4})\b", request.headers.get("prefer", ""))
    return min(int(found[1]), WAIT_LIMIT_SECONDS) if found else 0


async def accepted(request: Request, message: CompraSolicitada | AltaMessage, place: str, key: str) -> Response:
    """202 with where to look, or 200 when it has reached its end already."""
    door = door_of(request)
    row = await door.accept(message)
    headers = {"Location": f"/{place}/{message.about}", "Idempotency-Key": key}
    if seconds := wait_seconds(request):
        await door.finish(message.about, seconds)
        row = runtime_of(request).store.row(message.about) or row
        headers["Preference-Applied"] = f"wait={seconds:g}"
    if finished(row):
        return json_bytes(vista(row), 200, headers)
    return json_bytes(vista(row), 202, {**headers, "Retry-After": "1"})


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
    return await _found(request, compra_id, Compra, "purchase")


@routes.get("/altas/{alta_id}", summary="Whether an operator's entry is in force (operator)", responses={404: {}})
async def alta(request: Request, alta_id: str, _: Operator) -> Response:
    return await _found(request, alta_id, Alta, "entry")


async def _found(request: Request, about: str, kind: type[Asunto], name: str) -> Response:
    runtime: Runtime[Asunto] = runtime_of(request)
    row = runtime.store.row(about)
    if row is None and runtime.loop and not runtime.store.leads:
        # It may be so new that this replica has not read of it yet.
        answer = await door_of(request).at_the_writer(request)
        if answer is not None:
            return answer
        row = runtime.store.row(about)
    if not isinstance(row, kind):
        raise _not_there(name, about)
    return json_bytes(vista(row))


def _not_there(name: str, about: str) -> Problem:
    return Problem(404, f"there is no {name} {about}: its id is in the Location of the answer to its request")


@routes.get("/compras", summary="Purchases, oldest first; Link: rel=next where there are more")
async def compras(
    request: Request,
    usuarioId: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,  # noqa: N803
    desde: Annotated[int, Query(ge=0, le=MAX_ID, description="Place in the list to go on behind")] = 0,
    limite: Annotated[int, Query(ge=1, le=MAX_LIMITE)] = 100,
) -> Response:
    store = runtime_of(request).store
    found, headers = page("/compras", store.book.lines(after=desde, user=usuarioId), limite, usuarioId=usuarioId)
    rows = (store.row(store.word(store.book.place(line))["compraId"]) for line in found)
    return json_bytes([vista(row) for row in rows], headers=headers)


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
        raise _not_there("purchase", compra_id)
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


@routes.put(
    "/usuarios/{usuario_id}",
    status_code=202,
    summary="Register or rename a user (operator)",
    openapi_extra=documented(AltaUsuario),
)
async def alta_usuario(request: Request, usuario_id: EntityId, _: Operator) -> Response:
    """`saldo` counts only for a user who is new."""
    body = await read_body(request, AltaUsuario)
    return await _alta(request, UsuarioRegistrado, usuario_id=usuario_id, nombre=body.nombre, saldo=body.saldo)


@routes.post(
    "/usuarios/{usuario_id}/recargas",
    status_code=202,
    summary="Add to a user's money (operator)",
    openapi_extra=documented(AltaRecarga),
)
async def alta_recarga(request: Request, usuario_id: EntityId, _: Operator) -> Response:
    """Counts once per Idempotency-Key; waits for a user who is not registered yet."""
    body = await read_body(request, AltaRecarga)
    return await _alta(request, SaldoRecargado, usuario_id=usuario_id, monto=body.monto)


@routes.put(
    "/tokens/{token_id}",
    status_code=202,
    summary="Put a token up for sale, or change what is shown of it (operator)",
    openapi_extra=documented(AltaToken),
)
async def alta_token(request: Request, token_id: EntityId, _: Operator) -> Response:
    """Whoever holds the token keeps it at the price it had."""
    body = await read_body(request, AltaToken)
    return await _alta(
        request, TokenPublicado, token_id=token_id, nombre=body.nombre, imagen=body.imagen, precio=body.precio
    )


@routes.post(
    "/tokens",
    status_code=202,
    summary="Put up to 100 tokens up for sale, or change what is shown of them (operator)",
    openapi_extra=documented(Catalogo),
)
async def alta_catalogo(request: Request, _: Operator) -> Response:
    """As many PUTs, answered once all of them are on the disk. After a 503 some may be: send the same again."""
    catalogo = await read_body(request, Catalogo)
    ((token_id, times),) = Counter(token.id for token in catalogo.root).most_common(1)
    if times > 1:
        raise Problem(422, f"token {token_id} is in the list twice: say once what is to be shown of it")
    key = idempotency_key(request)
    if (answer := await door_of(request).at_the_writer(request, key)) is not None:
        return answer
    altas = await asyncio.gather(
        *(
            _entered(
                request,
                key,
                f"catalogo:{key}:{token.id}",
                f"/tokens/{token.id}",
                TokenPublicado,
                token_id=token.id,
                nombre=token.nombre,
                imagen=token.imagen,
                precio=token.precio,
            )
            for token in catalogo.root
        )
    )
    last = max(altas, key=lambda alta: alta.status_code)
    headers = {name: last.headers[name] for name in ("retry-after", "preference-applied") if name in last.headers}
    body = b"[" + b",".join(bytes(alta.body) for alta in altas) + b"]"
    return json_bytes(body, last.status_code, {"Idempotency-Key": key, **headers})


async def _alta(request: Request, model: type[AltaMessage], **fields: Any) -> Response:
    key = idempotency_key(request)
    if (answer := await door_of(request).at_the_writer(request, key)) is not None:
        return answer
    return await _entered(request, key, f"operador:{key}", request.url.path.removesuffix("/recargas"), model, **fields)


async def _entered(
    request: Request, key: str, name: str, whose: str, model: type[AltaMessage], **fields: Any
) -> Response:
    """One entry, which has its id by `name`, about the user or token with the path `whose`."""
    fecha = door_of(request).fecha_alta(whose)
    return await accepted(request, model(alta_id=str(uuid5(NAMESPACE, name)), fecha=fecha, **fields), "altas", key)


routes.include_router(page_routes)


def _prepare(runtime: Runtime[Asunto]) -> None:
    runtime.extra = FrontDoor(runtime)
    runtime.store.on_change = runtime.extra.heard
    runtime.store.now = runtime.extra.now
    when_told_to_stop(runtime.extra.stop)


async def _beside(runtime: Runtime[Asunto]) -> None:
    await runtime.extra.beside()


app = create_app(
    Service(
        domain=DOMAIN,
        routes=routes,
        seed=lambda raw: [],
        seed_file=File(__file__).with_name("compras.json"),
        prepare=_prepare,
        beside=_beside,
        straight={("POST", "/compras"): comprar},
    )
)
