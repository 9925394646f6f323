"""How an operator asks a service to write its lost book again: `zoco rebuild` does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from msgspec.json import encode

from services.rebuild.rebuilding import NotRebuilt
from services.rebuild.run import Rebuild
from services.shared.http.bodies import runtime_of
from services.shared.http.openapi import OPERATORS, problems
from services.shared.http.problems import Operator, Problem, unavailable
from services.shared.runtime import Runtime

log = structlog.get_logger()
routes = APIRouter(tags=["every service"])
# One at a time in a process: two would write the same file.
_busy: Final = asyncio.Lock()


@routes.post(
    "/libro/reconstruccion",
    summary="Write this service's lost book again from the other three (operator)",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
        **OPERATORS,
        **problems(409, 422, 503),
    },
)
async def rebuild(request: Request, _: Operator, comprobar: bool = False) -> StreamingResponse:
    """JSON lines: what it does, and at last `hecho` and a sentence. `comprobar`: say what would be done, and change
    nothing. A process that wrote its book again ends, and is started anew."""
    runtime: Runtime[Any] = runtime_of(request)
    if runtime.bus is None:
        raise unavailable("this process only reads: start it with ZOCO_RABBITMQ_URL", 60)
    if not runtime.store.leads:
        raise unavailable(f"another process writes: ask it at {runtime.store.leader_url()}")
    if _busy.locked():
        raise Problem(409, "this book is being written again just now: wait for that")
    return StreamingResponse(_lines(Rebuild(runtime), comprobar), media_type="application/x-ndjson")


async def _lines(rebuild: Rebuild, check: bool) -> AsyncIterator[bytes]:
    async with _busy:
        try:
            async for line in rebuild.run(check=check):
                log.info("rebuild", **line)
                yield encode(line) + b"\n"
        except NotRebuilt as error:
            log.warning("the book was not written again", reason=str(error))
            yield encode({"hecho": False, "error": str(error)}) + b"\n"
