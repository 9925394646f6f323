"""What a person can mend."""

from __future__ import annotations

from ops.i18n import Text


class UserError(Exception):
    """One sentence that says what is wrong and what to do. A command ends with it, and exit code 2."""

    def __init__(self, sentence: str, *values: object) -> None:
        super().__init__(Text(sentence, *values))
