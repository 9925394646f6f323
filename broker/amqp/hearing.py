"""What a delivery means to a service: a message, poison with its reason, or nothing that is its own to hear."""

from __future__ import annotations

from typing import Final

import structlog

from broker.amqp.frames import Delivered
from broker.heights import HEADER
from broker.messages import CONSUMERS, Message, Poison, decode
from broker.services import Service
from broker.topology import EXCHANGE

log = structlog.get_logger()

# Of so many types that are not ours to hear the log tells once: a stranger could think of any number.
STRANGE_TYPES: Final = 20


class Hearing:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._heard = frozenset(model.type for model, services in CONSUMERS.items() if service in services)
        self._strange: set[str] = set()

    def read(self, raw: Delivered, received_at: str) -> Message | None:
        """None: a copy of what others hear, by a route that is not in the table. Raises Poison."""
        if raw.exchange == EXCHANGE and raw.routing_key not in self._heard:
            self._note(raw.routing_key)
            return None
        message = decode(_type(raw), raw.body, received_at, raw.header(HEADER))
        if message.type not in self._heard:
            # Somebody put it into our queue alone.
            raise Poison(f"{self._service} does not hear {message.type}")
        return message

    def _note(self, key: str) -> None:
        if key not in self._strange and len(self._strange) < STRANGE_TYPES:
            self._strange.add(key)
            log.warning("passed over what is not ours to hear: who bound our queue to it?", type=repr(key))


def _type(raw: Delivered) -> str:
    """What it says it is. Raises Poison.

    Whoever publishes to the exchange may use only the routing keys that are its own (`topology.definitions`), so the
    property may not say another. A replay comes straight to the queue, by the name of the queue.
    """
    key = raw.routing_key
    if raw.exchange != EXCHANGE:
        return raw.type or key
    if not raw.says(key):
        raise Poison(f"it came as {key!r} and says that it is {raw.type!r}")
    return key
