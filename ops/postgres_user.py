"""PostgreSQL refuses to run as root: for root it is run by somebody who owns the database and nothing else."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ops.errors import UserError

# Debian's package has made the first; the second is everywhere.
NAMES: Final = ("postgres", "nobody")
# The folders above the database are root's, and let nobody else through: this right alone is kept.
RIGHT: Final = "+dac_override"


def as_somebody_else(command: Sequence[str]) -> list[str]:
    """The command, as who may run it. It is killed with its starter, on Linux, all the same. Raises UserError."""
    if os.geteuid() != 0:
        return list(command)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise UserError("PostgreSQL does not run as root: start this as another user")
    user = _somebody()
    who = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    # To become another user makes Linux forget what is to happen when the starter ends.
    return [setpriv, *who, f"--inh-caps={RIGHT}", f"--ambient-caps={RIGHT}", "--pdeathsig", "KILL", "--", *command]


def give(folder: Path) -> None:
    """Make it, and all that is in it, theirs. Raises OSError."""
    if os.geteuid() != 0:
        return
    user = _somebody()
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid != user.pw_uid:
            os.lchown(path, user.pw_uid, user.pw_gid)


def _somebody() -> pwd.struct_passwd:
    for name in NAMES:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise UserError("PostgreSQL does not run as root, and there is no user {names}", " or ".join(NAMES))
