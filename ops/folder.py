"""A shop's folder: one `zoco up` at a time has it, and its books are of one kind."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, Literal

from broker.services import SERVICES
from ops.process import make_private, write_durably
from ops.running import HOLDS, KIND, KIND_NEW, LOCK, LocalError

Kind = Literal["files", "postgresql"]


def hold(data: Path, kind: Kind) -> IO[str]:
    """It is ours until the file that this returns is closed. Raises LocalError, and then nothing was changed."""
    try:
        make_private(data)
        lock = (data / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        says = "cannot write in {data} ({error}): take another folder with --data"
        raise LocalError(says, data, error) from error
    try:
        _take(lock, data, kind)
    except BaseException:
        lock.close()
        raise
    for held in (data / HOLDS).glob("*"):
        held.unlink()
    return lock


def _take(lock: IO[str], data: Path, kind: Kind) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        says = "{data} is in use by `zoco up` (pid {holder}): stop that one, or take another folder with --data"
        raise LocalError(says, data, holder) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    _check_kind(data, kind)


def kind_of(data: Path) -> Kind | None:
    """None: it has none yet. Raises LocalError when it was told and cannot be read: beside a database there may be old
    files, which sell again what was sold."""
    file = data / KIND
    try:
        told = file.read_bytes().strip()
    except (FileNotFoundError, NotADirectoryError):
        told = None
    except OSError as error:
        says = "{file} says which books of the shop count, and cannot be read ({why}): mend that, and begin again"
        raise LocalError(says, file, error.strerror) from error
    match told:
        case b"files":
            return "files"
        case b"postgresql":
            return "postgresql"
        case bytes():
            raise LocalError(
                "{file} is to say which books of the shop count, and is damaged: write `postgresql` into it if it was "
                "last started with --postgres, and `files` if it was not",
                file,
            )
    # Of a version that knew of no other.
    try:
        return "files" if any(any((data / name).glob("journal-*")) for name in SERVICES) else None
    except OSError:
        # Whoever reads the books says that it cannot.
        return None


def keep_kind(data: Path, kind: Kind) -> None:
    """From now on it has some. Killed at any moment, it has these or those."""
    file, text = data / KIND, f"{kind}\n"
    if file.exists() and file.read_bytes() == text.encode():
        return
    write_durably(file, text, data / KIND_NEW)


def _check_kind(data: Path, kind: Kind) -> None:
    match kind_of(data), kind:
        case "files", "postgresql":
            raise LocalError(
                "the books in {data} are files, and a new database knows nothing of what was bought: `zoco migrate` "
                "takes them over. Or start it without --postgres, or take another folder with --data",
                data,
            )
        case "postgresql", "files":
            raise LocalError(
                "the books of {data} are in its PostgreSQL, and new files know nothing of what was bought: start it "
                "with --postgres, `zoco migrate` takes them back, or take another folder with --data",
                data,
            )
