"""The few endpoints where every microsecond counts, without FastAPI's routing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.shared.problems import Problem

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class Straight:
    """An ASGI layer that calls these endpoints itself: FastAPI's way to one costs more than what it does.

    They are FastAPI's all the same, which documents them, and takes them when there is a query to read.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
        self._app, self._endpoints = app, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = None
        if scope["type"] == "http" and not scope["query_string"]:
            endpoint = self._endpoints.get((scope["method"], scope["path"]))
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive, send))
        except Problem as problem:
            response = problem.response()
        await response(scope, receive, send)
