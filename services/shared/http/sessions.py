"""A browser's session as the operator: a cookie that says until when, signed with the operator's key.

Nobody remembers it, so each replica of the front door knows it. It ends with its time, or with the key that signed it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from typing import Final

from pydantic import SecretStr
from starlette.types import Scope

# In the scope of a request: its cookies.
COOKIES: Final = "zoco.cookies"
SESSION_SECONDS: Final = 12 * 3600
_FORM: Final = re.compile(r"[0-9]{1,12}\.[A-Za-z0-9_-]{1,32}\.[0-9a-f]{64}", re.ASCII)


def cookie_name(key: SecretStr) -> str:
    """Another for each shop: a browser has one jar for all ports of a machine."""
    return f"zoco_{_signed(key, 'name')[:8]}"


def new_session(key: SecretStr) -> str:
    told = f"{int(time.time()) + SESSION_SECONDS}.{secrets.token_urlsafe(12)}"
    return f"{told}.{_signed(key, told)}"


def set_cookies_aside(scope: Scope) -> None:
    """Out of FastAPI's sight, which reads them for every route as Python does: of 16 kB of backslashes that takes half
    a second (CVE-2024-7592)."""
    scope[COOKIES] = b";".join(value for name, value in scope["headers"] if name == b"cookie").decode("latin-1")
    scope["headers"] = [header for header in scope["headers"] if header[0] != b"cookie"]


def session_of(key: SecretStr, scope: Scope) -> str | None:
    """What a browser shows as its session, as it was sent."""
    told = ";" + scope.get(COOKIES, "").replace(" ", "")
    _, found, value = told.rpartition(f";{cookie_name(key)}=")
    return value.partition(";")[0] if found else None


def session_holds(key: SecretStr, told: str) -> bool:
    if not _FORM.fullmatch(told):
        return False
    said, _, signature = told.rpartition(".")
    return hmac.compare_digest(signature, _signed(key, said)) and int(said.partition(".")[0]) > time.time()


def _signed(key: SecretStr, text: str) -> str:
    return hmac.new(key.get_secret_value().encode(), f"zoco session {text}".encode(), hashlib.sha256).hexdigest()
