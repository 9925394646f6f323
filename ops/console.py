"""A console that speaks the reader's language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

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


def table(*headings: str) -> Table:
    # A fifth of the time that a command without a table takes to start.
    from rich.table import Table  # noqa: PLC0415

    return Table(*map(say, headings))
