"""What a service knows of the four books, its own among them, and when that is a reason to decide nothing.

Each message says whose book said it, at which record, and what its sender had heard of the others. So a service learns
from the first message that reaches it that its own book is older than what others have heard of it, or another one.
Only what others have heard of this book is evidence against it: late, repeated and reordered words only ever say less.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from broker.heights import Height, heard, rest, sender, written
from broker.services import Service

# So many ends of earlier branches are kept of each of the other books: one for each start of its writer, more or less.
EARLIER: Final = 20


class Doubt(NamedTuple):
    """Whose book is not what it was, and why nothing may be decided now, in one sentence.

    `book` is the one that another service was heard of as: when that says that it holds all of it, the doubt is over.
    A doubt of this book itself ends with the process, when it reads another book. `lost` is up to where another service
    had heard of the one that should be there, which a message may say that nobody else knows of any more; of a peer's
    book, too, a doubt is over with a later generation than that one's.
    """

    of: Service
    says: str
    book: str | None = None
    lost: Height | None = None


class Doubted(Exception):
    """Nothing may be decided: a book is not what others know of it."""

    def __init__(self, doubt: Doubt) -> None:
        super().__init__(doubt.says)
        self.doubt = doubt


class BookHeights:
    """Of one service, as its journal has them."""

    def __init__(self, service: Service, book: str = "", generation: int = 0) -> None:
        self.service = service
        self.book = book
        self.generation = generation
        self.heard: dict[Service, Height] = {}
        # And how far before their writers began anew: whoever asks can tell whether its book is still the same one.
        self._earlier: dict[Service, list[Height]] = {}
        # In this generation, oldest first: the first record of each branch (as in Height), and its name.
        self.branches: list[tuple[int, str]] = []
        # Books that this one holds all of since it was rebuilt; and those of the others of which that is known.
        self.formerly: list[str] = []
        self.replaced: set[str] = set()

    def said(self, seq: int, known: str | None = None) -> str:
        """The heights of a word of this book's record `seq`. `known`: of the others, if it is not what is known now."""
        if not self.book:
            return ""
        behind = self.known() if known is None else known
        branch = f"/{name}" if (name := self._branch(seq)) else ""
        return f"{self.service}/{self.book}/{self.generation}/{seq}{branch} {behind}".rstrip()

    def begins(self, book: str, generation: int, first: int, branch: str) -> None:
        """From this record on its book is written in one go, or was."""
        if (book, generation) != (self.book, self.generation):
            self.book, self.generation, self.branches = book, generation, []
        self.branches.append((first, branch))

    def _branch(self, seq: int) -> str:
        """Of which the record is; "": that is not known."""
        if self.branches and seq >= self.branches[-1][0]:
            return self.branches[-1][1]
        place = bisect_right(self.branches, seq, key=itemgetter(0))
        return self.branches[place - 1][1] if place else ""

    def known(self) -> str:
        """What was heard of the others, as it stands in the journal and travels behind the own height."""
        return written(self.heard.items())

    def hear(self, all_heights: Iterable[str], seq: int) -> dict[Service, Height]:
        """What is known of the others with this, which came with a batch. `seq`: this book's last record.

        Raises Doubted when one of these says that this book, or a sender's, is not what it was: then decide nothing.
        """
        known = dict(self.heard)
        for by, name, at in _entries(all_heights):
            before = known.get(name)
            # Who believed a book that is a part of this one now learns that from this one, once it decides. Or it has
            # not heard yet that the book was written again.
            if self._is_past(at, before) or (name == self.service and at.book in self.formerly):
                continue
            if (doubt := self.doubt(by, name, at, seq)) is not None:
                raise Doubted(doubt)
            if name != self.service and (before is None or self._is_news(before, at)):
                self._keep(name, before, at)
                known[name] = at
        return known

    def settles(self, doubt: Doubt) -> bool:
        """Whether it is over since another service said that its book holds all of the one that was doubted, or goes on
        as a later generation."""
        now = self.heard.get(doubt.of)
        again = now is not None and doubt.lost is not None and now.generation > doubt.lost.generation
        return again or doubt.book in self.replaced

    def state(self, seq: int) -> dict[str, Any]:
        """What is told whoever asks: the heights of record `seq`, which books this one holds all of, and how far the
        others' books had been heard of, each time before one's writer began anew."""
        earlier = [written([(name, at)]) for name, heights in self._earlier.items() for at in heights]
        return {"heights": self.said(seq), "formerly": self.formerly, "earlier": earlier}

    def _keep(self, name: Service, before: Height | None, at: Height) -> None:
        if before is not None and before[:2] != at[:2]:
            self._earlier.pop(name, None)
        elif before is not None and before.branch != at.branch:
            self._earlier[name] = [*self._earlier.get(name, []), before][-EARLIER:]

    def read(self, origin: str, heard_then: str) -> None:
        """Take in what the journal says was heard: whose record a message came from, and what was known of all."""
        for text in (origin, heard_then):
            for _, name, at in _entries([text] if text else ()):
                before = self.heard.get(name)
                # Another book stands there only since it took that one's place.
                if before is None or before.book != at.book or before < at:
                    self._keep(name, before, at)
                    self.heard[name] = at

    def stale(self, heights: str) -> bool:
        """Whether a book said this that was rebuilt since, perhaps without it: what still is true is said again."""
        if (said := sender(heights)) is None:
            return False
        name, at = said
        return self._is_past(at, self.heard.get(name))

    def _is_past(self, at: Height, known: Height | None) -> bool:
        older = known is not None and known.book == at.book and at.generation < known.generation
        return at.book in self.replaced or older

    def doubt(self, by: Service, name: Service, at: Height, seq: int) -> Doubt | None:
        """Whether it is a reason to decide nothing that `by` has heard of this record of `name`."""
        return self._of_own(at, seq, by) if name == self.service else self._of_peer(name, at, by)

    def _is_news(self, before: Height, at: Height) -> bool:
        """Another book, of which that one is a part now; or a later record."""
        return (before.book != at.book and before.book in self.replaced) or (before.book == at.book and before < at)

    def _of_own(self, at: Height, seq: int, by: Service) -> Doubt | None:
        me, cure = self.service, f"`zoco rebuild {self.service}` writes it again from the other three"
        if self.book and at.book != self.book:
            return Doubt(
                me,
                f"this book of {me} is another ({self.book}) than the one ({at.book}) that {by} has heard of, up to "
                f"record {at.seq}: its folder was lost, or another shop uses this broker; {cure}",
                lost=at,
            )
        if (at.generation, at.seq) > (self.generation, seq):
            return Doubt(
                me,
                f"this book of {me} ends at record {seq} of generation {self.generation}, and {by} has heard of record "
                f"{at.seq} of generation {at.generation}: it was put back from an older copy; {cure}",
                lost=at,
            )
        if at.excludes(Height(self.book, self.generation, at.seq, self._branch(at.seq))):
            return Doubt(
                me,
                f"record {at.seq} of this book of {me} is another one than {by} has heard of: it was put back from an "
                f"older copy, and went on; {cure}",
                lost=at,
            )
        return None

    def _of_peer(self, name: Service, at: Height, by: Service) -> Doubt | None:
        known = self.heard.get(name)
        if known is None or known.book in self.replaced:
            return None
        if known.book == at.book:
            return self._of_branch(name, known, at, by)
        return Doubt(
            name,
            f"{by} speaks for a book of {name} ({at.book}) that is another than the one known here ({known.book}): "
            f"{name} lost its folder, which `zoco rebuild {name}` mends, or another shop uses this broker",
            at.book,
        )

    def _of_branch(self, name: Service, known: Height, at: Height, by: Service) -> Doubt | None:
        if not known.excludes(at):
            return None
        return Doubt(
            name,
            f"{by} speaks for a book of {name} that goes on without record {known.seq}, which is known here: it was "
            f"put back from an older copy; `zoco rebuild {name}` writes it again from the other three",
            lost=known,
        )


def as_told(states: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was told whoever asked, as `BookHeights.hear` takes it: first what each says of its own book, as another one
    may not have heard yet that it was written again."""
    heights: list[str] = [state["heights"] for state in states]
    own = [said.partition(" ")[0] for said in heights]
    # A version before this one does not say it.
    earlier = [f"{by} {at}" for by, state in zip(own, states, strict=True) for at in state.get("earlier", ())]
    return [*own, *heights, *earlier]


def _entries(all_heights: Iterable[str]) -> Iterator[tuple[Service, Service, Height]]:
    """Who says it, of whose book, and how high that is."""
    others = ""
    for heights in all_heights:
        if (said := sender(heights)) is None:
            continue
        by, at = said
        yield by, by, at
        # A batch has few of these, for hundreds of messages.
        if (behind := rest(heights)) != others:
            others = behind
            for name, height in heard(behind).items():
                yield by, name, height
