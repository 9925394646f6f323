"""What load, drill and bench have in common: where their files go, and the line that changes."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.live import Live

from loadgen.load.clock import CLOCK
from loadgen.load.meter import Meter
from ops.console import Speaker
from ops.errors import UserError
from ops.i18n import Text, say

FOLDER: Final = Path(".drill")
REPORT: Final = "report.html"
LINE_SECONDS: Final = 5.0

out = Speaker()
# Progress: whoever reads stdout as JSON does not see it.
err = Speaker(stderr=True)


class Unusable(UserError):
    """What was asked for cannot be done."""


class Progress:
    """One line that changes, on a terminal; elsewhere a line now and then; nothing beside JSON on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._live = Live(console=err, refresh_per_second=5, transient=True) if err.is_terminal and not quiet else None
        self._next = 0.0

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def tell(self, text: str, meter: Meter | None) -> None:
        if self._live:
            self._live.update(say(_line(meter) if meter else text))
        elif meter is None or time.monotonic() > self._next:
            self._next = time.monotonic() + LINE_SECONDS
            err.print(_line(meter) if meter else text)

    async def watch(self, meter: Meter) -> None:
        while True:
            await asyncio.sleep(1)
            self.tell("", meter)


def _line(meter: Meter) -> str:
    others = meter.elsewhere.values()
    due, p99 = meter.latest(CLOCK.now())
    latency = Text("no answers") if p99 is None else Text("{ms:,.0f} ms to 202 (p99)", p99 * 1000)
    if meter.limits:
        latency = Text("the client is too slow")
    if others:
        arrived = meter.arrived + sum(other.arrived for other in others)
        accepted = meter.accepted + sum(other.accepted for other in others)
        return Text("{requests:,} requests, accepted {accepted:,}; {latency}", arrived, accepted, latency)
    says = (
        "{requests:,} requests, {due}/s; accepted {accepted:,}, finished {finished:,}, backlog {backlog:,}; {latency}"
    )
    finished = meter.sold + meter.refused
    return Text(says, meter.arrived, due, meter.accepted, finished, meter.backlog, latency)


def one_of(what: str, name: str, known: dict[str, Any]) -> None:
    if name not in known:
        raise Unusable("there is no {what} {name}: it is one of {known}", what, name, ", ".join(known))


def now() -> str:
    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def new_folder(folder: Path | None, what: str) -> Path:
    """Where a load writes; `what` names it unless told. Raises Unusable when another one's journal is there: what it
    asked for would be counted with this one's, and its report be lost."""
    folder = (folder or FOLDER / f"{now()}-{what}").absolute()
    for file in folder.glob("client*.jsonl"):
        raise Unusable("{file} is another load's: take another folder with --out", file)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def many_connections() -> None:
    """While a service stands still, its callers wait: each has a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
