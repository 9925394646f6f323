"""What `zoco doctor` finds: of each thing that was looked at, whether it is well, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from ops.i18n import Text


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    well: bool
    says: str


def well(what: str, says: str, *values: object) -> Finding:
    return Finding(what, True, Text(says, *values))


def bad(what: str, says: str, *values: object) -> Finding:
    return Finding(what, False, Text(says, *values))
