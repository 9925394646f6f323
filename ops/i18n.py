"""What the command `zoco` says to a person, in the language of their terminal.

The programs speak English to each other: in errors, JSON and logs. What is printed for a person is put into Spanish
where it is printed, by the table in `ops/spanish.py`; what is not in it (a path, a service's own words) stays as it is.
"""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from ops.spanish import SPANISH

if TYPE_CHECKING:
    from rich.table import Table

# The first of these that is set decides, as POSIX has it.
VARIABLES: Final = ("LC_ALL", "LC_MESSAGES", "LANG")


@functools.cache
def in_spanish() -> bool:
    told = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), "")
    return re.match(r"es(_|\.|@|$)", told) is not None


def say(text: str) -> str:
    """The same for the reader: the text itself, or its Spanish form."""
    return spanish(text) if in_spanish() else text


class Speaker(Console):
    """A console that prints sentences in the reader's language; tables and panels bring theirs along."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, soft_wrap=True, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(say(one) if isinstance(one, str) else one for one in objects), **options)


def table(*headings: str) -> Table:
    # A fifth of the time that a command without a table takes to start.
    from rich.table import Table  # noqa: PLC0415

    return Table(*map(say, headings))


class _Found(str):
    """What stood in a `{}`: `{0:say}` in the Spanish form puts it into Spanish, too."""

    def __format__(self, spec: str) -> str:
        return spanish(self) if spec == "say" else str(self)


def spanish(text: str) -> str:
    """The Spanish form, or the text itself."""
    if text in SPANISH:
        return SPANISH[text]
    for pattern, form in _patterns():
        if found := pattern.fullmatch(text):
            return form.format(*map(_Found, found.groups()))
    return text


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """The sentences with something to fill in: first those with a beginning of their own, then by their length."""
    filled = [english for english in SPANISH if "{}" in english]
    filled.sort(key=lambda text: (text.startswith("{}"), -len(text)))
    return [
        (re.compile("(.*?)".join(map(re.escape, english.split("{}"))), re.DOTALL), SPANISH[english])
        for english in filled
    ]
