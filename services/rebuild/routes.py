"""How an operator asks a service to write its lost book again, or gives it one: `zoco rebuild`, `zoco restore`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from msgspec.json import encode

from services.rebuild.rebuilding import NotRebuilt
from services.rebuild.restore import put_back
from services.rebuild.run import Rebuild
from services.shared.http.bodies import TrueOrFalse, as_it_is, runtime_of, unconditional
from services.shared.http.credentials import BookKeeper, deed
from services.shared.http.openapi import OPERATORS, Vista, problems
from services.shared.http.problems import Problem, unavailable
from services.shared.runtime import Runtime

log = structlog.get_logger()
routes = APIRouter(tags=["every service"])
# A whole book: the edge lets it in, whatever its size.
BOOK: Final = "/libro"
# One at a time in a process: two would write the same file.
_busy: Final = asyncio.Lock()


@routes.post(
    "/libro/reconstruccion",
    summary="Write this service's lost book again from the other three (books)",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
        **OPERATORS,
        **problems(409, 412, 422, 503),
    },
)
async def rebuild(
    request: Request, _: BookKeeper, comprobar: Annotated[bool, TrueOrFalse] = False
) -> StreamingResponse:
    """JSON lines: what it does, and at last `hecho` and a sentence. `comprobar`: say what would be done, and change
    nothing. A process that wrote its book again ends, and is started anew."""
    unconditional(request.scope["headers"])
    runtime = _writer_of(request)
    if runtime.bus is None:
        raise unavailable("this process only reads: start it with ZOCO_RABBITMQ_URL", 60)
    deed(request, "the book is to be written again", only_checked=comprobar)
    return StreamingResponse(_lines(Rebuild(runtime), comprobar), media_type="application/x-ndjson")


class Puesto(Vista):
    """The book that was put in this one's place, with so many records; this one had so many."""

    libro: str
    generacion: int
    registros: int
    antes: int


@routes.put(
    BOOK,
    summary="Put a book from a backup in the place of this service's (books)",
    responses={200: {"model": Puesto}, **OPERATORS, **problems(409, 412, 415, 422, 503, 507)},
    openapi_extra={"requestBody": {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
async def put(request: Request, _: BookKeeper) -> JSONResponse:
    """JSON lines: `heights`, the book's own first, as it goes on and with what it has heard of the others, and
    `formerly`; then its records, from the first on, as /diario shows them. The process ends then, and starts anew."""
    as_it_is(request.scope["headers"])
    runtime = _writer_of(request)
    async with _busy:
        found = await put_back(runtime, request.stream())
    deed(request, "a backup took the place of this book", **found)
    return JSONResponse(found)


def _writer_of(request: Request) -> Runtime[Any]:
    """Raises Problem."""
    runtime: Runtime[Any] = runtime_of(request)
    if not runtime.store.leads:
        at = runtime.store.leader_url()
        raise unavailable(f"another process writes: ask it at {at}" if at else "no process writes yet: ask again")
    if _busy.locked():
        raise Problem(409, "this book is being written again just now: wait for that")
    return runtime


async def _lines(rebuild: Rebuild, check: bool) -> AsyncIterator[bytes]:
    async with _busy:
        try:
            async for line in rebuild.run(check=check):
                log.info("rebuild", **line)
                yield encode(line) + b"\n"
        except NotRebuilt as error:
            log.warning("the book was not written again", reason=str(error))
            yield encode({"hecho": False, "error": str(error)}) + b"\n"
