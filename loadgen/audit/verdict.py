"""What an audit found, and how it says so."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from loadgen.audit.text import Text

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
    13: "who asked before the winner was refused for their own reason, or found the line full; nobody is in it twice",
}
# More breaches of one kind than this are counted, not listed.
LISTED: Final = 20
# Where there are many in a field, their numbers make no other kind.
PLACE: Final = re.compile(r"\[\d+\]")
# Of these, what stands there and what the rules say are words of the design: each two of them are a kind of their own.
KINDS: Final = ("type", "motivo", "estado")
# What stands somewhere is shown up to so many characters.
SHOWN: Final = 300


# Up to which record a book (service, identity, generation, branch) was heard of, by whom, and at which place of theirs.
Heard: TypeAlias = dict[tuple[str, str, str, str], tuple[int, str, int]]


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
        said = self.why
        if self.field:
            stands, rules = text(self.stands), text(self.rules)
            said = Text("{why}: {field} is {stands}, by the rules {rules}", said, self.field, stands, rules)
        return Text("{why}, see {where}", said, self.where) if self.where else said

    @property
    def kind(self) -> tuple[Any, ...]:
        """What one bug does again and again is of one kind; a rare one must not be lost among them."""
        place = PLACE.sub("", self.field)
        words = (text(self.stands), text(self.rules)) if place.endswith(KINDS) else ()
        return self.promise, self.book, self.why, place, *words

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
    # The books are as of a moment in which the shop went on; so many purchases had no end yet.
    cut: bool = False
    # Why what has no end in these books may be on its way; None: the shop is at rest, or it was not asked.
    not_quiet: str | None = None
    # What is broken whatever is still on its way, in a shop that did not come to rest; None: it did.
    proven: Counter[int] | None = None
    under_way: int = 0
    # It is a shop of this version, where nobody bought but the clients whose journals there are.
    alone: bool = False
    work: Work = field(default_factory=Work)
    heard: Heard = field(default_factory=dict)
    _listed: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        return not self.counts and self.not_quiet is None

    @property
    def evidence(self) -> Counter[int]:
        """Breaches by promise, without those that a shop at rest need not have had."""
        return self.counts if self.proven is None else self.proven

    def breach(self, promise: int, about: str, why: str, *, where: str | Callable[[], str] = "", **more: Any) -> None:
        """`why` is a sentence without figures; book, where, field, stands and rules say what it is about.

        A `where` that has to be looked for is asked only for what is listed.
        """
        self.counts[promise] += 1
        breach = Breach(promise, about, Text(why), **more)
        if self._lists(breach):
            self.breaches.append(replace(breach, where=where if isinstance(where, str) else where()))

    def _lists(self, breach: Breach) -> bool:
        """Whether one more of its kind is listed."""
        self._listed[breach.kind] += 1
        return self._listed[breach.kind] <= LISTED

    def in_part(self, promise: int, reason: str) -> None:
        """A promise that was checked, but for this."""
        if reason not in self.partly.setdefault(promise, []):
            self.partly[promise].append(Text(reason))

    def goes_on(self) -> bool:
        """Whether what was said and not heard, or accepted and not ended, may be under way. Then that is not judged."""
        if self.cut:
            self.in_part(4, "the books are of a shop that went on: what was under way then is not judged")
        elif self.not_quiet is not None:
            self.in_part(4, "the shop is not at rest: what is under way is not judged")
        return self.unsettled

    @property
    def unsettled(self) -> bool:
        return self.cut or self.not_quiet is not None

    def take_in(self, other: Verdict) -> None:
        """What another part of the audit found."""
        self.breaches += filter(self._lists, other.breaches)
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
        self.under_way += other.under_way
        for book, height in other.heard.items():
            self.heard[book] = max(self.heard.get(book, height), height)
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
            "underWay": self.under_way,
            "notQuiet": self.not_quiet,
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
