"""What a person can mend."""

from __future__ import annotations


class UserError(Exception):
    """One sentence that says what is wrong and what to do. A command ends with it, and exit code 2."""
