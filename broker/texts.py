"""Texts that others give us: what may be shown as it is, and what an HTTP header can carry."""

from __future__ import annotations

import re
from typing import Final

# Persian, Sinhala and many emoji are written with them (ZWNJ, ZWJ). Python counts them among the controls.
JOINERS: Final = "\u200c\u200d"
_WITHOUT_JOINERS: Final = dict.fromkeys(map(ord, JOINERS))
# A header loses its spaces at the ends, and what is not ASCII each client sends in its own way (RFC 9110, 5.5).
_BEARER: Final = re.compile(r"[\x21-\x7e]{16,}")


def printable(text: str) -> bool:
    """Whether it breaks no line and turns no other text around, on a terminal, in a log, on a page."""
    return text.isprintable() or text.translate(_WITHOUT_JOINERS).isprintable()


def bearer(secret: str) -> str:
    """A secret as it travels in an Authorization header. Raises ValueError where it cannot."""
    secret = secret.strip()
    if not _BEARER.fullmatch(secret):
        raise ValueError("it travels in a header, so it must be 16 or more visible ASCII characters, without spaces")
    return secret
