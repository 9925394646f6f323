"""What no answer tells alone: who asked for what under a key, and whether anybody had by then.

The order of one client's lines is believed, and no clock. Who asks first in one journal may come second where another
one has the same key; and where others may buy, too, whose journals are not at hand, one of theirs may have it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from loadgen.audit import model
from loadgen.audit.text import Text
from loadgen.audit.told import Purchase, same
from loadgen.audit.verdict import UNSET, Verdict

NAMESPACE: Final = uuid5(NAMESPACE_URL, "urn:zoco:compra").bytes
# Why who asks for a token that is sold is refused, and no other reason is looked at.
TOO_LATE: Final = "token-vendido"
BY_OTHERS: Final = Text("somebody whose journal was not given may have used a client's key")
# Buyer, token, and the most that they would pay.
Body = tuple[int, int, int | None]


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a client's journal."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


# A journal: its file, and what reads its notes, each with its line.
Journal = tuple[Path, Callable[[], Iterator[tuple[int, dict[str, Any]]]]]


class Keys:
    """Doubts, as they are met with; `settle` them when all journals were read."""

    def __init__(self, verdict: Verdict, purchase: Purchase) -> None:
        self._verdict, self._purchase = verdict, purchase
        self._unanswered: dict[str, tuple[Body, Place]] = {}
        self._used: dict[str, Place] = {}
        self._seen: dict[str, Place] = {}
        self._late: dict[str, Place] = {}
        # What is wrong, if nobody but these clients bought: as `breach` takes it.
        self._found: list[tuple[Any, ...]] = []

    def breach(
        self, promise: int, about: str, why: str, place: Place, field: str = "", stands: Any = UNSET, rules: Any = UNSET
    ) -> None:
        """What stands at this place of a journal breaks this promise."""
        where = str(place)
        self._verdict.breach(promise, about, why, book="clients", where=where, field=field, stands=stands, rules=rules)

    def unanswered(self, about: str, body: Body, place: Place) -> None:
        """Nobody said what became of this request."""
        self._unanswered[about] = body, place

    def answered(self, about: str, row: dict[str, Any]) -> None:
        """It was told of a purchase, which came to this."""
        self._unanswered.pop(about, None)
        if not _in_time(row):
            self._late.pop(about, None)

    def used(self, about: str, place: Place) -> None:
        """It was told here that its key was used for something else."""
        self._used.setdefault(about, place)

    def seen(self, about: str, place: Place) -> None:
        """It was seen here, and may have been asked for only later."""
        self._seen.setdefault(about, place)

    def late(self, about: str, place: Place) -> None:
        """It was asked for here, when its client knew that the token was sold."""
        self._late.setdefault(about, place)

    def settle(self, journals: Iterable[Journal], *, whole: bool) -> None:
        """Read the journals again, if there are doubts; `whole`: they lack nothing at their ends. Raises Unreadable."""
        if not (rows := dict(self._doubts())):
            return
        places: dict[str, list[Place]] = defaultdict(list)
        abouts: set[str] = set()
        for about, body, place in requests(journals):
            abouts.add(about)
            if about in rows and same(body, bought(rows[about])):
                places[about].append(place)
        for about, row in rows.items():
            if about in places:
                self._in_order(about, row, places[about])
            elif about in self._used:
                self._of_nobody(about)
            elif about in self._unanswered and whole:
                body, place = self._unanswered[about]
                why = "the book has something else than was asked for"
                self._found.append((12, about, why, place, "asks", body, bought(row)))
        if self._found:
            known = sum(self._purchase(about) is not None for about in abouts)
            self._say(alone=self._verdict.alone or known == self._verdict.accepted)

    def _say(self, *, alone: bool) -> None:
        """`alone`: these clients asked for all that was ever bought."""
        for found in self._found:
            if alone:
                self.breach(*found)
            else:
                self._by_others(found[0])

    def _doubts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The purchases of which there is a doubt after all, each with its row."""
        all_ = (self._unanswered, self._used, self._seen, self._late)
        for about in [*dict.fromkeys(one for doubts in all_ for one in doubts)]:
            if (found := self._purchase(about)) is None:
                continue
            row = found[0]
            if (doubt := self._unanswered.get(about)) and same(doubt[0], bought(row)):
                del self._unanswered[about]
            if not _in_time(row):
                self._late.pop(about, None)
            if any(about in doubts for doubts in all_):
                yield about, row

    def _in_order(self, about: str, row: dict[str, Any], asks: list[Place]) -> None:
        """Who asked for what the book has did so in these places."""
        if place := _before(self._used.get(about), asks):
            why = "it was told that its key is used, and nobody had used it by then"
            self._found.append((10, about, why, place))
        if place := _before(self._seen.get(about), asks):
            why = "it was seen, and nobody had asked for it by then"
            self._found.append((12, about, why, place))
        elif place := _before(self._late.get(about), asks):
            why = "it was asked for when its client knew that the token was sold"
            self._found.append((12, about, why, place, "motivo", row.get("motivo"), TOO_LATE))

    def _of_nobody(self, about: str) -> None:
        """Its key was used for what none of these clients asked for."""
        if self._verdict.alone:
            why = "it was told that its key is used, and nobody asked for what the book has"
            self.breach(10, about, why, self._used[about])
        else:
            self._by_others(10)

    def _by_others(self, promise: int) -> None:
        self._verdict.in_part(promise, BY_OTHERS)


def requests(journals: Iterable[Journal]) -> Iterator[tuple[str, Body, Place]]:
    """All requests but the bad ones. Raises Unreadable."""
    for file, notes in journals:
        for line, note in notes():
            if note.get("asks"):
                yield *asked(note), Place(file, line)


def _in_time(row: dict[str, Any]) -> bool:
    """Whether it came to what no purchase comes to that is asked for when the token is sold."""
    return row.get("estado") in model.PAID or row.get("motivo") not in (None, TOO_LATE)


def _before(place: Place | None, asks: list[Place]) -> Place | None:
    """This place, if all who asked did so behind it: in the same journal, as of two nobody knows which was first."""
    if place is None or any(one.file != place.file or one.line < place.line for one in asks):
        return None
    return place


def bought(row: dict[str, Any]) -> Any:
    """What a purchase in the book was asked for as (Body)."""
    return row.get("usuario_id"), row.get("token_id"), row.get("precio_maximo")


def asked(note: dict[str, Any]) -> tuple[str, Body]:
    """The purchase that a request makes, and what it asks for."""
    asks = note["asks"]
    body = asks["usuarioId"], asks["tokenId"], asks.get("precioMaximo")
    return purchase_id(asks["usuarioId"], note["key"]), body


def purchase_id(usuario: int, key: str) -> str:
    """What the design makes of a buyer and a key."""
    return _uuid5(f"{usuario}:{key}")


def entry_id(key: str) -> str:
    """The same of an operator's entry and its key."""
    return _uuid5(f"operador:{key}")


def _uuid5(name: str) -> str:
    """A UUID, version 5; `uuid.uuid5` takes three times as long."""
    digest = hashlib.sha1(NAMESPACE + name.encode()).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
