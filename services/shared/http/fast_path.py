"""The few endpoints where every microsecond counts, without FastAPI's layers and routing."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import structlog
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from services.shared.http.problems import BUG, Problem, limited
from services.shared.http.shutdown import CLOSE

log = structlog.get_logger()

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class StraightApp(FastAPI):
    """FastAPI, whose way to an endpoint costs more than what it does there: it calls these ones itself.

    They are FastAPI's all the same, which documents them, and takes them when there is a query to read. What the
    layers of `create_app` do for the others is done here for these.
    """

    def __init__(self, endpoints: Mapping[tuple[str, str], Endpoint], body_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self._endpoints, self._body_bytes = endpoints, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = None
        if scope["type"] == "http" and not scope["query_string"]:
            endpoint = self._endpoints.get((scope["method"], scope["path"]))
        if endpoint is None:
            await super().__call__(scope, receive, send)
            return
        started = time.perf_counter()
        scope["app"] = self
        try:
            response = await endpoint(_Request(scope, limited(receive, self._body_bytes)))
        except Problem as problem:
            response = problem.response()
        except ClientDisconnect:
            return
        except Exception:
            log.exception("a bug in the service")
            response = Problem(500, BUG).response()
        headers = response.raw_headers
        if self.state.drain.closes():
            headers.append(CLOSE)
        self.state.runtime.metrics.answered(scope["method"], response.status_code, time.perf_counter() - started)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


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
