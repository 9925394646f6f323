"""A console that speaks the reader's language."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console

from broker.texts import printable
from ops.i18n import Text, say

if TYPE_CHECKING:
    from rich.table import Table


class Speaker(Console):
    """Prints sentences in the reader's language; tables and panels bring theirs along."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=True, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(say(one) if isinstance(one, str) else one for one in objects), **options)

    def say(self, text: str, *values: object) -> None:
        """Nothing that fills it is markup: a path may have brackets."""
        self.print(Text(text, *values), markup=False)

    def json(self, value: Any) -> None:
        """For a program or a person; whatever strangers wrote into it, no terminal obeys it."""
        text = json.dumps(value, ensure_ascii=False, indent=2)
        self.out("\n".join(map(plain, text.split("\n"))), highlight=False)


def plain(text: str) -> str:
    """What a stranger wrote, fit for a terminal: what cannot be printed is shown as an escape, as JSON has it."""
    return text if printable(text) else "".join(map(_shown, text))


def _shown(char: str) -> str:
    if printable(char):
        return char
    pair = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pair[at : at + 2].hex()}" for at in range(0, len(pair), 2))


def table(*headings: str) -> Table:
    # A fifth of the time that a command without a table takes to start.
    from rich.table import Table  # noqa: PLC0415

    return Table(*map(say, headings))


def strangers_row(shown: Table, *cells: str) -> None:
    """Add what strangers wrote: it is neither markup nor a command to the terminal."""
    from rich.text import Text as Cell  # noqa: PLC0415

    shown.add_row(*(Cell(plain(cell)) for cell in cells))
