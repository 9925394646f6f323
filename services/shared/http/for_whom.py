"""For whom a request is made by who makes it for others: a proxy says so in X-Forwarded-For; the front door, that asks
another service, in X-Zoco-For. So each address has its share there, too, and not all of them one.

The front door's word is signed with the books' token, which all four services have, and which is not sent.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from pydantic import SecretStr

from services.shared.http.shares import address_of

FOR: Final = b"x-zoco-for"
# An address, with its zone, and the signature.
LONGEST: Final = 128
# An address as proxies write it: alone, in brackets, with a port, with a zone (RFC 6874).
_V6: Final = r"([0-9a-fA-F:.]{2,45})(?:%[\w.~-]{1,32})?"
_FORWARDED: Final = re.compile(rf"([0-9.]{{7,15}})(?::\d{{1,5}})?|\[{_V6}\](?::\d{{1,5}})?|{_V6}", re.ASCII)


def client_of(headers: Sequence[tuple[bytes, bytes]], is_proxy: Callable[[str], bool]) -> str | None:
    """Who a proxy says that it asks for: the last address in X-Forwarded-For that is no proxy of ours."""
    told = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
    found = None
    for part in reversed(told.split(",")):
        written = _FORWARDED.fullmatch(part.strip())
        address = address_of(next(filter(None, written.groups()))) if written else None
        if address is None:
            # Who wrote this, and what stands before it, is nobody whom we know.
            break
        found = str(address)
        if not is_proxy(found):
            break
    return found


@lru_cache(maxsize=4096)
def word(client: str, token: SecretStr) -> str:
    """What the front door says of whom it asks for."""
    signature = hmac.new(token.get_secret_value().encode(), f"zoco asks for {client}".encode(), "sha256")
    return f"{client} {signature.hexdigest()}"


def believed(told: bytes, token: SecretStr | None) -> str | None:
    """Who the front door says that it asks for, if this is its word."""
    if token is None or len(told) > LONGEST:
        return None
    client = told.decode("latin-1").partition(" ")[0]
    return client if hmac.compare_digest(told, word(client, token).encode("latin-1")) else None
