"""What Zoco says to a person, in the language of their terminal: gettext, and `ops/locale/`.

The programs speak English to each other: in errors, JSON and logs. A sentence is made in English as a `Text`, and put
into the reader's language where it is printed, by `say`. What has no translation (a path, a service's own words) stays
as it is. `make i18n` takes the sentences from the code; CONTRIBUTING.md says how to add one.
"""

from __future__ import annotations

import functools
import gettext
import os
from pathlib import Path
from string import Formatter
from typing import Final, Self

# The first of these that is set decides, as POSIX has it.
VARIABLES: Final = ("LC_ALL", "LC_MESSAGES", "LANG")
LOCALE: Final = Path(__file__).with_name("locale")


class Text(str):
    """A sentence in English that remembers its template and the values of its fields, in the template's order: so it
    can still be said in another language. tests/unit/test_i18n.py counts them."""

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


@functools.cache
def catalogue() -> gettext.NullTranslations:
    told = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), "C")
    return gettext.translation("zoco", LOCALE, [told], fallback=True)


def language() -> str:
    """As HTML has it."""
    return catalogue().info().get("language", "en")


def say(text: str, /, *values: object) -> str:
    """A sentence in the reader's language, and in it those that fill it.

    It is a Text, or the template and the values of one, or what somebody made in the same way: `loadgen/audit` has a
    Text of its own, as it imports nothing of ours.
    """
    text = Text(text, *values) if values else text
    template: str = getattr(text, "template", text)
    fields: dict[str, object] = getattr(text, "fields", {})
    # Of nothing gettext would say who translated.
    said = catalogue().gettext(template) if template else ""
    return said.format(**{name: _filled(value) for name, value in fields.items()}) if fields else said


def _filled(value: object) -> object:
    """A string that is no Text is a name, even if it reads like a sentence of ours."""
    return say(str(value)) if isinstance(value, Exception) or hasattr(value, "template") else value
