"""What a drill can take away, and how it is seen that it was needed. `controls.py` takes it away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Guarantee:
    """The drill's scenario in which its loss shows, and the promises of which at least one must then be broken."""

    scenario: str
    promises: frozenset[int]
    # Of a shop on PostgreSQL, with so many processes; "": its books are files.
    replicas: str = ""


# The one that is no part of a program, but a setting of PostgreSQL's.
ASYNCHRONOUS: Final = "synchronous-replication"
GUARANTEES: Final = {
    "dedupe": Guarantee("all", frozenset({9})),
    "journal": Guarantee("transacciones", frozenset({4, 5, 6, 7})),
    "confirm": Guarantee("broker", frozenset({4})),
    "ack-last": Guarantee("transacciones", frozenset({4, 5})),
    "waiting-line": Guarantee("transacciones", frozenset({4})),
    "epoch": Guarantee("transacciones", frozenset({5, 7, 8})),
    "nudge": Guarantee("wipe", frozenset({4})),
    "heights": Guarantee("old-backup", frozenset({1, 3, 6})),
    "row-lock": Guarantee("transacciones", frozenset({1, 3, 4, 6, 8}), "tokens=3,usuarios=2"),
    "dedup": Guarantee("all", frozenset({9}), "tokens=3,usuarios=2"),
    "wal-on-repeat": Guarantee("failover", frozenset({4, 5, 6, 7}), "tokens=2,usuarios=2,compras=2"),
    ASYNCHRONOUS: Guarantee("failover", frozenset({4, 5, 6, 7}), "tokens=2,usuarios=2,compras=2"),
}
