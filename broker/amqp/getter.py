"""Messages taken one by one, as an operator does, whatever is in them: aiormq would read each, and end on some."""

from __future__ import annotations

import asyncio
from typing import Final

from broker.amqp.frames import Consumer, Delivered, short
from broker.amqp.tap import METHOD, FrameTap, frame

GET: Final = 60 << 16 | 70
GET_OK: Final = 60 << 16 | 71
GET_EMPTY: Final = 60 << 16 | 72


class Getter(Consumer):
    """Takes what it asks for, on a channel of its own."""

    def __init__(self, line: FrameTap, number: int) -> None:
        super().__init__(line, number, self._got)
        self._answer: asyncio.Future[Delivered | None] | None = None

    async def get(self, queue: str, seconds: float) -> Delivered | None:
        """The next message, None when there is none. Raises TimeoutError, ConnectionError."""
        self._answer = asyncio.get_running_loop().create_future()
        self._line.write(frame(METHOD, self._number, GET.to_bytes(4, "big") + b"\0\0" + short(queue) + b"\0"))
        return await asyncio.wait_for(self._answer, seconds)

    def _said(self, method: int, payload: bytes) -> bool:
        if method == GET_EMPTY:
            self._got(None)
            return True
        if method != GET_OK:
            return False
        # As a delivery has it, to a consumer without a tag.
        self._method = payload[:4] + b"\0" + payload[4:]
        return True

    def _got(self, raw: Delivered | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(raw)
