"""The negative controls: which guarantees a drill can take away, and which drill then has to fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Control:
    """The scenario that misses the guarantee, and all that is taken away: one net would hide the loss of another."""

    says: str
    scenario: str
    takes_away: tuple[str, ...]


CONTROLS: Final[dict[str, Control]] = {}
