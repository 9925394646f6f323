"""Secrets that can be told from anything else, in every setting and every header: nothing that is written or shown has
one, but for the files that are there to keep it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from shop_builders import ZOCO, Shop, start

OPERATOR = "canary-of-the-operator-0123456789"
SENT = "canary-of-a-stranger-9876543210"
# What keeps them, readable by its owner alone; and what RabbitMQ keeps for itself.
KEEPERS = ("up.json", "operator-token", "books-token", "replica-secret")
JSON = {"Content-Type": "application/json"}
# A header in which somebody may send a secret, rightly or not.
NAMES = ("Cookie", "X-Api-Key", "X-Zoco-Replica", "Proxy-Authorization", "X-Auth-Token", "Referer")
HEADERS = dict.fromkeys(NAMES, SENT) | {"Authorization": f"Bearer {SENT}"}


@pytest.fixture(scope="module", params=["console", pytest.param("json", marks=pytest.mark.long)])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp(f"canaries-{request.param}")
    shop = start(folder, ZOCO_OPERATOR_TOKEN=OPERATOR, ZOCO_LOG=request.param)
    yield shop
    shop.stop()


def secrets_of(shop: Shop) -> set[str]:
    kept = {(shop.data / name).read_text(encoding="utf-8").strip() for name in KEEPERS[2:]}
    return {OPERATOR, SENT, *kept, shop.running.broker_url.split(":")[2].split("@")[0]}


async def test_no_secret_is_in_a_log_a_book_a_report_or_a_page(watched: Shop, tmp_path: Path) -> None:
    shown = []
    async with aiohttp.ClientSession() as http:
        for name, url in watched.running.urls.items():
            async with http.get(f"{url}/openapi.json") as answer:
                paths = (await answer.json())["paths"]
            for path, operations in paths.items():
                for method in (*operations, "delete", "head"):
                    for headers in (HEADERS, {**HEADERS, **JSON}, {**JSON, "Authorization": f"Bearer {OPERATOR}"}):
                        if name == "compras" and "eventos" in path and method == "get":
                            continue
                        target = f"{url}{path}".replace("{servicio}", "nobody").replace("{", "").replace("}", "")
                        options = {"data": f'{{"nombre": {{"{SENT}": 1}}'.encode(), "headers": headers}
                        async with http.request(method, target, **options) as answer:
                            shown.append(f"{answer.status} {answer.headers} {await answer.text(errors='replace')}")
            for path in ("/", "/docs", "/metrics", "/readyz"):
                async with http.get(url + path, headers={"Accept": "text/html"}) as answer:
                    shown.append(await answer.text())
    async with watched.client() as client:
        await client.prepare(users=[1], tokens=[1], saldo=10, precio=10)
        await client.buy(1, 1, wait_seconds=10)
    where = ("--data", str(watched.data))
    for words in (("doctor", *where), ("doctor", "--json", *where), ("audit", "--json", *where), ("queues", *where)):
        done = subprocess.run([ZOCO, *words], capture_output=True, text=True, check=False)
        shown.append(done.stdout + done.stderr)
    report = tmp_path / "report"
    words = ("drill", "tokens", "--rate", "20", "--purchases", "60", "--out", str(report), *where)
    done = subprocess.run([ZOCO, *words], capture_output=True, text=True, check=False)
    shown.append(done.stdout + done.stderr)
    written = [file for folder in (watched.data, report) for file in folder.rglob("*") if file.is_file()]
    assert len(written) > 20 and len(shown) > 150
    found = {secret: [text[:300] for text in shown if secret in text] for secret in secrets_of(watched)}
    assert not any(found.values()), found
    for file in [watched.log, *written]:
        if file.name in KEEPERS or watched.data / "rabbitmq" in file.parents:
            continue
        raw = file.read_bytes()
        assert not [secret for secret in secrets_of(watched) if secret.encode() in raw], file
