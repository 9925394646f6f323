"""A shop that `zoco up` runs: how the other commands find it, and what they do to it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.services import SERVICES
from ops.errors import UserError
from ops.process import is_ours, lock_holder
from ops.secret import secret

STATE: Final = "up.json"
LOCK: Final = "up.lock"
HOLDS: Final = "holds"
REPLICA_SECRET: Final = "replica-secret"
FIRST_PORT: Final = 8000
BROKER: Final = "rabbitmq"
POSTGRES: Final = "postgres"
# The second PostgreSQL, where there is one: it takes over.
STANDBY: Final = "postgres-standby"
ENGINES: Final = (BROKER, POSTGRES, STANDBY)
# Which kind its books are of.
KIND: Final = "books"
# What is about to take its place.
KIND_NEW: Final = "books.new"
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
    # By name: a service's own, or that with a number where it has several processes.
    places: Mapping[str, str]
    pids: Mapping[str, int]
    broker_url: str
    management_url: str | None
    management_user: str | None
    management_password: str | None
    operator_token: str
    books_token: str
    broker_metrics_url: str | None = None
    # Each service's part of the database; empty where books are files.
    stores: Mapping[str, str] = field(default_factory=dict)
    # The same of who owns all of it.
    database_url: str | None = None

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

    @property
    def urls(self) -> dict[str, str]:
        """Where each service answers: of several processes the first that lives."""
        return {name: self.places[self._first(labels)] for name, labels in self.processes.items()}

    def ways(self, name: str) -> list[str]:
        """Where each process of a service answers, if it lives."""
        return [self.places[label] for label in self.processes[name]]

    @property
    def processes(self) -> dict[str, list[str]]:
        """The names of each service's processes."""
        found: dict[str, list[str]] = {}
        for label in self.places:
            found.setdefault(service_of(label), []).append(label)
        return found

    def _first(self, labels: Sequence[str]) -> str:
        return next((label for label in labels if self.lives(label)), labels[0]) if len(labels) > 1 else labels[0]

    def lives(self, label: str) -> bool:
        """Whether this process of a service, `rabbitmq` or `postgres` runs as the one that was written down."""
        mark = str(self.data) if label in ENGINES else f"services.{service_of(label)}.main"
        return label in self.pids and is_ours(self.pids[label], mark)

    def one_of(self, name: str) -> str:
        """Who is meant by this name: of a service's several processes the one that writes the files, or any that
        lives. A name that is nobody's stays as it is."""
        if not (living := [label for label in self.processes.get(name, ()) if self.lives(label)]):
            return name
        writer = lock_holder(self.data / name / "lock")
        return next((label for label in living if self.pids[label] == writer), random.choice(living))


def service_of(label: str) -> str:
    """Whose process this is: `tokens-2` is one of tokens."""
    name, _, number = label.rpartition("-")
    return name if number.isdigit() else label


def typed(words: str, data: Path) -> str:
    """`zoco` with these words, as another terminal needs it: where the command is, and where this shop is."""
    program = Path(sys.executable).with_name("zoco")
    here = Path.cwd()
    if program.is_relative_to(here) and data == DATA.resolve():
        # Whoever stands in this folder, as the command's own path needs it, means this shop.
        return f"{program.relative_to(here)} {words}"
    return f"{shlex.quote(str(program))} {words} --data {shlex.quote(str(data))}"


def kill_process(running: Running, name: str, seconds: float | None) -> int:
    """SIGKILL a process of a service, `rabbitmq` or `postgres`, and keep it down for so long. Returns its pid. Raises
    LocalError. Which of several is meant by a service's name, `Running.one_of` says."""
    pid = running.pids.get(name)
    if pid is None and name in running.processes:
        raise LocalError("{name} is down already; it is started again by itself", name)
    if pid is None:
        known = dict.fromkeys((*running.processes, *running.pids))
        raise LocalError("there is no {name} here: it is one of {known}", name, ", ".join(known))
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
    ours = {*SERVICES, BROKER, POSTGRES, KIND, KIND_NEW, HOLDS, LOCK, STATE, OPERATOR_KEY, BOOKS_KEY, REPLICA_SECRET}
    strangers = {path.name for path in data.iterdir()} - ours
    if strangers:
        raise LocalError("{data} holds {stranger}, which is not Zoco's: nothing was deleted", data, min(strangers))
    with (data / LOCK).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError("{data} is in use: stop its `zoco up` first", data) from None
        shutil.rmtree(data)
