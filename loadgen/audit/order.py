"""What a client entered after another entry about the same was answered is the later of the two, by its number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """An entry that was sent: its id, what it is about, and the line of its client's journal."""

    about: str
    subject: tuple[str, Any]
    line: int


class Answered(NamedTuple):
    """An entry that was accepted."""

    about: str


@dataclass(slots=True)
class Order:
    """Of all journals, one after the other. `pairs` are two entries of one client about one user or token, of which the
    first was answered before the second was sent for the first time, and the line at which it was.

    Whoever sent one of them a second time, once it had been answered, or by another client, may have had it counted
    then: after a book was put back from a backup, say.
    """

    pairs: list[tuple[str, str, Path, int]] = field(default_factory=list)
    # In which journal each was sent, and those that may have been counted more than once.
    _by: dict[str, Path] = field(default_factory=dict)
    _again: set[str] = field(default_factory=set)

    def read(self, file: Path, entries: Iterable[Asked | Answered]) -> None:
        """One journal, each entry in its turn."""
        # Of each subject the one that was answered last.
        last: dict[tuple[str, Any], str] = {}
        subjects: dict[str, tuple[str, Any]] = {}
        answered: set[str] = set()
        for entry in entries:
            match entry:
                case Answered(about):
                    answered.add(about)
                    last[subjects[about]] = about
                case Asked(about, subject, line):
                    if about in answered or self._by.get(about, file) != file:
                        self._again.add(about)
                    elif about not in subjects and subject in last:
                        self.pairs.append((last[subject], about, file, line))
                    subjects[about] = subject
                    self._by[about] = file

    def wrong(self, number: Callable[[str], tuple[int, str] | None]) -> Iterable[tuple[str, Path, int]]:
        """Those whose number is no higher. `number`: of an entry, as the book has it; None: it has none."""
        for before, after, file, line in self.pairs:
            if {before, after} & self._again:
                continue
            first, second = number(before), number(after)
            if first is not None and second is not None and second <= first:
                yield after, file, line
