"""Which PostgreSQL is on this machine: whatever version somebody has at home, and the one that a database needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.errors import UserError
from ops.i18n import Text

OLDEST: Final = 14
HOMES: Final = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Fedora, RHEL
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew on Apple silicon
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/pgsql/bin",  # built from its source
    "/usr/lib/postgresql/bin",
)


class NoPostgres(UserError):
    """There is none that would do. Its text says what to install."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Those of one version."""

    folder: Path
    version: int

    @property
    def server(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def find_postgres(data: Path | None = None) -> Programs:
    """The newest, or for a database that is there the only one that opens it. Raises NoPostgres."""
    wanted, there = _version_of(data), installed()
    if wanted is None:
        if new := max(there, key=lambda one: one.version, default=None):
            return new
        raise NoPostgres(
            "PostgreSQL ({oldest} or newer) is not installed: run `apt-get install postgresql` (Debian, Ubuntu) or "
            "`brew install postgresql@17` (macOS).",
            OLDEST,
        )
    for one in there:
        if one.version == wanted:
            return one
    says = (
        "the database in {data} is of PostgreSQL {wanted}, and here is {there}: no other version opens it. Install "
        "that one again, or take another folder with --data"
    )
    raise NoPostgres(says, data, wanted, ", ".join(str(one.version) for one in there) or Text("none"))


def installed() -> list[Programs]:
    """Each version that would do, once."""
    found: dict[int, Programs] = {}
    for folder in _folders():
        if (version := _version(folder)) is not None and version >= OLDEST:
            found.setdefault(version, Programs(folder, version))
    return list(found.values())


def _folders() -> Iterator[Path]:
    for home in HOMES:
        yield from sorted(Path("/").glob(home.removeprefix("/")))
    # What is in the PATH is a link, or a wrapper that chooses a version.
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent


def _version(folder: Path) -> int | None:
    """None: it is no PostgreSQL that could make a database, or cannot be run."""
    server = folder / "postgres"
    if not (os.access(server, os.X_OK) and os.access(folder / "initdb", os.X_OK)):
        return None
    try:
        said = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"\) (\d+)", said)
    return int(number[1]) if number else None


def _version_of(data: Path | None) -> int | None:
    """The one that made this database; None where there is none yet."""
    try:
        return int((data / "PG_VERSION").read_text(encoding="ascii")) if data else None
    except (OSError, ValueError):
        return None
