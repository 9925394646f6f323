"""What the audit says, in English; whoever prints it may put it into another language."""

from __future__ import annotations

from string import Formatter
from typing import Self


class Text(str):
    """A sentence that remembers its template and the values of its fields, in the template's order."""

    template: str
    fields: dict[str, object]

    def __new__(cls, template: str, /, *values: object) -> Self:
        if isinstance(template, cls):
            return template
        names = [name for _, name, _, _ in Formatter().parse(template) if name] if values else []
        fields = dict(zip(names, values, strict=True))
        # Without values it stays as it is, braces and all: so does its copy from a pickle, before its fields are back.
        text = super().__new__(cls, template.format(**fields) if values else template)
        text.template, text.fields = template, fields
        return text

    def __str__(self) -> str:
        """Itself: an error's `str` still knows it."""
        return self


class Unreadable(Exception):
    """The books cannot be read, so nothing is judged. One sentence: what, where, and what to do."""

    def __init__(self, sentence: str, *values: object) -> None:
        super().__init__(Text(sentence, *values))


class NotAShop(Unreadable):
    """What was named is not what it should be: another folder, another shop's journal."""
