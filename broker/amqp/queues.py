"""What `../topology.py` lists, held against what stands in the broker: seen, and made again where that is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import ChannelAccessRefused

from broker.amqp.calls import UNKNOWN, close, lost_is_unknown, open_channel
from broker.services import SERVICES, Service
from broker.topology import BINDINGS, DEAD_LETTER_EXCHANGE, EXCHANGE, EXCHANGE_TYPE, QUEUES, dead_letter_queue

log = structlog.get_logger()

ROUTES: Final = {
    service: tuple(route for route in BINDINGS if route[2] in (service, dead_letter_queue(service)))
    for service in SERVICES
}


async def check(connection: AbstractConnection, service: Service, seconds: float) -> list[str]:
    """See every queue, and make what is missing where that is allowed. Returns the queues that were missing. Raises
    ConnectionError when one may not be made, or does not answer.

    `mandatory` notices only that no queue took a message: with two listeners, a missing queue would lose its copy.
    """
    missing = [name for name in QUEUES if not await _exists(connection, name, seconds)]
    # Always: a queue that somebody else is just making may not have its bindings yet.
    channel = await open_channel(connection, seconds)
    try:
        await _declare(channel, seconds)
    except ChannelAccessRefused:
        # A cluster's broker made it all before it let anybody in, and lets nobody else do it.
        if missing:
            raise ConnectionError(f"queue {missing[0]} is missing, and {service} may not make it") from None
        return []
    await close(channel, seconds)
    return missing


async def keep_routes(
    ask: Callable[[], AbstractConnection | None], service: Service, every_seconds: float, call_seconds: float
) -> None:
    """Make again what of a service's own routes somebody took away: while another queue takes the message the broker
    confirms it, and nobody is told. Returns when more than a route is gone. `ask`: a connection that is not blocked."""
    allowed = True
    while True:
        await asyncio.sleep(every_seconds)
        if (connection := ask()) is None:
            continue
        was_allowed = allowed
        try:
            with lost_is_unknown():
                allowed = await _bind(connection, service, call_seconds)
        except ChannelNotFoundEntity as error:
            log.warning("a queue or an exchange is gone: checking the topology again", error=str(error))
            return
        except UNKNOWN:
            continue
        if was_allowed and not allowed:
            log.warning("the broker lets us bind nothing: a route that is taken away stays away, and nobody sees it")


async def _bind(connection: AbstractConnection, service: Service, seconds: float) -> bool:
    """Whether they are bound or not: the broker does not tell. Returns whether that is allowed."""
    channel = await open_channel(connection, seconds)
    try:
        for exchange, key, name in ROUTES[service]:
            queue = await channel.get_queue(name, ensure=False)
            await queue.bind(exchange, routing_key=key, timeout=seconds)
    except ChannelAccessRefused:
        return False
    await close(channel, seconds)
    return True


async def _exists(connection: AbstractConnection, name: str, seconds: float) -> bool:
    # A queue that is not there costs the channel.
    channel = await open_channel(connection, seconds)
    try:
        await channel.declare_queue(name, passive=True, timeout=seconds)
    except ChannelNotFoundEntity:
        return False
    except TimeoutError:
        raise ConnectionError(f"queue {name} does not answer: `zoco doctor` tells why") from None
    await close(channel, seconds)
    return True


async def _declare(channel: AbstractChannel, seconds: float) -> None:
    exchanges = {
        name: await channel.declare_exchange(name, EXCHANGE_TYPE, durable=True, timeout=seconds)
        for name in (EXCHANGE, DEAD_LETTER_EXCHANGE)
    }
    queues = {
        name: await channel.declare_queue(name, durable=True, arguments=arguments, timeout=seconds)
        for name, arguments in QUEUES.items()
    }
    for exchange, key, queue in BINDINGS:
        await queues[queue].bind(exchanges[exchange], routing_key=key, timeout=seconds)
