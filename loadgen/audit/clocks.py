"""What comes before what, though clocks may be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

# Records are dated in their order; one whose clock was further ahead than this is not waited for.
AHEAD: Final = timedelta(seconds=60)


def earlier(time: str, last: str) -> bool:
    """Whether a record of `time` cannot stand behind one of `last`."""
    return time < last and datetime.fromisoformat(last) - datetime.fromisoformat(time) <= AHEAD


def moment(fecha: str) -> str:
    """What two dates are compared by: with its Z, a whole second would come after its own fractions."""
    return fecha.removesuffix("Z")


def entered(entry: Mapping[str, Any]) -> tuple[int, str]:
    """By what the later of two entries is told: the shop's own number, then the date."""
    return entry.get("orden") or 0, moment(entry["fecha"])


def number(entry: Mapping[str, Any]) -> dict[str, int]:
    return {"orden": entry["orden"]} if entry.get("orden") else {}
