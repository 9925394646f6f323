"""A replica of the front door that does not write: what it passes on to the one that does."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from patience import PATIENCE_SECONDS

from ops.process import Process, free_port


class DyingWriter:
    """Stands where the writer stands. It dies in the first request, after it may well have stored it."""

    def __init__(self) -> None:
        self.keys: list[str | None] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Idempotency-Key"))
        if len(self.keys) == 1:
            assert request.transport
            request.transport.close()
        return web.json_response({"id": "x", "estado": "solicitada"}, status=202)


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[DyingWriter]:
    """It holds the lock of the books in `tmp_path`, and says where it is."""
    dying, app, port = DyingWriter(), web.Application(), free_port()
    app.router.add_post("/compras", dying.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    (tmp_path / "writer").write_text(f"http://127.0.0.1:{port}", encoding="utf-8")
    with (tmp_path / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield dying
    await runner.cleanup()


@pytest.fixture
async def follower(tmp_path: Path, writer: DyingWriter) -> AsyncIterator[str]:
    """The address of a real compras that does not write. Its broker is away."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = Process(
        [sys.executable, "-m", "uvicorn", "services.compras.main:app", "--port", str(port), "--log-level", "warning"],
        {
            **os.environ,
            "ZOCO_DATA": str(tmp_path),
            "ZOCO_PUBLIC_URL": url,
            "ZOCO_RABBITMQ_URL": f"amqp://x:x@127.0.0.1:{free_port()}/",
        },
    )
    async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await (await http.get(f"{url}/livez")).read()
                break
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    yield url
    await process.stop(10)


async def test_a_request_without_a_key_is_the_same_purchase_when_the_writer_dies_before_it_answers(
    follower: str, writer: DyingWriter
) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{follower}/compras", json={"usuarioId": 1, "tokenId": 101}) as answer,
    ):
        assert answer.status == 202
    assert len(writer.keys) == 2
    assert writer.keys[0] is not None
    assert writer.keys[0] == writer.keys[1]
