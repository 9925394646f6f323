"""The one way in: what is done for every request, whichever way leads on from here to its endpoint.

FastAPI's layers, its routing and its dependencies cost several times what the endpoints do that are asked most. So
those are called from here, and all others by FastAPI. Limits, metrics, errors and the end of a connection are this
layer's alone, and therefore the same for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Final, TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.datastructures import State
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.shared.http.bodies import check_headers, check_path
from services.shared.http.gzipped import Packer, gzipped
from services.shared.http.hosts import READING
from services.shared.http.methods import allowed, head_only, unchunked
from services.shared.http.openapi import completed
from services.shared.http.problems import PROVEN, Problem, as_problem
from services.shared.http.sessions import set_cookies_aside
from services.shared.http.shares import Done, asker
from services.shared.http.shutdown import CLOSE

METHOD_NOT_ALLOWED: Final = 405
# A request here is a few dozen bytes; a hundred tokens for the catalogue are the most that anybody sends.
BODY_BYTES: Final = 16 * 1024

# For a browser: what it was not told is HTML is none, nothing of ours is part of another's page or can reach it by its
# window, and nobody is told what was looked at here.
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
FOR_BROWSERS: Final = (
    NOSNIFF,
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

# Who runs the shop asks for these, however much there is to do: they are counted, and never refused.
ALWAYS: Final = frozenset({"/livez", "/readyz", "/metrics"})

Headers: TypeAlias = list[tuple[bytes, bytes]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class EdgeApp(FastAPI):
    """FastAPI behind the edge, instead of behind layers of its own that would answer the same errors otherwise.

    The endpoints in `straight`, by method and path, are FastAPI's all the same: it documents them, and takes them
    when there is a query to read.
    """

    def __init__(
        self, straight: Mapping[tuple[str, str], Endpoint], streamed: Collection[tuple[str, str]] = (), **options: Any
    ) -> None:
        """`streamed`: the methods and paths of which bodies are read as they come, whatever their size."""
        super().__init__(**options)
        self._straight, self._streamed = straight, streamed
        self._packer = Packer()

    def openapi(self) -> dict[str, Any]:
        return self.openapi_schema or completed(super().openapi())

    def build_middleware_stack(self) -> ASGIApp:
        return AsyncExitStackMiddleware(self.router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        method = scope["method"]
        if scope["http_version"] == "1.0":
            send = unchunked(send)
        if method == "HEAD":
            # As GET is answered, but for the body.
            scope, send = {**scope, "method": "GET"}, head_only(send)
        if scope["method"] == "GET":
            send = gzipped(scope, send, self._packer)
        most = None if (method, scope["path"]) in self._streamed else BODY_BYTES
        exchange = _Exchange(method, scope["headers"], receive, send, self.state, most)
        endpoint = None if scope["query_string"] else self._straight.get((scope["method"], scope["path"]))
        try:
            self._admit(scope)
            if method == "OPTIONS" and (allow := allowed(self.router.routes, scope)):
                await Response(status_code=204, headers={"Allow": allow})(scope, receive, exchange.send)
            elif endpoint is None:
                await super().__call__(scope, exchange.receive, exchange.send)
            else:
                response = await endpoint(_Request(scope, exchange.receive))
                await send(exchange.begin(response.status_code, response.raw_headers))
                await send({"type": "http.response.body", "body": response.body})
        except ClientDisconnect:
            # Nobody is there to be answered, and nothing is wrong with the service.
            return
        except Exception as error:
            if exchange.answering:
                # It cannot be taken back: the server logs this, and breaks the connection, so that half is not a whole.
                raise
            problem = as_problem(error, method, scope["path"])
            if problem.status == 429:
                _hold(scope)
            if problem.status == METHOD_NOT_ALLOWED:
                problem.headers["Allow"] = allowed(self.router.routes, scope)
            await problem.response()(scope, receive, exchange.send)

    def _admit(self, scope: Scope) -> None:
        """Raises Problem (400, 403, 404, 421, 429)."""
        # Before anything is refused: whoever asks for nothing but that takes as much.
        always = scope["path"] in ALWAYS
        try:
            self.state.pace.check(asker(scope), only_looks=always)
        except Problem:
            _hold(scope)
            if not always:
                raise
        self.state.hosts.check(scope["http_version"], scope["method"], scope["headers"])
        check_headers(scope["headers"])
        check_path(scope["raw_path"])
        if scope.get(PROVEN) is False:
            raise Problem(403, "X-Zoco-Replica is for replicas with the same ZOCO_REPLICA_SECRET: leave it out")
        if any(name == b"cookie" for name, _ in scope["headers"]):
            set_cookies_aside(scope)


def _hold(scope: Scope) -> None:
    """Hear nothing more from whoever asks too much, for a while."""
    if "connection" in scope["state"] and not scope.get(PROVEN):
        scope["state"]["connection"].hold()


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Done]) -> Done:
    """What comes of this work for a request whose body has been read. Raises ClientDisconnect, and ends it, when its
    client hangs up."""
    doing, leaving = asyncio.create_task(work), asyncio.create_task(left(receive))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        doing.cancel()
        leaving.cancel()


async def in_turn(request: Request, search: Callable[[], Awaitable[Done]]) -> Done:
    """What a search through a whole list finds, of which there is one at a time. Raises ClientDisconnect."""
    return await unless_gone(request.receive, request.app.state.searches.done(asker(request.scope), search))


async def left(receive: Receive) -> None:
    """Returns when the client of a request whose body has been read hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass


class _Exchange:
    """A request and its answer, as they pass the edge."""

    __slots__ = ("_headers", "_method", "_most", "_read", "_receive", "_send", "_started", "_state", "answering")

    def __init__(
        self, method: str, headers: Headers, receive: Receive, send: Send, state: State, most: int | None
    ) -> None:
        self._method, self._headers, self._receive, self._send, self._state = method, headers, receive, send, state
        self._read, self._most = 0, most
        self._started = time.perf_counter()
        self.answering = False

    async def receive(self) -> Message:
        """Raises Problem (413) before all of a body is read that is too large. One that means nothing, or that comes
        when the answer has begun, is nobody's: files and streams read on to hear of who hangs up."""
        if not (self.answering or self._method in READING or self._read):
            # Who waits to be asked for it (Expect) is not asked.
            self._limit(int(dict(self._headers).get(b"content-length", 0)))
        message = await self._receive()
        if self.answering or self._method in READING:
            return {**message, "body": b""}
        self._read += len(message.get("body", b""))
        self._limit(self._read)
        return message

    def _limit(self, size: int) -> None:
        if self._most is not None and size > self._most:
            raise Problem(413, f"the body is over {self._most} bytes: a request here is a few dozen")

    async def send(self, message: Message) -> None:
        if not self.answering:
            message = {**message, **self.begin(message["status"], message["headers"])}
        await self._send(message)

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> Message:
        """Count the request, now that it is answered, and add what every answer says."""
        self.answering = True
        self._state.runtime.metrics.answered(self._method, status, time.perf_counter() - self._started)
        headers = [*headers, *FOR_BROWSERS] if POLICY[0] in dict(headers) else [*headers, *FOR_BROWSERS, POLICY]
        if self._state.drain.closes():
            headers.append(CLOSE)
        return {"type": "http.response.start", "status": status, "headers": headers}


class _Request(Request):
    """A request whose body is read without a generator: it is small, and comes in one piece."""

    async def body(self) -> bytes:
        """Raises Problem (413), ClientDisconnect."""
        if not hasattr(self, "_body"):
            pieces, more = [], True
            while more:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                pieces.append(message.get("body", b""))
                more = message.get("more_body", False)
            self._body = b"".join(pieces)
        return self._body
