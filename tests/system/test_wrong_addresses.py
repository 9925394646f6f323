"""Where another service should answer something else does, or it answers that it is not for us."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from door_builders import door

from ops.process import free_port
from services.compras.forwarding import Forwarding
from services.compras.hands import Hands, _of
from services.shared.settings import Settings

STATUSES = (200, 400, 403, 421, 503)
BODIES = (b'{"status": 421}', b"[]", b"421", b"null", b"a page", b"", b'{"ready": "yes", "role": 1}', b"\xff" * 1_000)


@asynccontextmanager
async def answering(status: int, *bodies: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Where, and what: the last of these."""
    said = list(bodies)

    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, body=said[-1] if said else b"", content_type="application/json")

    app, port = web.Application(), free_port()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}", said
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", STATUSES)
async def test_whatever_answers_for_a_service_is_no_error_of_this_one_or_of_who_asks(
    tmp_path: Path, status: int
) -> None:
    async with answering(status, *BODIES) as (url, bodies):
        with door(tmp_path, "writer", ZOCO_LOG="json", ZOCO_TOKENS_URL=url) as front:
            while bodies:
                said, _, state = await front.ask("GET", "/estado", {})
                assert " 200 " in said, state
                tokens = json.loads(state)["servicios"]["tokens"]
                assert tokens == {"ready": False, "role": None, "problem": f"answers {status}"}
                said, _, problem = await front.ask("GET", "/tokens", {})
                if status in (200, 503):
                    # What it shows is its own, and so is that it has no connection left.
                    assert f" {status} " in said
                else:
                    assert " 503 " in said and b"ZOCO_TOKENS_URL" in problem, problem
                bodies.pop()
            assert '"level": "error"' not in front.log.read_text()


@pytest.mark.parametrize("broker", [b'"x"', b"{}", b'{"consuming": true, "oldestSeconds": "x"}', b"[1]", b"null"])
async def test_what_is_no_state_has_nothing_in_its_hands(broker: bytes) -> None:
    """Whoever sends a purchase again asks what the others have in theirs, and must not end of what it hears."""
    state = b'{"ready": true, "role": "writer", "host": "a", "pid": 7, "broker": %s}' % broker
    async with answering(200, *BODIES, state) as (url, bodies):
        forwarding = Forwarding(cast(Any, SimpleNamespace(settings=Settings(tokens_url=url), store=None)))
        hands = Hands(forwarding._runtime.settings, cast(Any, None), forwarding)
        try:
            while bodies:
                assert _of([await hands._state(url)]) == {}
                bodies.pop()
        finally:
            await forwarding.close()


async def test_of_two_addresses_the_one_that_is_for_us_answers(tmp_path: Path) -> None:
    async with answering(421, b"{}") as (wrong, _), answering(200, b"[]") as (right, _):
        with door(tmp_path, "writer", ZOCO_TOKENS_URL=f"{wrong},{right}") as front:
            assert (await front.ask("GET", "/tokens", {}))[2] == b"[]"
