"""Secrets in files that only we may read."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def secret(file: Path) -> str:
    """Read a password; make it when it is not there yet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        write_secret(file, secrets.token_urlsafe(24), 0o600)
    return file.read_text()


def new_cookie(home: Path) -> None:
    """Erlang's, for a node that does not run yet. Whoever knows it runs commands as us, and Erlang would make one of
    its uptime, which can be guessed in seconds."""
    cookie = home / ".erlang.cookie"
    cookie.unlink(missing_ok=True)
    write_secret(cookie, secrets.token_hex(32), 0o400)


def write_secret(file: Path, text: str, mode: int) -> None:
    """Into a new file that nobody else ever could read. Raises FileExistsError."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w") as fresh:
        fresh.write(text)
