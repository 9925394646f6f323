"""How a process ends: with an exit code of sysexits.h, and a sentence where a person, and Kubernetes, looks for it."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final, TypeGuard

import structlog

from broker.amqp.bus import BusRefused
from services.shared.logs import drain_logs
from services.shared.settings import WrongSetting
from services.shared.store import Damaged, Fenced, StoreBroken

log = structlog.get_logger()

# sysexits.h: configuration that somebody must mend; an input or output error; try again.
EX_CONFIG: Final = 78
EX_IOERR: Final = 74
EX_TEMPFAIL: Final = 75
# What no setting mends.
OF_THE_MACHINE: Final = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT}


def first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def sentence(error: BaseException) -> str:
    if unwritable(error):
        return (
            f"{error.filename} cannot be written ({error.strerror}): "
            f"let user {os.getuid()} write in its folder, or name another in ZOCO_DATA"
        )
    return f"{type(error).__name__}: {error}"


def unwritable(error: BaseException) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}


def expected(error: BaseException) -> bool:
    return isinstance(error, Damaged | WrongSetting | Fenced | StoreBroken | BusRefused) or unwritable(error)


def exit_code(error: BaseException) -> int:
    if isinstance(error, Damaged | WrongSetting | BusRefused) or unwritable(error):
        return EX_CONFIG
    if isinstance(error, Fenced):
        return EX_TEMPFAIL
    return EX_IOERR if isinstance(error, StoreBroken | OSError) else 1


def start_code(error: BaseException) -> int:
    """Of a start that failed: a folder that is none, a name that is taken, somebody must mend; a machine that is at its
    limits passes."""
    return EX_IOERR if isinstance(error, OSError) and error.errno in OF_THE_MACHINE else EX_CONFIG


def end(code: int, sentence: str, exc_info: BaseException | None = None) -> None:
    """End this process now: nothing that it still holds in memory may be believed or said."""
    log.error(sentence, exit_code=code, exc_info=exc_info)
    with contextlib.suppress(OSError):
        # Where Kubernetes looks for the reason.
        Path("/dev/termination-log").write_text(sentence + "\n", encoding="utf-8")
    drain_logs()
    os._exit(code)
