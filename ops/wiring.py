"""What each process of a shop is told when it starts: where the others are, its keys, its books."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.services import Service
from ops.places import Place
from ops.running import REPLICA_SECRET, Keys
from ops.secret import secret

# What may be tuned from outside for all services of one `zoco up`.
TUNING: Final = ("BACKLOG_LIMIT", "NUDGE_SECONDS", "PREFETCH", "BATCH", "SNAPSHOT_BYTES", "DISK_RESERVE")


@dataclass(frozen=True, slots=True)
class Wiring:
    """Of one shop. `stores`: each service's part of the database; where there is none, books are files."""

    data: Path
    broker_url: str
    management_url: str | None
    keys: Keys
    urls: Mapping[Service, Sequence[str]]
    stores: Mapping[Service, str]

    def of(self, place: Place) -> dict[str, str]:
        """The environment of this process."""
        # Settings for `zoco` itself are none for a service.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("ZOCO_")}
        tuning = {key: os.environ[key] for name in TUNING if (key := f"ZOCO_{name}") in os.environ}
        others = {f"ZOCO_{other.upper()}_URL": ",".join(urls) for other, urls in self.urls.items()}
        store = self.stores.get(place.service)
        return {
            **inherited,
            **tuning,
            **others,
            "ZOCO_RABBITMQ_URL": self.broker_url,
            **({"ZOCO_STORE": store} if store else {"ZOCO_DATA": str(self.data / place.service)}),
            "ZOCO_PUBLIC_URL": place.url,
            "ZOCO_BOOKS_TOKEN": self.keys.books,
            "ZOCO_LOG": "console",
            **(self._front_door() if place.service == "compras" else {}),
        }

    def _front_door(self) -> dict[str, str]:
        """By what its replicas know each other, what the page shows of this machine, and may do to it."""
        own = {
            "ZOCO_OPERATOR_TOKEN": self.keys.operator,
            "ZOCO_KNOCK_DOWN": f"local:{self.data}",
            "ZOCO_REPLICA_SECRET": secret(self.data / REPLICA_SECRET),
        }
        return own | ({"ZOCO_MANAGEMENT_URL": self.management_url} if self.management_url else {})
