"""Codes that let one browser in as the operator, once, within a minute."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import Final

from pydantic import SecretStr

CODE_SECONDS: Final = 60
# Who has the key and asks for more than these at once, gets the first of them forgotten.
MOST_CODES: Final = 100
# With who made it: a secret, an address and a signature.
LONGEST: Final = 1024


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


def with_maker(code: str, url: str, key: SecretStr) -> str:
    """Where several processes give out codes, it says whose it is: signed, as whoever takes it asks at that address."""
    told = f"{code}.{base64.urlsafe_b64encode(url.encode()).decode().rstrip('=')}"
    return f"{told}.{_signed(told, key)}"


def maker_of(told: str, key: SecretStr) -> tuple[str, str | None]:
    """The code, and the address of the process that has it; None if it does not say."""
    said, _, signature = told.rpartition(".")
    if not said or not hmac.compare_digest(signature.encode(), _signed(said, key).encode()):
        return told, None
    code, _, url = said.partition(".")
    return code, base64.urlsafe_b64decode(url + "=" * (-len(url) % 4)).decode()


def _signed(text: str, key: SecretStr) -> str:
    return hmac.new(key.get_secret_value().encode(), f"zoco code {text}".encode(), hashlib.sha256).hexdigest()


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
