"""Behind nginx, as Debian has it: with pauses in which its connections to the front door are idle, and never a 502."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from patience import END_SECONDS, wait_until
from shop_builders import Shop, answers, start

from ops.process import free_port

A_SECOND = 100
MINUTES = 10
# Longer than uvicorn would keep an idle connection by itself, in turn with no pause at all.
PAUSES = (0.0, 4.9, 0.0, 5.1, 0.0, 10.0, 0.0, 30.0)
BURST_SECONDS = 10
CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream zoco {{ server 127.0.0.1:{door}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://zoco; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""


@contextmanager
def proxied(folder: Path, url: str) -> Iterator[str]:
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, door=url.rpartition(":")[2], port=port), encoding="utf-8")
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", str(folder), "-c", str(file)])
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/livez"), "nginx does not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(END_SECONDS)


@pytest.mark.long
async def test_ten_minutes_behind_nginx_with_idle_pauses_and_no_502(tmp_path: Path) -> None:
    shop = start(tmp_path, ZOCO_PROXIES="127.0.0.1")
    statuses: Counter[int] = Counter()

    async def buys(http: aiohttp.ClientSession, url: str, number: int) -> None:
        body, headers = {"usuarioId": 1 + number % 5, "tokenId": 101}, {"Idempotency-Key": str(uuid4())}
        async with http.post(f"{url}/compras", json=body, headers=headers) as answer:
            statuses[answer.status] += 1
            await answer.read()

    with proxied(tmp_path, shop.front) as url:
        async with aiohttp.ClientSession() as http:
            end = time.monotonic() + 60 * MINUTES
            turns = 0
            while time.monotonic() < end:
                async with asyncio.TaskGroup() as tasks:
                    for number in range(A_SECOND * BURST_SECONDS):
                        tasks.create_task(buys(http, url, number))
                        await asyncio.sleep(1 / A_SECOND)
                await asyncio.sleep(PAUSES[turns % len(PAUSES)])
                turns += 1
    assert set(statuses) == {202}, statuses
    assert sum(statuses.values()) > A_SECOND * 60 * MINUTES / 4
    await bought(shop)
    shop.stop()


async def bought(shop: Shop) -> None:
    async with shop.client() as client:
        await client.prepare(users=[7], tokens=[7], saldo=10, precio=10)
        await client.buy(7, 7)
    await shop.audited()
