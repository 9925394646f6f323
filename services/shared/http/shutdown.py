"""Going out of service so that no client notices, and coming into it so that they do.

When Kubernetes ends a pod it tells everyone at once: the pod by SIGTERM, and whoever sends it requests by a change that
takes a moment to arrive. So a service goes on for a while after SIGTERM, and says on each answer that the connection
ends with it. It says so on one answer in a hundred at other times: a connection leads to one pod for as long as it
lasts, so a pod that is new would get no request from clients who keep theirs.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from typing import Any, Final

import structlog

log = structlog.get_logger()

# One new connection in so many answers costs nothing that can be measured.
ANSWERS_PER_CONNECTION: Final = 100
CLOSE: Final = (b"connection", b"close")


class GracefulShutdown:
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

    def closes(self) -> bool:
        """Whether the answer that is now given is the last of its connection."""
        return self.underway or (self._seconds > 0 and random.randrange(ANSWERS_PER_CONNECTION) == 0)

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


def when_told_to_stop(told: Callable[[], None]) -> None:
    """Call this at SIGTERM and SIGINT: uvicorn ends the lifespan only when every answer has ended, streams too."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if callable(before):
            signal.signal(number, _also(before, lambda: loop.call_soon_threadsafe(told)))


def _also(before: Callable[..., Any], told: Callable[[], Any]) -> Callable[..., Any]:
    def handle(number: int, frame: Any) -> None:
        told()
        before(number, frame)

    return handle
