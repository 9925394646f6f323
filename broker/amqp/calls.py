"""Calls to the broker through aiormq, and what they may raise: what its libraries mean by it is said here, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from typing import Any, Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

# What a publish, or any other call, may raise when nobody knows whether it took effect: do it again.
UNKNOWN: Final = (AMQPError, ChannelInvalidStateError, ConnectionError, OSError, TimeoutError)


@contextlib.contextmanager
def lost_is_unknown() -> Iterator[None]:
    """When a connection is stuck aiormq cancels whoever waits, and when one closes it may raise a bare Exception."""
    try:
        yield
    except asyncio.CancelledError:
        if somebody_cancelled_us():
            raise
        raise ConnectionError("the connection was found stuck") from None
    except Exception as error:
        if type(error) is Exception:
            raise ConnectionError("the connection was closed") from error
        raise


def somebody_cancelled_us() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def open_channel(connection: AbstractConnection, seconds: float, **how: bool) -> AbstractChannel:
    """Raises TimeoutError: aiormq has none for this call, and waits for ever on a connection that is blocked or whose
    answer was lost."""
    try:
        async with asyncio.timeout(seconds):
            return await connection.channel(**how)
    except RuntimeError as error:
        # What aiormq says of a connection that has just closed.
        raise ConnectionError(str(error)) from error


async def close(what: AbstractChannel | AbstractConnection, seconds: float) -> None:
    """Raises TimeoutError: aiormq waits for ever for the answer."""
    async with asyncio.timeout(seconds):
        await what.close()


async def number_and_frame_max(channel: AbstractChannel) -> tuple[int, int]:
    underlay = await channel.get_underlay_channel()
    return underlay.number, underlay.connection.connection_tune.frame_max


async def first_of(*what: Awaitable[Any]) -> None:
    """Return when one of these is done, and raise what it raised; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in what]
    try:
        if somebody_cancelled_us():
            # Python 3.11's `wait_for`, which aiormq uses, swallows a cancellation now and then.
            raise asyncio.CancelledError
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
