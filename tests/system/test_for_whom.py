"""Who asks for others, a proxy or the front door: each of those has their own share, and none waits for another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from door_builders import door
from paced_program import LEVEL
from patience import END_SECONDS, PATIENCE_SECONDS, wait_until
from shop_builders import answers

from ops.child import GUARDED, SERVER_OPTIONS
from ops.process import free_port

PROGRAM = Path(__file__).with_name("paced_program.py")
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


async def test_who_is_not_the_front_door_bears_no_other_address(tmp_path: Path) -> None:
    with paced(tmp_path, ZOCO_BOOKS_TOKEN=BOOKS) as tokens:
        made_up = ("6.6.6.1", f"6.6.6.1 {64 * '0'}", f"{'6' * 10_000} {64 * '0'}", "")
        for number, told in enumerate(made_up, start=2):
            whose = aiohttp.TCPConnector(local_addr=(f"127.0.0.{number}", 0), force_close=True)
            async with aiohttp.ClientSession(connector=whose) as http:
                said = [await asked(http, tokens, **{"X-Zoco-For": told}) for _ in range(LEVEL + 1)]
            assert said == [200] * LEVEL + [429], told
