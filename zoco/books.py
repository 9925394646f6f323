"""The four services as who keeps the books reaches them: what they say of them, all records of one; giving it one."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPHandler, ProxyHandler, Request, build_opener

from broker.heights import sender
from broker.services import SERVICES, Service, WriterSearch
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
# So long it may take until another process writes in the place of one that has ended.
TAKEOVER_SECONDS: Final = 10
POLL_SECONDS: Final = 0.3
PIECE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Books:
    """Of each service the process that writes. Every method may raise UserError."""

    # Where one process of a service answers, or several, or any of them.
    ways: Callable[[str], Sequence[str]]
    token: str
    # Whether a process is reached from here where it says of itself that it answers.
    follows: bool = True

    def state(self, service: str) -> dict[str, Any]:
        """What it says of itself."""
        return self._writer(service)[1]

    def writer(self, service: str) -> str:
        """Where it answers."""
        url, state = self._writer(service)
        if state["role"] != "writer":
            raise UserError("the disk of {service} is full: make room on it, then try again", service)
        return url

    def _writer(self, service: str) -> tuple[str, dict[str, Any]]:
        """Where it answers, and what it says; of a service that nobody writes, as its disk is full, any process."""
        deadline = time.monotonic() + TAKEOVER_SECONDS
        while True:
            url, state = self._furthest(service)
            if state["role"] == "writer" or state["diskFull"]:
                return url, state
            if time.monotonic() > deadline:
                raise UserError("no process of {service} writes: `zoco doctor` tells more", service)
            time.sleep(POLL_SECONDS)

    def _furthest(self, service: str) -> tuple[str, dict[str, Any]]:
        """The one that writes, or one that follows."""
        search, silence = WriterSearch(self.ways(service), follows=self.follows), UserError("")
        for url in search.urls:
            try:
                state = _state(service, url)
            except UserError as error:
                silence = error
                continue
            if search.heard(url, state):
                break
        if (found := search.nearest()) is None:
            raise silence
        return found

    def states(self) -> dict[Service, dict[str, Any]]:
        return {service: self.state(service) for service in SERVICES}

    def identities(self) -> dict[Service, Identity]:
        return {service: identity(state) for service, state in self.states().items()}

    def records(self, service: str, after: int = 0) -> Iterator[bytes]:
        """Its records behind `after` as JSON lines, in pieces of whole lines."""
        while True:
            begun = after
            try:
                for lines in self._lines(service, after):
                    after += lines.count(b"\n")
                    yield lines
                return
            except (OSError, HTTPException) as error:
                # It has ended, or found damage: asked for first, the damaged record is named.
                if after == begun:
                    raise UserError("{service} ended before it was done ({why}): try again", service, error) from error

    def _lines(self, service: str, after: int) -> Iterator[bytes]:
        """Raises OSError, HTTPException when it ends in between."""
        request = Request(f"{self._writer(service)[0]}/diario?desde={after}", headers=self._headers())
        with _sentences(service):
            answer = OPENER.open(request, timeout=ASK_SECONDS)
        rest = b""
        with answer:
            while piece := answer.read1(PIECE_BYTES):
                whole, end, rest = (rest + piece).rpartition(b"\n")
                if end:
                    yield whole + end
        if rest:
            raise HTTPException("inside a record")

    def put(self, service: str, lines: Iterable[bytes]) -> dict[str, Any]:
        """Give it a book: the first line says which, see `PUT /libro`."""
        url = f"{self.writer(service)}/libro"
        request = Request(url, lines, {**self._headers(), "Content-Type": "application/x-ndjson"}, method="PUT")
        with _sentences(service), _TO_ITS_END.open(request, timeout=START_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class _ToItsEnd(HTTPConnection):
    """Reads why a body is not wanted, too, when the other end has closed before all of it was sent."""

    def send(self, data: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().send(data)


class _Handler(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_ToItsEnd, req)


_TO_ITS_END: Final = build_opener(ProxyHandler({}), _Handler())


@contextlib.contextmanager
def reached(data: Path, kube: str | None, *, settings: bool) -> Iterator[Books]:
    """Those that run here, in this namespace of a cluster, or those that this process's settings name."""
    if settings:
        urls = {name: _places(_setting(f"ZOCO_{name.upper()}_URL")) for name in SERVICES}
        yield Books(lambda name: urls[name], _setting("ZOCO_BOOKS_TOKEN"))  # type: ignore[index]
    elif kube is None:
        running = Running.read(data)
        yield Books(running.ways, running.books_token)
    else:
        cluster = Cluster(kube)
        with contextlib.ExitStack() as forwards:

            @cache
            def way(name: str) -> Sequence[str]:
                return (forwards.enter_context(cluster.forwarded(name, pod=cluster.writer(name))),)

            yield Books(way, cluster.books_token(), follows=False)


def identity(state: Mapping[str, Any]) -> Identity:
    """Which book a service has, from what it says of itself."""
    from ops.copies import Identity

    said = sender(state["book"]["heights"])
    assert said is not None
    return Identity(said[1].book, said[1].generation, tuple(state["book"]["formerly"]))


def until_back(
    reach: Callable[[], AbstractContextManager[Books]], generations: Mapping[Service, int], *, sure: bool = True
) -> str:
    """Until each of these writes again, as this generation of its book, and, to be `sure`, is in no doubt. What is
    still doubted, or waited for after so long as a start may take; nothing when all is well."""
    deadline = time.monotonic() + START_SECONDS
    waits = ""
    while time.monotonic() < deadline:
        try:
            with reach() as books:
                states = {name: books.state(name) for name in generations}
        except UserError as error:
            waits = str(error)
        else:
            late = [name for name, state in states.items() if identity(state).generation != generations[name]]
            late += [name for name, state in states.items() if state["role"] != "writer"]
            doubts = [state["doubt"] for state in states.values() if state["doubt"]]
            waits = next(iter((*doubts, *late)), "")
            if not late and not (doubts and sure):
                break
        time.sleep(POLL_SECONDS)
    return waits


def _state(service: str, url: str) -> dict[str, Any]:
    """What the process there says of itself. Raises UserError."""
    try:
        with OPENER.open(f"{url}/readyz", timeout=ASK_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
    except HTTPError as error:
        with error:
            found = _json(error)
    except (OSError, ValueError, HTTPException) as error:
        why = getattr(error, "reason", error)
        raise UserError("{service} does not answer ({why}): `zoco doctor` tells more", service, why) from error
    said = sender(found.get("book", {}).get("heights", ""))
    if said is None or said[0] != service:
        raise UserError("{service} does not say which book it has: is it ready, and of this version?", service)
    return found


@contextlib.contextmanager
def _sentences(service: str) -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        with error:
            raise UserError("{service} answered: {why}", service, _json(error).get("detail", error)) from None
    except URLError as error:
        raise UserError("{service} does not answer ({why}): `zoco doctor` tells more", service, error.reason) from error
    except (OSError, ValueError, HTTPException) as error:
        raise UserError("{service} ended before it was done ({why}): try again", service, error) from error


def _json(error: HTTPError) -> dict[str, Any]:
    with contextlib.suppress(ValueError, OSError, HTTPException):
        found = json.load(error)
        if isinstance(found, dict):
            return found
    return {}


def _places(urls: str) -> list[str]:
    return [url.strip().rstrip("/") for url in urls.split(",")]


def _setting(name: str) -> str:
    """From the environment, or a file of this name where a cluster has its secrets."""
    if value := os.environ.get(name):
        # A secret that was read from a file has the end of its line.
        return value.strip()
    with contextlib.suppress(OSError):
        return (SECRETS / name).read_text(encoding="utf-8").strip()
    raise UserError("{name} is not set: with --settings it says where the shop is", name)
