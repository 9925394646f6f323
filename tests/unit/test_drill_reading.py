"""When a drill reads the books: once each service answers, whichever of its processes is just starting; and what it
makes of a shop that does not come to rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.services import SERVICES
from loadgen.audit.text import Unreadable
from loadgen.audit.verdict import Verdict
from loadgen.drill import drill
from loadgen.drill.drill import Drilled
from loadgen.drill.target import LocalTarget
from loadgen.load.client import Client
from ops.running import Keys

REFUSED = aiohttp.ClientConnectionError("Cannot connect to host 127.0.0.1:26819")


def read_at_the(times: int, error: Exception, tmp_path: Path) -> tuple[Drilled, Callable[[], int]]:
    """A shop whose books can be read then, and not before; and how often somebody has tried."""
    tries = 0

    async def audit(journals: Sequence[Path]) -> Verdict:
        nonlocal tries
        tries += 1
        if tries < times:
            raise error
        return Verdict()

    shop = Drilled("http://here", Keys("", ""), LocalTarget(tmp_path), audit)
    return shop, lambda: tries


async def test_the_books_are_read_once_the_process_that_is_asked_has_started(tmp_path: Path) -> None:
    shop, tries = read_at_the(3, REFUSED, tmp_path)
    assert (await drill._audited(shop, []))[1] is None
    assert tries() == 3


async def test_books_that_nobody_shows_and_those_that_are_wrong_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, tries = read_at_the(3, Unreadable("{what} is damaged", "a journal"), tmp_path)
    assert "a journal is damaged" in str((await drill._audited(shop, []))[1]) and tries() == 1
    monkeypatch.setattr(drill, "ANSWER_SECONDS", 0.0)
    shop, tries = read_at_the(3, REFUSED, tmp_path)
    assert "26819" in str((await drill._audited(shop, []))[1]) and tries() == 1


@pytest.mark.parametrize(
    ("ready", "messages", "why"),
    [(True, 17, "messages waiting: {'tokens': 17}"), (False, 0, "not ready: tokens"), (True, 0, None)],
)
async def test_what_waits_in_a_queue_when_a_drill_gives_up_keeps_the_shop_from_its_rest(
    monkeypatch: pytest.MonkeyPatch, ready: bool, messages: int, why: str | None
) -> None:
    async def estado(_: web.Request) -> web.Response:
        queues = {name: {"messages": messages if name == "tokens" else 0} for name in SERVICES}
        return web.json_response({"servicios": {"tokens": {"ready": ready}}, "colas": queues, "sinTerminar": 17})

    monkeypatch.setattr(drill, "ANSWER_SECONDS", 0.0)
    app = web.Application()
    app.router.add_get("/estado", estado)
    async with TestServer(app) as server, Client(str(server.make_url("")), None) as client:
        assert await drill._restless(client) == why
