"""A shop that `zoco up` runs: how the other commands find it, and what they do to it."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.services import SERVICES
from ops.errors import UserError
from ops.process import is_ours
from ops.secret import secret

STATE: Final = "up.json"
LOCK: Final = "up.lock"
HOLDS: Final = "holds"
REPLICA_SECRET: Final = "replica-secret"
FIRST_PORT: Final = 8000
BROKER: Final = "rabbitmq"
# The files of the keys in a shop's folder.
OPERATOR_KEY: Final = "operator-token"
BOOKS_KEY: Final = "books-token"
# Where a shop is kept unless told.
DATA: Final = Path(".zoco")
POLL_SECONDS: Final = 0.05
# How one is started: a wheel has no Makefile.
START: Final = "make up" if Path(__file__).parents[1].joinpath("Makefile").exists() else "zoco up"


class LocalError(UserError):
    """What was asked of a shop on this machine cannot be done."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Who has these is let in: by the front door as the operator, by each service as who keeps the books."""

    operator: str
    books: str

    @classmethod
    def of(cls, data: Path) -> Keys:
        """Those of the shop in this folder. Made when they are not there yet."""
        return cls(secret(data / OPERATOR_KEY), secret(data / BOOKS_KEY))


@dataclass(frozen=True, slots=True)
class Running:
    """What `zoco up` wrote down for the other commands."""

    data: Path
    pid: int
    urls: Mapping[str, str]
    pids: Mapping[str, int]
    broker_url: str
    management_url: str | None
    management_user: str | None
    management_password: str | None
    operator_token: str
    books_token: str
    broker_metrics_url: str | None = None

    @classmethod
    def read(cls, data: Path) -> Running:
        """Raises LocalError when nothing runs in this folder."""
        data = data.resolve()
        try:
            state = json.loads((data / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise LocalError(
                "nothing runs in {data}: start it with `{start}`, or name its folder with --data", data, START
            ) from None
        if not is_ours(state["pid"], "zoco"):
            says = "`zoco up` in {data} is gone (it was pid {pid}): start it again with `{start}`"
            raise LocalError(says, data, state["pid"], START)
        return cls(data, **state)

    @property
    def keys(self) -> Keys:
        return Keys(self.operator_token, self.books_token)

    def lives(self, name: str) -> bool:
        """Whether this service, or `rabbitmq`, runs as the process that was written down."""
        mark = str(self.data) if name == BROKER else f"services.{name}.main"
        return name in self.pids and is_ours(self.pids[name], mark)


def typed(words: str, data: Path) -> str:
    """`zoco` with these words, as another terminal needs it: where the command is, and where this shop is."""
    program = Path(sys.executable).with_name("zoco")
    here = Path.cwd()
    if program.is_relative_to(here) and data == DATA.resolve():
        # Whoever stands in this folder, as the command's own path needs it, means this shop.
        return f"{program.relative_to(here)} {words}"
    return f"{shlex.quote(str(program))} {words} --data {shlex.quote(str(data))}"


def kill_process(running: Running, name: str, seconds: float | None) -> int:
    """SIGKILL a service, or `rabbitmq`, and keep it down for so long. Returns its pid. Raises LocalError."""
    pid = running.pids.get(name)
    if pid is None:
        raise LocalError("there is no {name} here: it is one of {known}", name, ", ".join(running.pids))
    if not running.lives(name):
        raise LocalError("{name} is down already; it is started again by itself", name)
    if seconds is not None:
        holds = running.data / HOLDS
        holds.mkdir(exist_ok=True)
        new = holds / f".{name}"
        new.write_text(str(time.time() + seconds), encoding="utf-8")
        new.replace(holds / name)
    os.kill(pid, signal.SIGKILL)
    while running.lives(name):
        time.sleep(POLL_SECONDS)
    return pid


def reset(data: Path) -> None:
    """Delete all that was ever bought here. Raises LocalError while it runs."""
    if not data.exists():
        return
    ours = {*SERVICES, BROKER, HOLDS, LOCK, STATE, OPERATOR_KEY, BOOKS_KEY, REPLICA_SECRET}
    strangers = {path.name for path in data.iterdir()} - ours
    if strangers:
        raise LocalError("{data} holds {stranger}, which is not Zoco's: nothing was deleted", data, min(strangers))
    with (data / LOCK).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError("{data} is in use: stop its `zoco up` first", data) from None
        shutil.rmtree(data)
