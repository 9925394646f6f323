"""The four services as who keeps the books reaches them: what they say of them, all records of one; giving it one."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request

from broker.heights import sender
from broker.services import SERVICES, Service
from ops.cluster import Cluster
from ops.errors import UserError
from ops.running import Running
from zoco.front_door import OPENER

if TYPE_CHECKING:
    from ops.copies import Identity

SECRETS: Final = Path("/run/secrets/zoco")
# A service that syncs, or reads its book anew, is slow to answer.
ASK_SECONDS: Final = 30
# So long after it ended a service reads its new book.
START_SECONDS: Final = 300
POLL_SECONDS: Final = 0.3
PIECE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Books:
    """Where the four answer, each the process that writes. Every method may raise UserError."""

    urls: Mapping[str, str]
    token: str

    def state(self, service: str) -> dict[str, Any]:
        """What it says of itself."""
        try:
            with OPENER.open(f"{self.urls[service]}/readyz", timeout=ASK_SECONDS) as answer:
                found: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            with error:
                found = _json(error)
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise UserError("{service} does not answer ({why}): `zoco doctor` tells more", service, why) from error
        if sender(found.get("book", {}).get("heights", "")) is None:
            raise UserError("{service} does not say which book it has: is it ready, and of this version?", service)
        return found

    def states(self) -> dict[Service, dict[str, Any]]:
        return {service: self.state(service) for service in SERVICES}

    def identities(self) -> dict[Service, Identity]:
        return {service: identity(state) for service, state in self.states().items()}

    def records(self, service: str, after: int = 0) -> Iterator[bytes]:
        """Its records behind `after` as JSON lines, in pieces of any size."""
        request = Request(f"{self.urls[service]}/diario?desde={after}", headers=self._headers())
        with _sentences(service), OPENER.open(request, timeout=ASK_SECONDS) as answer:
            while piece := answer.read(PIECE_BYTES):
                yield piece

    def put(self, service: str, lines: Iterable[bytes]) -> dict[str, Any]:
        """Give it a book: the first line says which, see `PUT /libro`."""
        url = f"{self.urls[service]}/libro"
        request = Request(url, lines, {**self._headers(), "Content-Type": "application/x-ndjson"}, method="PUT")
        with _sentences(service), OPENER.open(request, timeout=START_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@contextlib.contextmanager
def reached(data: Path, kube: str | None, *, settings: bool) -> Iterator[Books]:
    """Those that run here, in this namespace of a cluster, or those that this process's settings name."""
    if settings:
        yield Books(
            {name: _setting(f"ZOCO_{name.upper()}_URL").rstrip("/") for name in SERVICES},
            _setting("ZOCO_BOOKS_TOKEN"),
        )
    elif kube is None:
        running = Running.read(data)
        yield Books(running.urls, running.books_token)
    else:
        cluster = Cluster(kube)
        with contextlib.ExitStack() as forwards:
            urls: dict[str, str] = {
                name: forwards.enter_context(cluster.forwarded(name, pod=cluster.writer(name))) for name in SERVICES
            }
            yield Books(urls, cluster.books_token())


def identity(state: Mapping[str, Any]) -> Identity:
    """Which book a service has, from what it says of itself."""
    from ops.copies import Identity

    said = sender(state["book"]["heights"])
    assert said is not None
    return Identity(said[1].book, said[1].generation, tuple(state["book"]["formerly"]))


def until_back(reach: Callable[[], AbstractContextManager[Books]], generations: Mapping[Service, int]) -> None:
    """Until each writes again, as this generation of its book, and nobody is in doubt. Raises UserError."""
    deadline = time.monotonic() + START_SECONDS
    waits = ""
    while time.monotonic() < deadline:
        try:
            with reach() as books:
                states = books.states()
        except UserError as error:
            waits = str(error)
        else:
            late = [name for name, state in states.items() if identity(state).generation != generations[name]]
            late += [name for name, state in states.items() if state["role"] != "writer"]
            doubts = [state["doubt"] for state in states.values() if state["doubt"]]
            if not late and not doubts:
                return
            waits = next(iter((*doubts, *late)))
        time.sleep(POLL_SECONDS)
    raise UserError("the books are put back, and not all services went on by now: {why}", waits)


@contextlib.contextmanager
def _sentences(service: str) -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        with error:
            raise UserError("{service} answered: {why}", service, _json(error).get("detail", error)) from None
    except URLError as error:
        raise UserError("{service} does not answer ({why}): `zoco doctor` tells more", service, error.reason) from error
    except (OSError, ValueError) as error:
        raise UserError("{service} ended before it was done ({why}): try again", service, error) from error


def _json(error: HTTPError) -> dict[str, Any]:
    with contextlib.suppress(ValueError, OSError):
        found = json.load(error)
        if isinstance(found, dict):
            return found
    return {}


def _setting(name: str) -> str:
    """From the environment, or a file of this name where a cluster has its secrets."""
    if value := os.environ.get(name):
        # A secret that was read from a file has the end of its line.
        return value.strip()
    with contextlib.suppress(OSError):
        return (SECRETS / name).read_text(encoding="utf-8").strip()
    raise UserError("{name} is not set: with --settings it says where the shop is", name)
