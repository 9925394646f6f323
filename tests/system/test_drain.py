"""A service that is told to end, as Kubernetes does it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from patience import PATIENCE_SECONDS

from ops.process import Process, free_port

# Long enough for a few requests on a machine that does much else.
DRAIN_SECONDS = 8.0


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[tuple[Process, str]]:
    """A real tokens that only reads, and its address."""
    port = free_port()
    process = Process(
        [sys.executable, "-m", "uvicorn", "services.tokens.main:app", "--port", str(port), "--log-level", "warning"],
        {**os.environ, "ZOCO_DATA": str(tmp_path), "ZOCO_DRAIN_SECONDS": str(DRAIN_SECONDS)},
    )
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await (await http.get(f"{url}/livez")).read()
                break
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    yield process, url
    await process.stop(0)


async def test_it_goes_on_answering_and_sends_every_client_elsewhere(tokens: tuple[Process, str]) -> None:
    process, url = tokens
    loop = asyncio.get_running_loop()
    last = 0
    async with aiohttp.ClientSession() as http:
        process.send(signal.SIGTERM)
        told = loop.time()
        async with asyncio.timeout(DRAIN_SECONDS):
            while True:
                async with http.get(f"{url}/tokens") as answer:
                    assert answer.status == 200
                    if answer.headers.get("Connection") == "close":
                        last += 1
                if last == 5:
                    break
        async with http.get(f"{url}/readyz") as answer:
            # Where no other pod is ready yet, this one is still asked.
            assert answer.status == 200
    await process.wait()
    assert loop.time() - told > DRAIN_SECONDS


async def test_clients_who_keep_their_connection_are_sent_elsewhere_now_and_then(tokens: tuple[Process, str]) -> None:
    _, url = tokens
    async with aiohttp.ClientSession() as http:
        last = 0
        for _ in range(1000):
            async with http.get(f"{url}/livez") as answer:
                last += answer.headers.get("Connection") == "close"
    # 10 of them; none at all would be one chance in 20,000.
    assert 0 < last < 50


async def test_who_insists_is_obeyed_at_once(tokens: tuple[Process, str]) -> None:
    process, url = tokens
    loop = asyncio.get_running_loop()
    process.send(signal.SIGTERM)
    told = loop.time()
    async with aiohttp.ClientSession() as http, asyncio.timeout(DRAIN_SECONDS):
        while True:
            async with http.get(f"{url}/livez") as answer:
                if answer.headers.get("Connection") == "close":
                    break
    process.send(signal.SIGTERM)
    await process.wait()
    assert loop.time() - told < DRAIN_SECONDS
