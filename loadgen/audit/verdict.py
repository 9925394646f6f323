"""What an audit found, and how it says so."""

from __future__ import annotations

import json
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
# What stands somewhere is shown up to so many characters.
SHOWN: Final = 300


class Unset:
    """What is not there at all, which is something else than null."""

    def __repr__(self) -> str:
        return "-"

    def __reduce__(self) -> str:
        """There is one in each process."""
        return "UNSET"


UNSET: Final = Unset()


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken promise: about what, why, where that is written, what stands there and what the rules say.

    `book` is the service whose book it is, `where` file and line. `field` is empty where it is not about one.
    """

    promise: int
    about: str
    why: str
    book: str = ""
    where: str = ""
    field: str = ""
    stands: Any = UNSET
    rules: Any = UNSET

    @property
    def says(self) -> str:
        """In one line."""
        if not self.field:
            return f"{self.why}, see {self.where}" if self.where else self.why
        stands, rules = text(self.stands), text(self.rules)
        if not self.where:
            return f"{self.why}: {self.field} is {stands}, by the rules {rules}"
        return f"{self.why}: {self.field} is {stands}, by the rules {rules}, see {self.where}"

    def as_json(self) -> dict[str, Any]:
        found = {"promise": self.promise, "about": self.about, "why": self.why, "says": self.says}
        found |= {"book": self.book or None, "where": self.where or None, "field": self.field or None}
        values = {"stands": self.stands, "rules": self.rules}
        return found | {name: value for name, value in values.items() if value is not UNSET}


def text(value: Any) -> str:
    """A value as JSON, cut where it is long."""
    if value is UNSET:
        return "-"
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=list)
    return written if len(written) <= SHOWN else written[:SHOWN] + "…"


@dataclass(slots=True)
class Work:
    """What was done to come to a verdict."""

    records: Counter[str] = field(default_factory=Counter)
    fields: int = 0
    # Refusals by their reason, each of which was true when it was given.
    reasons: Counter[str] = field(default_factory=Counter)
    # Answers and ends that clients wrote down, and rows that services showed.
    answers: int = 0
    shown: int = 0

    def take_in(self, other: Work) -> None:
        self.records += other.records
        self.fields += other.fields
        self.reasons += other.reasons
        self.answers += other.answers
        self.shown += other.shown

    def as_json(self) -> dict[str, Any]:
        return {
            "recordsDecidedAgain": dict(self.records),
            "fieldsCompared": self.fields,
            "reasonsProved": dict(self.reasons),
            "answersCompared": self.answers,
            "rowsCompared": self.shown,
        }


@dataclass(slots=True)
class Verdict:
    """What the audit found.

    `unchecked` are promises for which there was nothing to look at; `partly` says what of others could not be.
    """

    breaches: list[Breach] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    unchecked: dict[int, str] = field(default_factory=dict)
    partly: dict[int, list[str]] = field(default_factory=dict)
    accepted: int = 0
    sold: int = 0
    refused: int = 0
    # Purchases that were accepted and have no end, or are in no book.
    lost: int = 0
    doubled: int = 0
    oversold: int = 0
    work: Work = field(default_factory=Work)

    @property
    def holds(self) -> bool:
        return not self.counts

    def lists(self, promise: int) -> bool:
        """Whether one more breach of this promise would be listed."""
        return self.counts[promise] < LISTED

    def breach(self, promise: int, about: str, why: str, **more: Any) -> None:
        """`why` is a sentence without figures; book, where, field, stands and rules say what it is about."""
        if self.lists(promise):
            self.breaches.append(Breach(promise, about, why, **more))
        self.counts[promise] += 1

    def in_part(self, promise: int, reason: str) -> None:
        """A promise that was checked, but for this."""
        if reason not in self.partly.setdefault(promise, []):
            self.partly[promise].append(reason)

    def take_in(self, other: Verdict) -> None:
        """What another part of the audit found."""
        for breach in other.breaches:
            if self.lists(breach.promise):
                self.breaches.append(breach)
            self.counts[breach.promise] += 1
            other.counts[breach.promise] -= 1
        # Those that were counted there and not listed.
        self.counts += other.counts
        self.unchecked |= other.unchecked
        for promise, reasons in other.partly.items():
            for reason in reasons:
                self.in_part(promise, reason)
        self.accepted += other.accepted
        self.sold += other.sold
        self.refused += other.refused
        self.lost += other.lost
        self.doubled += other.doubled
        self.oversold += other.oversold
        self.work.take_in(other.work)

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
                    "text": promise,
                    "breaches": self.counts[number],
                    "unchecked": self.unchecked.get(number),
                    "partly": self.partly.get(number, []),
                }
                for number, promise in PROMISES.items()
            },
            "work": self.work.as_json(),
            "breaches": [breach.as_json() for breach in self.breaches],
        }
