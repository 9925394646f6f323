"""Books that a service shows to its operator: it says which one it is, and so it is seen whether one ends too early."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from edited_books import SERVICES, Edited
from small_shops import Telling, told
from test_heights import NOT_KNOWN, two_sales

from loadgen.audit.audit import Books, audit
from loadgen.audit.books import from_folder, from_service
from loadgen.audit.verdict import Verdict


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """compras is heard of further than its book goes."""
    folder = told(tmp_path / "shop", two_sales, Telling)
    books = Edited(folder)
    last = books.tokens.records[-1]
    last["heard"] = f"compras/{books.compras.segments[0].header['book']}/1/9999"
    books.write(tmp_path / "edited")
    return tmp_path / "edited"


async def over_http(folder: Path, ready: Any) -> Verdict:
    """Of what is shown there as `/diario`, and `ready(identity)` of each as `/readyz`."""
    app = web.Application()
    for name in SERVICES:
        journal = from_folder(folder, name)
        raw = b"".join(line for n, piece in enumerate(journal._pieces) for _, line in journal._lines(n, piece))
        body = ready(name, *(journal.identity or ("", 0)))
        app.router.add_get(f"/{name}/diario", _answering(raw))
        app.router.add_get(f"/{name}/readyz", _answering(body))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        read = {name: await from_service(f"{url}/{name}", "key", name) for name in SERVICES}
        return audit(Books(**read))  # type: ignore[arg-type]
    finally:
        await runner.cleanup()


def _answering(body: bytes) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    return answer


def says(name: str, book: str, generation: int) -> bytes:
    """As a service of this version."""
    return json.dumps(
        {"ready": False, "book": {"heights": f"{name}/{book}/{generation}/7 tokens/00000000/1/1"}}
    ).encode()


async def test_a_book_over_http_does_not_end_before_what_others_have_heard_of_it(shop: Path) -> None:
    (breach,) = (await over_http(shop, says)).breaches
    assert (breach.promise, breach.about) == (4, "record 9999 of compras")


@pytest.mark.parametrize("body", [b'{"ready":true}', b'{"book":{"heights":""}}', b"[]", b"<html>", b'{"book":7}'])
async def test_of_a_service_that_does_not_say_it_that_is_told(shop: Path, body: bytes) -> None:
    verdict = await over_http(shop, lambda *_: body)
    assert verdict.holds
    assert NOT_KNOWN.format(service="compras") in verdict.partly[4]
