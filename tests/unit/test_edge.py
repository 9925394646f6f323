"""The one way in: the same request is answered the same, whether FastAPI calls its endpoint or the edge does."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from services.shared.clock import utc_now
from services.shared.heights import BookHeights
from services.shared.http.app import create_app
from services.shared.http.bodies import read_body
from services.shared.http.edge import BODY_BYTES, unless_gone
from services.shared.http.hosts import Hosts
from services.shared.http.pace import Pace
from services.shared.http.problems import Problem, unavailable
from services.shared.metrics import Metrics
from services.shared.room import Room, Space
from services.shared.runtime import Runtime, Service
from services.shared.settings import Settings
from services.shared.store import Damaged
from services.tokens.domain import DOMAIN

JSON = [(b"content-type", b"application/json")]
GONE = {"type": "http.disconnect"}
# As RFC 9110 has them.
TITLES = {415: "Unsupported Media Type", 422: "Unprocessable Content"}
ALLOW = {b"allow": b"POST, OPTIONS"}


class Number(BaseModel):
    number: int


async def endpoint(request: Request) -> Response:
    """Answers a number, or raises what the test wants it to."""
    if (wanted := request.app.state.raises) is not None:
        raise wanted
    body = await read_body(request, Number)
    return Response(str(body.number).encode(), 202, {"Location": "/there"}, "application/json")


@pytest.fixture
def app() -> FastAPI:
    routes = APIRouter()
    routes.add_api_route("/here", endpoint, methods=["POST"])

    async def half() -> StreamingResponse:
        async def pieces() -> Any:
            yield b"half"
            raise RuntimeError("in the middle")

        return StreamingResponse(pieces())

    routes.add_api_route("/half", half)
    service = Service(
        domain=DOMAIN,
        routes=routes,
        seed=lambda raw: [],
        seed_file=Path("none.json"),
        straight={("POST", "/here"): endpoint},
    )
    app = create_app(service)
    app.state.runtime = SimpleNamespace(metrics=Metrics("tokens"))
    app.state.pace = Pace()
    app.state.hosts = Hosts("tokens", ())
    app.state.drain = SimpleNamespace(closes=lambda: False)
    app.state.raises = None
    return app


def piece(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@dataclass
class Asked:
    """What was sent, logged and counted because of a request."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    logs: list[Any] = field(default_factory=list)
    counted: list[tuple[dict[str, str], float]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def problem(self) -> Any:
        assert self.headers[b"content-type"] == b"application/problem+json"
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))


async def ask(
    app: FastAPI,
    query: bytes,
    *received: dict[str, Any],
    method: str = "POST",
    path: str = "/here",
    headers: list[tuple[bytes, bytes]] = JSON,
) -> Asked:
    app.state.runtime = SimpleNamespace(metrics=Metrics("tokens"))
    asked, waiting = Asked(), list(received)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        asked.sent.append({**message, "headers": sorted(message["headers"])} if "headers" in message else message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"localhost"), *headers],
        "server": ("here", 80),
        "client": ("there", 1),
        "state": {},
    }
    with capture_logs() as logs:
        await app(scope, receive, send)
    asked.logs = [{**line, "exc_info": str(line.get("exc_info"))} for line in logs]
    asked.counted = [
        (sample.labels, sample.value)
        for sample in next(iter(app.state.runtime.metrics.requests.collect())).samples
        if sample.name.endswith("_total")
    ]
    return asked


async def ask_both(app: FastAPI, *received: dict[str, Any], **options: Any) -> Asked:
    """Straight, and with a query string, which FastAPI reads: nobody may see a difference."""
    straight = await ask(app, b"", *received, **options)
    ordinary = await ask(app, b"x=1", *received, **options)
    assert ordinary == straight
    return straight


GOOD = piece(b'{"number": 7}')


async def test_an_answer_is_the_endpoints(app: FastAPI) -> None:
    asked = await ask_both(app, GOOD)
    assert (asked.status, asked.headers[b"location"], asked.sent[1]["body"]) == (202, b"/there", b"7")
    assert asked.counted == [({"method": "POST", "status": "202"}, 1.0)]
    assert asked.logs == []


@pytest.mark.parametrize(
    ("raised", "status", "detail", "headers"),
    [
        (Problem(422, "not this"), 422, "not this", {}),
        (unavailable("later", 7), 503, "later", {b"retry-after": b"7"}),
        (HTTPException(404), 404, "there is nothing at /here: /docs lists what there is", {}),
        (HTTPException(404, "no such thing"), 404, "no such thing", {}),
        (HTTPException(405, headers={"Allow": "GET"}), 405, "POST is not for /here: /docs lists what is", ALLOW),
        (HTTPException(499, "odd"), 499, "odd", {}),
        (RequestValidationError([{"loc": ("query", "x"), "msg": "wrong"}]), 422, "/query/x: wrong", {}),
    ],
    ids=str,
)
async def test_whatever_an_endpoint_raises_is_the_same_problem(
    app: FastAPI, raised: Exception, status: int, detail: str, headers: dict[bytes, bytes]
) -> None:
    app.state.raises = raised
    asked = await ask_both(app, GOOD)
    assert (asked.status, asked.problem["status"], asked.problem["detail"]) == (status, status, detail)
    assert headers.items() <= asked.headers.items()
    assert asked.counted == [({"method": "POST", "status": str(status)}, 1.0)]
    assert asked.logs == []


@pytest.mark.parametrize(
    ("time", "named"),
    [("", False), (utc_now(), False), ("2099-01-01T00:00:00.000Z", True)],
    ids=["none", "now", "2099"],
)
def test_a_clock_that_the_books_contradict_is_named(tmp_path: Path, time: str, named: bool) -> None:
    """For `/readyz`, and so for `/estado` and whoever asks that."""
    room = Room(lambda: Space(1, 1), lambda: 0)
    known = {"time": time, "seq": 1, "heights": BookHeights("compras"), "room": room}
    store: Any = SimpleNamespace(**known, leads=True, full=False, trouble=None, opened=True, leader_url=lambda: None)
    service = Service(domain=DOMAIN, routes=APIRouter(), seed=lambda raw: [], seed_file=tmp_path / "none.json")
    said = Runtime(service, Settings(data=tmp_path), lambda *_: store).state()["clock"]
    assert (said is not None) == named
    assert not named or f"the last record is of {time}, " in said


async def test_what_is_damaged_on_the_disk_is_named_in_the_answer_and_in_the_log(app: FastAPI) -> None:
    app.state.raises = Damaged("journal-1 is damaged at byte 7")
    asked = await ask_both(app, GOOD)
    assert (asked.status, asked.problem["status"]) == (500, 500)
    assert asked.problem["detail"] == "the books cannot be read here: journal-1 is damaged at byte 7"
    assert [line["error"] for line in asked.logs] == ["journal-1 is damaged at byte 7"]


@pytest.mark.parametrize("raised", [RuntimeError("a secret"), AssertionError(), KeyError("x"), OSError(5, "disk")])
async def test_a_bug_is_a_500_that_says_nothing_of_it_and_one_line_in_the_log(app: FastAPI, raised: Exception) -> None:
    app.state.raises = raised
    asked = await ask_both(app, GOOD)
    assert (asked.status, asked.problem["title"]) == (500, "Internal Server Error")
    assert "secret" not in asked.problem["detail"]
    (line,) = asked.logs
    assert (line["method"], line["path"], line["log_level"]) == ("POST", "/here", "error")


@pytest.mark.parametrize(
    ("headers", "body", "status", "says"),
    [
        ([], b"{}", 415, "the content type is missing"),
        ([(b"content-type", b"text/plain")], b"{}", 415, "text/plain cannot be read"),
        (JSON, b"", 422, "JSON"),
        (JSON, b"{", 422, "JSON"),
        (JSON, b"{}", 422, "/number"),
    ],
)
async def test_a_body_that_cannot_be_used_is_the_same_problem(
    app: FastAPI, headers: list[tuple[bytes, bytes]], body: bytes, status: int, says: str
) -> None:
    asked = await ask_both(app, piece(body), headers=headers)
    assert (asked.status, asked.problem["title"]) == (status, TITLES[status])
    assert says in asked.problem["detail"]


async def test_a_body_that_is_too_large_is_refused_before_all_of_it_was_read(app: FastAPI) -> None:
    half = b" " * (BODY_BYTES // 2 + 1)
    for received in ([piece(b" " * (BODY_BYTES + 1))], [piece(half, more=True), piece(half, more=True)]):
        asked = await ask_both(app, *received)
        assert (asked.status, asked.problem["title"]) == (413, "Content Too Large")
        assert str(BODY_BYTES) in asked.problem["detail"]
    padded = b'{"number": 7}'.ljust(BODY_BYTES)
    assert (await ask_both(app, piece(padded))).status == 202


@pytest.mark.parametrize("before", [[], [piece(b'{"nu', more=True)]])
async def test_a_client_who_hangs_up_is_no_error(app: FastAPI, before: list[dict[str, Any]]) -> None:
    asked = await ask_both(app, *before, GONE)
    assert asked == Asked()


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/nowhere", 404), ("DELETE", "/here", 405)])
async def test_what_is_not_there_is_a_problem(app: FastAPI, method: str, path: str, status: int) -> None:
    asked = await ask_both(app, GOOD, method=method, path=path)
    assert (asked.status, path in asked.problem["detail"]) == (status, True)
    assert (b"allow" in asked.headers) == (status == 405)


async def test_the_last_answer_of_a_connection_says_so_whatever_it_is(app: FastAPI) -> None:
    app.state.drain.closes = lambda: True
    assert (await ask_both(app, GOOD)).headers[b"connection"] == b"close"
    app.state.raises = RuntimeError()
    assert (await ask_both(app, GOOD)).headers[b"connection"] == b"close"


async def test_no_answer_is_taken_for_a_page_or_shown_in_anothers(app: FastAPI) -> None:
    for raised in (None, Problem(404, "no"), RuntimeError()):
        app.state.raises = raised
        asked = await ask_both(app, GOOD)
        assert asked.headers[b"x-content-type-options"] == b"nosniff"
        assert asked.headers[b"content-security-policy"] == b"default-src 'none'; frame-ancestors 'none'"
    docs = await ask(app, b"", method="GET", path="/docs")
    policies = [value for name, value in docs.sent[0]["headers"] if name == b"content-security-policy"]
    assert len(policies) == 1
    assert b"frame-ancestors 'none'" in policies[0]
    assert b"script-src 'self'" in policies[0]


async def test_half_an_answer_is_broken_off_and_not_answered_twice(app: FastAPI) -> None:
    with pytest.raises(RuntimeError, match="in the middle"):
        await ask(app, b"", method="GET", path="/half")
    # What was sent is out; that it was counted once shows that no second answer was begun.
    samples = next(iter(app.state.runtime.metrics.requests.collect())).samples
    assert [(one.labels["status"], one.value) for one in samples if one.name.endswith("_total")] == [("200", 1.0)]


async def test_work_ends_when_its_client_hangs_up() -> None:
    hung_up, ended = asyncio.Event(), asyncio.Event()
    first = [piece(b"")]

    async def receive() -> dict[str, Any]:
        if first:
            return first.pop()
        await hung_up.wait()
        return GONE

    async def work(end: asyncio.Event) -> int:
        try:
            await end.wait()
            return 7
        finally:
            ended.set()

    there = asyncio.Event()
    there.set()
    assert await unless_gone(receive, work(there)) == 7
    ended.clear()
    waiting = asyncio.create_task(unless_gone(receive, work(asyncio.Event())))
    await asyncio.sleep(0)
    hung_up.set()
    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(ended.wait(), 1)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/here", [(b"host", b"evil.example")], 400),
        ("/here", [(b"origin", b"http://evil.example")], 403),
        ("/a%2Fb", [], 404),
        ("/here", [*JSON, *JSON], 400),
        ("/livez", [], 200),
    ],
)
async def test_who_is_refused_is_counted_first(
    app: FastAPI, path: str, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    for _ in range(2):
        method = "GET" if path == "/livez" else "POST"
        assert (await ask(app, b"", GOOD, method=method, path=path, headers=headers)).status == status
    assert app.state.pace._asked["there"] == 2
    app.state.pace.level = 2
    asked = await ask(app, b"", GOOD, method=method, path=path, headers=headers)
    assert asked.status == (200 if path == "/livez" else 429)
