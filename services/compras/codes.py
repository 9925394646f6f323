"""Codes that let one browser in as the operator, once, within a minute."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final

CODE_SECONDS: Final = 60
# Who has the key and asks for more than these at once, gets the first of them forgotten.
MOST_CODES: Final = 100


class Codes:
    """Those that this process has given out. They end with it."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def make(self) -> str:
        code = secrets.token_urlsafe(24)
        while len(self._until) >= MOST_CODES:
            del self._until[next(iter(self._until))]
        self._until[_digest(code)] = time.monotonic() + CODE_SECONDS
        return code

    def take(self, code: str) -> bool:
        """Whether it holds. It does so once."""
        return self._until.pop(_digest(code), 0.0) > time.monotonic()


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
