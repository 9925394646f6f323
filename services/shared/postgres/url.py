"""ZOCO_STORE, looked at when settings are read. Below asyncpg a port is taken modulo 65536, and asyncpg takes what is
missing from the machine: the role and its password would be sent to whoever is there."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, urlsplit

from broker.hosts import host_and_port

SCHEMES: Final = ("postgresql", "postgres")
PORT: Final = 5432
LIKE: Final = "write postgresql://role:password@host:5432/database, with what is special in role or password as %XX"


def check_url(text: str) -> None:
    """Raises ValueError with what is wrong. No part of it is shown: where it is wrong the password may be anywhere."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"it does not begin with postgresql://: {LIKE}")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    user, _, named = rest[:end].rpartition("@")
    role, _, password = user.partition(":")
    if not role or not password:
        raise ValueError(f"it names no role and its password: {LIKE}")
    if "@" in user:
        raise ValueError(f"an @ in role or password is %40: {LIKE}")
    try:
        for host in named.split(","):
            host_and_port(host, PORT)
    except ValueError as error:
        raise ValueError(f"{error}: {LIKE}") from None
    try:
        query = urlsplit(text).query
        parse_qs(query, strict_parsing=bool(query))
    except ValueError:
        raise ValueError(f"it is no URL: {LIKE}") from None
