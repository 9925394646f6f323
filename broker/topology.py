"""What stands in the broker: one exchange, a queue for each service, and its dead letters. Declared from nowhere else.

A service checks that it is there, and makes it where it may. A cluster loads `definitions` instead, so that services
there need no right to declare.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.messages import CONSUMERS, PRODUCERS
from broker.services import SERVICES, Service

EXCHANGE: Final = "zoco"
DEAD_LETTER_EXCHANGE: Final = "zoco.muertos"
# Sees how long the queues are, in the management API, and nothing else: for whoever makes more pods of a longer queue.
MONITOR: Final = "monitor"
# The routing keys of the dead-letter exchange are the services' names: a topic exchange, so that the broker can keep
# each service to its own.
EXCHANGE_TYPE: Final = "topic"


def dead_letter_queue(service: Service) -> str:
    return f"{service}.muertos"


def queue_arguments(service: Service) -> dict[str, Any]:
    """Nothing is dropped: not after 20 deliveries (RabbitMQ 4's default), not for want of room, not on the way to
    the dead letters. Poison is found by decoding, not by counting. See tests/faults/test_process_faults.py."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1_000_000,
        "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE,
        "x-dead-letter-routing-key": service,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


QUEUES: Final[dict[str, dict[str, Any]]] = {
    **{service: queue_arguments(service) for service in SERVICES},
    # To list dead letters is to deliver them and to put them back: 4.x would drop them after 20 times.
    **{dead_letter_queue(service): {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000} for service in SERVICES},
}

# (exchange, routing key, queue)
BINDINGS: Final[tuple[tuple[str, str, str], ...]] = (
    *((EXCHANGE, model.type, service) for model, services in CONSUMERS.items() for service in services),
    *((DEAD_LETTER_EXCHANGE, service, dead_letter_queue(service)) for service in SERVICES),
)


def definitions(passwords: Mapping[str, str], *, operator: str = "operador") -> dict[str, Any]:
    """RabbitMQ's definitions file: the table above, a user for each service with the least rights, and `operator`.

    `passwords` has one for each service, for the operator, who may do everything and sees the management UI, and for
    the monitor.
    """
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            *({"name": name, **_credentials(passwords[name]), "tags": []} for name in SERVICES),
            {"name": operator, **_credentials(passwords[operator]), "tags": ["administrator"]},
            {"name": MONITOR, **_credentials(passwords[MONITOR]), "tags": ["monitoring"]},
        ],
        "permissions": [
            *({"user": name, "vhost": "/", **_rights(name)} for name in SERVICES),
            {"user": operator, "vhost": "/", **everything},
            {"user": MONITOR, "vhost": "/", **dict.fromkeys(everything, "^$")},
        ],
        "topic_permissions": [
            # To read under a key is to bind one's queue to it: what a service hears, and nothing else.
            {"user": service, "vhost": "/", "exchange": exchange, "write": _one_of(said), "read": _one_of(heard)}
            for service in SERVICES
            for exchange, said, heard in (
                (EXCHANGE, says(service), hears(service)),
                (DEAD_LETTER_EXCHANGE, [str(service)], [str(service)]),
            )
        ],
        "exchanges": [
            {"name": name, "vhost": "/", "type": EXCHANGE_TYPE, "durable": True, "auto_delete": False, "arguments": {}}
            for name in (EXCHANGE, DEAD_LETTER_EXCHANGE)
        ],
        "queues": [
            {"name": name, "vhost": "/", "durable": True, "auto_delete": False, "arguments": arguments}
            for name, arguments in QUEUES.items()
        ],
        "bindings": [
            {
                "source": exchange,
                "vhost": "/",
                "destination": queue,
                "destination_type": "queue",
                "routing_key": key,
                "arguments": {},
            }
            for exchange, key, queue in BINDINGS
        ],
    }


def says(service: Service) -> list[str]:
    """The routing keys that a service publishes under."""
    return [model.type for model, services in PRODUCERS.items() if service in services]


def hears(service: Service) -> list[str]:
    """The routing keys that a service's queue is bound to."""
    return [model.type for model, services in CONSUMERS.items() if service in services]


def _rights(service: Service) -> dict[str, str]:
    return {
        "configure": "^$",
        # Its own queues, so that it may bind them again when somebody took a route away.
        "write": _one_of([EXCHANGE, DEAD_LETTER_EXCHANGE, service, dead_letter_queue(service)]),
        "read": _one_of([service, EXCHANGE, DEAD_LETTER_EXCHANGE]),
    }


def _one_of(names: Sequence[str]) -> str:
    return f"^({'|'.join(re.escape(name) for name in names)})$"


def _credentials(password: str) -> dict[str, str]:
    """RabbitMQ's salted hash: base64(salt + SHA-256(salt + password)), with four bytes of salt."""
    salt = os.urandom(4)
    digest = hashlib.sha256(salt + password.encode()).digest()
    return {
        "password_hash": base64.b64encode(salt + digest).decode(),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
    }
