"""What every service answers beside its own routes: is it alive, is it ready, its metrics, its docs, its journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse, StreamingResponse

from broker.messages import MAX_ID
from broker.services import Service
from services.shared.http.bodies import Digits, runtime_of
from services.shared.http.credentials import BookKeeper, deed
from services.shared.http.openapi import OPERATORS, Vista, problems
from services.shared.runtime import Runtime

# So much of the journal is read at a time for whoever asks for its records.
DIARIO_BYTES: Final = 256 * 1024
# The page of /docs brings its own script and styles, and draws small pictures.
DOCS_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

COMMON: Final = "every service"
routes = APIRouter(tags=[COMMON])


class BrokerState(Vista):
    connected: bool
    consuming: bool
    # Why not, if it is not.
    trouble: str | None
    # How long ago the oldest message was said that this process has in its hands, if it has any.
    oldest_seconds: float | None


class BookState(Vista):
    """Which book this is, up to which record, and the highest that it has heard of the others; which books it took the
    place of; and how far it had heard of the others each time before one's writer began anew."""

    heights: str
    formerly: list[str]
    earlier: list[str]


class DiskState(Vista):
    """What is free of the disk where the books are, in all of it, and when these books have filled it at their rate."""

    # Tells two disks apart.
    disk: str
    free_bytes: int
    total_bytes: int
    # So much is kept for what is under way; with less free it is short, and new purchases are answered 503.
    kept_bytes: int
    short: bool
    bytes_per_second: float
    # None: it is too early to say.
    full_days: float | None


class ServiceState(Vista):
    """A process of a service. Of several, one is the writer."""

    service: str
    ready: bool
    role: Literal["writer", "follower"]
    # Where the writer answers, as it says itself; it may have ended. null where all write.
    writer: str | None
    records: int
    disk_full: bool
    # What else a batch waits for, if it does.
    waits_for: str | None
    disk: DiskState
    book: BookState
    # Why nothing is decided, in one sentence with the command that helps.
    doubt: str | None
    # Whose book that is.
    doubt_of: Service | None
    doubt_book: str | None
    # What the books say of this clock, if it is wrong.
    clock: str | None
    # Of this process and of no other, whatever its host and its pid.
    process: str
    host: str
    pid: int
    broker: BrokerState | None


class Alive(Vista):
    estado: Literal["vivo"]


@routes.get("/livez", summary="The process answers; nothing else is looked at", responses={200: {"model": Alive}})
async def livez() -> dict[str, str]:
    return {"estado": "vivo"}


@routes.get(
    "/readyz",
    summary="The journal is read, and the broker was seen once",
    responses={200: {"model": ServiceState}, 503: {"model": ServiceState, "description": "Not yet"}},
)
async def readyz(request: Request) -> JSONResponse:
    runtime: Runtime[Any] = runtime_of(request)
    return JSONResponse(runtime.state(), 200 if runtime.ready else 503)


@routes.get(
    "/metrics",
    summary="For Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    runtime: Runtime[Any] = runtime_of(request)
    runtime.measure()
    return Response(runtime.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@routes.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=request.app.title,
        swagger_js_url="/swagger/swagger-ui-bundle.js",
        swagger_css_url="/swagger/swagger-ui.css",
        swagger_favicon_url="/swagger/favicon-32x32.png",
    )
    page.headers["Content-Security-Policy"] = DOCS_POLICY
    return page


@routes.get(
    "/diario",
    summary="The raw journal, for the audit (books)",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
        **OPERATORS,
        **problems(422),
    },
)
async def diario(
    request: Request, _: BookKeeper, desde: Annotated[int, Query(ge=0, le=MAX_ID), Digits] = 0
) -> StreamingResponse:
    """Every record whose `seq` is above `desde`, as it stands in the journal: JSON lines. One that is damaged ends
    them; asked for first, it is named."""
    runtime: Runtime[Any] = runtime_of(request)
    first = await runtime.store.records(desde, DIARIO_BYTES)
    if desde == 0:
        # Who goes on behind what is known, as a load does, is not told of each time.
        deed(request, "the book is read")

    async def chunks() -> AsyncIterator[bytes]:
        after, some = desde, first
        while some:
            yield b"".join(some)
            after += len(some)
            await asyncio.sleep(0)
            some = await runtime.store.records(after, DIARIO_BYTES)

    return StreamingResponse(chunks(), media_type="application/x-ndjson")
