"""A socket to the first that answers: of several brokers, and of the several addresses of a name.

What swallows packets would keep whoever asks it for minutes, so the next is tried beside it (RFC 8305). By hand:
uvloop's `create_connection` knows no `happy_eyeballs_delay`, and nobody's knows a list of hosts.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from broker.keepalive import keep_alive

# RFC 8305, section 5: the recommended "Connection Attempt Delay".
STAGGER_SECONDS: Final = 0.25

# A connected socket, and the name that was asked for.
Reached: TypeAlias = tuple[socket.socket, str]
Try: TypeAlias = Callable[[], Coroutine[Any, Any, Reached]]


async def reach(hosts: Sequence[tuple[str, int]]) -> Reached:
    """Connect to one of them, the first before the others. Raises OSError."""
    return await _first([partial(_by_name, host, port) for host, port in hosts])


async def _by_name(host: str, port: int) -> Reached:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await _first([partial(_by_address, host, family, address) for family, *_, address in found])


async def _by_address(host: str, family: int, address: Any) -> Reached:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setblocking(False)
        keep_alive(one)
        await asyncio.get_running_loop().sock_connect(one, address)
    except BaseException:
        one.close()
        raise
    return one, host


async def _first(tries: Sequence[Try]) -> Reached:
    """The first that succeeds, each begun a moment after the one before it, or when that failed. Raises what the first
    failure was."""
    waiting, running = list(tries), set[asyncio.Task[Reached]]()
    failed: list[BaseException] = []
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(waiting.pop(0)()))
            done, _ = await asyncio.wait(
                running, timeout=STAGGER_SECONDS if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                if (error := task.exception()) is None:
                    return task.result()
                failed.append(error)
    finally:
        for task in running:
            _leave(task)
    raise failed[0] if failed else OSError("there is no address to connect to")


def _leave(task: asyncio.Task[Reached]) -> None:
    """Let go of whom nobody waits for any more, also when it has just come."""

    def close(ended: asyncio.Task[Reached]) -> None:
        if not ended.cancelled() and ended.exception() is None:
            ended.result()[0].close()

    task.cancel()
    task.add_done_callback(close)
