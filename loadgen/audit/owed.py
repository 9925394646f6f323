"""A backup is the beginning of compras' book: what a client was told before it asked for something that is in it is in
it, too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from loadgen.audit.keys import Body, Journal, Place, bought, requests
from loadgen.audit.text import Text
from loadgen.audit.told import Purchase, same
from loadgen.audit.verdict import Verdict

NEVER: Final = -1


class Owed:
    """What clients were told of more than there is in a backup; `settle` it when all journals were read."""

    def __init__(self, verdict: Verdict, purchase: Purchase, rewritten: Callable[[str], bool]) -> None:
        """As `Clients` has them."""
        self._verdict, self._purchase, self._rewritten = verdict, purchase, rewritten
        # The line that is read now.
        self.at = Place(Path(), 0)
        self._told: list[tuple[str, Place, Callable[[], None]]] = []

    def add(self, about: str, wrong: Callable[[], None] | None = None) -> None:
        """This line tells of more. `wrong`: say so, where that had to be in the book."""
        self._told.append((about, self.at, wrong or self._more(about, self.at)))

    def settle(self, journals: Sequence[Journal]) -> None:
        """Raises Unreadable."""
        if not self._told:
            return
        last, later = self._last(journals), set[str]()
        for about, place, wrong in self._told:
            if place.line < last[place.file] and not self._rewritten(about):
                wrong()
            else:
                later.add(about)
        says = "of {count:,} purchases clients were told more than is in this backup: whoever puts it back loses that"
        for promise in (4, 12) if later else ():
            self._verdict.in_part(promise, Text(says, len(later)))

    def _last(self, journals: Sequence[Journal]) -> dict[Path, int]:
        """The last line of each journal that asks, as the first to do so, for what is in the book. Who asks in two
        journals may have done so in the other one before."""
        first: dict[str, tuple[Body, Place] | None] = {}
        for about, body, place in requests(journals):
            known = first.setdefault(about, (body, place))
            if known is not None and known[1].file != place.file:
                first[about] = None
        last: dict[Path, int] = defaultdict(lambda: NEVER)
        for about, known in reversed(first.items()):
            if known is not None and known[1].line > last[known[1].file] and not self._rewritten(about):
                found = self._purchase(about)
                if found is not None and same(known[0], bought(found[0])):
                    last[known[1].file] = known[1].line
        return last

    def _more(self, about: str, place: Place) -> Callable[[], None]:
        why = "it was told more, before what is in the backup was asked for"
        return lambda: self._verdict.breach(4, about, why, book="clients", where=str(place))
