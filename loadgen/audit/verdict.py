"""What an audit found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

PROMISES: Final = {
    1: "money: balances and the prices of what was sold are what was there and what was added",
    2: "no balance below zero",
    3: "a token has at most one buyer",
    4: "every purchase that was accepted reaches exactly one end",
    5: "one record for each confirmed purchase, none for another, numbered without gaps",
    6: "confirmed means token sold to that buyer and money taken once; refused means neither",
    7: "no effect without its message",
    8: "what a journal comes to is what the service answers",
    9: "one effect per message id",
    10: "one buyer and key: one purchase, one answer",
    11: "dead letters are empty",
    12: "what each client was told agrees with the books",
    13: "who asked before the winner was refused for a reason of their own, or found the line full",
}
# More breaches of one promise than this are counted, not listed.
LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken promise: about what, what each side says, and where that is written."""

    promise: int
    about: str
    says: str


@dataclass(slots=True)
class Verdict:
    """What the audit found. `unchecked` are promises for which there was nothing to look at."""

    breaches: list[Breach] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    unchecked: dict[int, str] = field(default_factory=dict)
    accepted: int = 0
    sold: int = 0
    refused: int = 0
    unfinished: int = 0
    doubled: int = 0
    oversold: int = 0

    @property
    def holds(self) -> bool:
        return not self.counts

    @property
    def lost(self) -> int:
        """Purchases that were accepted and have no end."""
        return self.counts[4]

    def breach(self, promise: int, about: str, says: str) -> None:
        self.counts[promise] += 1
        if self.counts[promise] <= LISTED:
            self.breaches.append(Breach(promise, about, says))

    def as_json(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "accepted": self.accepted,
            "sold": self.sold,
            "refused": self.refused,
            "lost": self.lost,
            "doubled": self.doubled,
            "oversold": self.oversold,
            "promises": {
                str(number): {
                    "text": text,
                    "breaches": self.counts[number],
                    "unchecked": self.unchecked.get(number),
                }
                for number, text in PROMISES.items()
            },
            "breaches": [{"promise": b.promise, "about": b.about, "says": b.says} for b in self.breaches],
        }
