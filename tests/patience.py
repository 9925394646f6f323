"""Waiting for what must come: how long it takes is the machine's affair, and no test is about that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

# Only what would never come runs into it. A machine that does much else at the same time takes ten times as long as
# usual: RabbitMQ starts in 5 s here, and in over 40 beside four busy loops.
PATIENCE_SECONDS: Final = 300.0
POLL_SECONDS: Final = 0.05
# `zoco up` ends within 10 s by its own timers, which kill whoever takes longer; the rest is the machine's.
END_SECONDS: Final = 30.0


def wait_until(condition: Callable[[], bool], otherwise: Callable[[], object] | str) -> None:
    """Return when it is so. Fails with `otherwise` when it never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise if isinstance(otherwise, str) else otherwise()
        time.sleep(POLL_SECONDS)


async def eventually(condition: Callable[[], Awaitable[bool]], otherwise: Callable[[], object] | str) -> None:
    """The same for what has to be asked for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, otherwise if isinstance(otherwise, str) else otherwise()
        await asyncio.sleep(POLL_SECONDS)
