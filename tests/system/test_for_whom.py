"""Who asks for others, a proxy or the front door: each of those has their own share, and none waits for another."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from door_builders import door, doors
from paced_program import LEVEL
from patience import END_SECONDS, PATIENCE_SECONDS, wait_until
from shop_builders import answers

from ops.child import GUARDED, SERVER_OPTIONS
from ops.process import free_port

PROGRAM = Path(__file__).with_name("paced_program.py")
# Of the front door with another service.
CONNECTIONS = 64
BOOKS = "the-books-key-of-this-test"


@contextmanager
def paced(folder: Path, **env: str) -> Iterator[str]:
    """tokens, in a moment in which there is not enough for all."""
    port, log = free_port(), folder / "paced.log"
    given = {name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")}
    given |= {"ZOCO_DATA": str(folder / "tokens"), **env}
    words = [sys.executable, str(PROGRAM), "services.tokens.main:app", "--port", str(port), *SERVER_OPTIONS, *GUARDED]
    with log.open("wb") as output:
        process = subprocess.Popen(words, env=given, stdout=output, stderr=output)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/livez"), log.read_text)
        wait_until(lambda: "this process writes" in log.read_text(), log.read_text)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(END_SECONDS)


async def asked(http: aiohttp.ClientSession, url: str, **headers: str) -> int:
    async with http.get(f"{url}/tokens", headers=headers) as answer:
        await answer.read()
        return answer.status


def one_connection() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1), timeout=aiohttp.ClientTimeout(PATIENCE_SECONDS)
    )


async def test_who_asks_too_much_by_a_proxy_stops_nobody_elses_requests(tmp_path: Path) -> None:
    with paced(tmp_path, ZOCO_PROXIES="127.0.0.1") as url:
        async with one_connection() as http:
            said = [await asked(http, url, **{"X-Forwarded-For": "6.6.6.6"}) for _ in range(LEVEL + 2)]
            assert said == [200] * LEVEL + [429] * 2
            assert await asked(http, url, **{"X-Forwarded-For": "7.7.7.7"}) == 200


async def test_a_buyer_has_a_share_at_each_service_that_the_front_door_asks(tmp_path: Path) -> None:
    with paced(tmp_path, ZOCO_BOOKS_TOKEN=BOOKS) as tokens:
        env = {"ZOCO_TOKENS_URL": tokens, "ZOCO_PROXIES": "127.0.0.1", "ZOCO_BOOKS_TOKEN": BOOKS}
        with door(tmp_path, "writer", **env) as front:
            async with one_connection() as http:
                said = {
                    buyer: [await asked(http, front.url, **{"X-Forwarded-For": buyer}) for _ in range(LEVEL)]
                    for buyer in (f"8.8.8.{number}" for number in range(1, 7))
                }
                assert set(map(tuple, said.values())) == {(200,) * LEVEL}, said
                # Who asks for more than that is told so, and nobody waits for them.
                assert await asked(http, front.url, **{"X-Forwarded-For": "8.8.8.1"}) == 429
                assert await asked(http, front.url, **{"X-Forwarded-For": "8.8.8.7"}) == 200


@asynccontextmanager
async def slow(heard: list[str], seconds: float) -> AsyncIterator[str]:
    """What takes its time to answer, whatever it is asked. Writes down for whom."""

    async def answer(request: web.Request) -> web.Response:
        heard.append(request.headers.get("X-Zoco-For", request.headers.get("X-Zoco-Client", "")).partition(" ")[0])
        await asyncio.sleep(seconds)
        return web.json_response([])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := free_port())
    await site.start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


MANY = 300


async def waits_for_others(url: str, method: str, path: str, heard: list[str]) -> float:
    """After how many seconds somebody is heard of who asks once, while somebody else asks very often."""
    body = json.dumps({"usuarioId": 1, "tokenId": 2}).encode() if method == "POST" else None
    headers = {"Content-Type": "application/json"} if method == "POST" else {}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def asks(whose: str) -> int:
            options = {"data": body, "headers": {**headers, "X-Forwarded-For": whose}}
            async with http.request(method, f"{url}{path}", **options) as answer:
                await answer.read()
                return answer.status

        many = [asyncio.create_task(asks("8.8.8.8")) for _ in range(MANY)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(heard) < 50:
                await asyncio.sleep(0.01)
            # All of them have come by then.
            await asyncio.sleep(0.5)
            began, once = time.monotonic(), asyncio.create_task(asks("9.9.9.9"))
            while "9.9.9.9" not in heard:
                await asyncio.sleep(0.01)
            waited = time.monotonic() - began
        for task in (*many, once):
            task.cancel()
        await asyncio.gather(*many, once, return_exceptions=True)
    return waited


async def test_who_asks_another_service_a_lot_by_the_front_door_keeps_nobody_waiting(tmp_path: Path) -> None:
    heard: list[str] = []
    async with slow(heard, 1) as url:
        env = {"ZOCO_TOKENS_URL": url, "ZOCO_PROXIES": "127.0.0.1", "ZOCO_BOOKS_TOKEN": BOOKS}
        with door(tmp_path, "writer", **env) as front:
            assert await waits_for_others(front.url, "GET", "/tokens", heard) < 2
            # Who has hung up is not asked for any more.
            before = len(heard)
            await asyncio.sleep(3)
            assert len(heard) - before <= 2 * CONNECTIONS


async def test_who_sends_a_lot_by_a_follower_keeps_nobody_waiting(tmp_path: Path) -> None:
    heard: list[str] = []
    async with slow(heard, 4) as url:
        # Whoever writes answers there, as the follower reads.
        with doors(tmp_path, writer={"ZOCO_PUBLIC_URL": url}, ZOCO_PROXIES="127.0.0.1") as both:
            assert await waits_for_others(both["follower"].url, "POST", "/compras", heard) < 2


async def test_who_is_not_the_front_door_bears_no_other_address(tmp_path: Path) -> None:
    with paced(tmp_path, ZOCO_BOOKS_TOKEN=BOOKS) as tokens:
        made_up = ("6.6.6.1", f"6.6.6.1 {64 * '0'}", f"{'6' * 10_000} {64 * '0'}", "")
        for number, told in enumerate(made_up, start=2):
            whose = aiohttp.TCPConnector(local_addr=(f"127.0.0.{number}", 0), force_close=True)
            async with aiohttp.ClientSession(connector=whose) as http:
                said = [await asked(http, tokens, **{"X-Zoco-For": told}) for _ in range(LEVEL + 1)]
            assert said == [200] * LEVEL + [429], told
