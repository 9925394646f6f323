"""What travels around a message. Of one that we say: CloudEvents' binding for AMQP, readable in the management UI. Of
one that comes: what it means to a service, a message, poison with its reason, or nothing that is its own to hear."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Final
from uuid import NAMESPACE_URL, uuid5

import structlog

from broker.amqp.frames import PERSISTENT, Delivered, Outgoing, known, short, table
from broker.heights import HEADER
from broker.messages import BIT, CONSUMERS, Message, Poison, decode, encode
from broker.services import Service
from broker.topology import EXCHANGE

log = structlog.get_logger()

# content_type, headers, delivery_mode, correlation_id, message_id, timestamp, type, app_id.
_OURS: Final = (1 << 15 | 1 << 13 | 1 << 12 | 1 << 10 | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 3).to_bytes(2, "big")
_JSON: Final = short("application/json")
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


def outgoing(message: Message, service: Service, now: str) -> Outgoing:
    """As this service says it. `now` is its ce-time."""
    subject, message_id = message.subject, message.id
    trace = subject.replace("-", "")
    if len(trace) != 32:
        trace = uuid5(NAMESPACE_URL, subject).hex
    headers = {
        "ce-id": message_id,
        "ce-subject": subject,
        "ce-time": now,
        # Within a trace, which is a purchase, the type tells its messages apart.
        "traceparent": f"00-{trace}-{trace[:14]}{BIT[message.type].bit_length():02x}-01",
    }
    if message.heights:
        headers[HEADER] = message.heights
    packed = properties(
        _of_all(message.type, service) + table(headers),
        subject=subject,
        message_id=message_id,
        type_name=message.type,
        app_id=service,
        timestamp=int(time.time()),
    )
    return Outgoing(EXCHANGE, message.type, packed, encode(message))


@lru_cache
def _of_all(type_name: str, service: Service) -> bytes:
    """The headers that all messages of a type from a service have."""
    return table({"ce-specversion": "1.0", "ce-type": type_name, "ce-source": f"/zoco/{service}"})


def properties(headers: bytes, *, subject: str, message_id: str, type_name: str, app_id: str, timestamp: int) -> bytes:
    """The properties of a message of ours, as they travel. `headers`: a `table`; `timestamp`: seconds since 1970."""
    return b"".join(
        (
            _OURS,
            _JSON,
            len(headers).to_bytes(4, "big"),
            headers,
            PERSISTENT,
            short(subject),
            short(message_id),
            timestamp.to_bytes(8, "big"),
            known(type_name),
            known(app_id),
        )
    )
