"""Going out of service so that no client notices.

When Kubernetes ends a pod it tells everyone at once: the pod by SIGTERM, and whoever sends it requests by a change that
takes a moment to arrive. So a service goes on for a while after SIGTERM, and says on each answer that the connection
ends with it.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()


class Drain:
    """Holds SIGTERM back for so many seconds; the second one counts at once."""

    def __init__(self, seconds: float) -> None:
        self.underway = False
        self._seconds = seconds
        self._end: Any = None

    def start(self) -> None:
        """Stand before the handler that the server has put there. Only in the main thread; 0 seconds: do nothing."""
        if self._seconds:
            self._end = signal.getsignal(signal.SIGTERM)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._begin)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self.underway:
            self._over()
            return
        self.underway = True
        log.info("told to end: requests are answered for a while", seconds=self._seconds)
        loop.call_later(self._seconds, self._over)

    def _over(self) -> None:
        self._end(signal.SIGTERM, None)


class LastAnswers:
    """An ASGI layer: while the service drains, each answer closes its connection, and the next goes elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        drain: Drain | None = getattr(scope["app"].state, "drain", None) if scope["type"] == "http" else None
        if drain is None or not drain.underway:
            await self._app(scope, receive, send)
            return

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, closing)
