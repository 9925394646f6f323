"""Which routes RabbitMQ has, held against `broker/topology.py`; and who else hears what is said.

By the management API of Zoco's own broker: AMQP does not tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from broker.topology import BINDINGS, DEAD_LETTER_EXCHANGE, EXCHANGE, QUEUES
from ops.i18n import Text

# As the API has it: a JSON object.
Told: TypeAlias = Mapping[str, Any]


def compare(bindings: Sequence[Told], queues: Sequence[Told]) -> list[Text]:
    """What is wrong, a sentence each."""
    there = {
        (one["source"], one["routing_key"], one["destination"])
        for one in bindings
        if one["source"] in (EXCHANGE, DEAD_LETTER_EXCHANGE) and one["destination_type"] == "queue"
    }
    wrong = [
        Text("queue {queue} does not hear {key}: its service binds it again within seconds, if it runs", queue, key)
        for _, key, queue in sorted(set(BINDINGS) - there)
    ]
    more = sorted(there - set(BINDINGS))
    says = "queue {queue} is bound to {key} of {exchange}, which is not its own: unbind it"
    wrong += [Text(says, queue, key, exchange) for exchange, key, queue in more if queue in QUEUES]
    hearing = {queue for _, _, queue in more} | QUEUES.keys()
    says = (
        "queue {queue} hears what is said, is full, and refuses what does not fit: so nobody can say it. Take from it, "
        "or unbind it if it is not Zoco's"
    )
    return wrong + [Text(says, one["name"]) for one in queues if one["name"] in hearing and _refuses(one)]


def _refuses(queue: Told) -> bool:
    """Whether it is full, and says so to whoever publishes."""
    limits = {
        **{name.removeprefix("x-"): value for name, value in (queue.get("arguments") or {}).items()},
        **(queue.get("effective_policy_definition") or {}),
    }
    most, bytes_ = limits.get("max-length"), limits.get("max-length-bytes")
    full = (most is not None and queue.get("messages", 0) >= most) or (
        bytes_ is not None and queue.get("message_bytes", 0) >= bytes_
    )
    return full and limits.get("overflow") in ("reject-publish", "reject-publish-dlx")
