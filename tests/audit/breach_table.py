"""The table of breaches in docs/guarantees.md.

python tests/audit/breach_table.py writes it anew.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from audit_stories import STORIES
from breaches import BY_HAND, Breach
from generated_breaches import LEFT_OUT, generated

from loadgen.audit.verdict import PROMISES

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "guarantees.md"
BEGINS: Final = "<!-- breaches: tests/audit/breach_table.py writes this -->\n"
ENDS: Final = "<!-- end of breaches -->\n"
# Of the breaches of one promise so many are named.
NAMED: Final = 6
SEED: Final = 1


def written(folder: Path) -> dict[str, Path]:
    """The books of every story but the full line, which takes long."""
    books = {}
    for name, story in STORIES.items():
        if name != "full line":
            books[name] = folder / name.replace(" ", "-")
            story.write(books[name], SEED)
    return books


def promise_of(breach: Breach) -> int:
    """Of several the most telling: that something is no effect of its message is so of nearly all."""
    return min(breach.promises - {7}, default=7)


def table(books: Mapping[str, Path]) -> str:
    """What stands between the marks."""
    made = list(generated(books))
    rows = [_row(number, [one for one in BY_HAND if promise_of(one) == number], made) for number in PROMISES]
    left_out = [f"| {what} | {why} |" for what, why in LEFT_OUT.items()]
    return "\n".join(
        [
            f"{len(BY_HAND) + len(made)} breaches, {len(BY_HAND)} of them written by hand, in the books of "
            f"{len(STORIES)} stories ({', '.join(STORIES)}). A breach whose design leaves",
            "open which promise it breaks stands in the first of its rows. All are caught by a promise of their own.",
            "",
            "| breaks | by hand | from every field | some of those by hand |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "Not in the catalogue, as a shop that keeps every promise could have written it:",
            "",
            "| left out | why |",
            "| --- | --- |",
            *left_out,
            "",
        ]
    )


def _row(number: int, by_hand: Sequence[Breach], made: Sequence[Breach]) -> str:
    count = sum(promise_of(one) == number for one in made)
    step = max(1, -(-len(by_hand) // NAMED))
    names = "; ".join(one.name for one in by_hand[::step])
    return f"| promise {number} | {len(by_hand)} | {count} | {names} |"


def stands(document: str) -> str:
    """The table that is in the document."""
    found = re.search(f"{re.escape(BEGINS)}(.*?){re.escape(ENDS)}", document, re.DOTALL)
    assert found, f"{DOCUMENT} has no place for the table of breaches"
    return found[1]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        new = table(written(Path(place)))
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(text.replace(BEGINS + stands(text) + ENDS, BEGINS + new + ENDS), encoding="utf-8")
