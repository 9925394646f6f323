"""What a client of the shop writes down, and what it makes of answers that no shop should give."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadgen.load.client import Client, ClientLimit
from loadgen.load.clock import CLOCK
from loadgen.load.journal import ClientJournal
from ops.running import Keys

KEYS = Keys("operator", "books")
FIRST = {"seq": 1, "time": "2026-11-25T10:00:00.000Z", "crc": "0badcafe"}


@asynccontextmanager
async def answering(*bodies: bytes, status: int = 202) -> AsyncIterator[str]:
    """A front door that gives these answers, one after the other, whatever it is asked to sell; its address."""
    left = list(bodies)

    async def sell(request: web.Request) -> web.Response:
        return web.Response(status=status, body=left.pop(0), content_type="application/json")

    async def diario(request: web.Request) -> web.Response:
        return web.Response(text=json.dumps({**FIRST, "row": "x"}) + "\n")

    app = web.Application()

    async def readyz(request: web.Request) -> web.Response:
        return web.json_response({"book": {"heights": "compras/0000000b/1/9 tokens/0000000c/1/1"}})

    app.add_routes([web.post("/compras", sell), web.get("/diario", diario), web.get("/readyz", readyz)])
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


async def test_a_journal_says_who_asked_where_and_is_closed_by_the_number_of_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    async with answering(b'{"id": "a"}') as url, Client(url, file, KEYS) as client:
        await client.ask(1, 2, key="k", precio_maximo=3)
        client.ended("a", "rechazada", "token-vendido")
    header, asked, told, ended, shop, closed = lines(file)
    assert header == {"client": 1, "url": url, "started": header["started"]}
    assert asked | {"t": 0} == {"n": 1, "t": 0, "key": "k", "asks": {"usuarioId": 1, "tokenId": 2, "precioMaximo": 3}}
    assert told | {"t": 0} == {"n": 1, "t": 0, "status": 202, "answer": {"id": "a"}}
    assert ended | {"t": 0} == {"t": 0, "ended": "a", "estado": "rechazada", "motivo": "token-vendido"}
    assert shop == {"shop": {**FIRST, "book": "0000000b"}}
    assert closed | {"t": 0, "clockSet": 0} == {"t": 0, "closed": True, "lines": 5, "clockSet": 0}
    assert asked["t"] <= told["t"] <= ended["t"] <= closed["t"]


async def test_an_entry_is_noted_before_each_time_that_it_is_sent_and_its_answer_behind_it(tmp_path: Path) -> None:
    file, keys = tmp_path / "client.jsonl", list[str]()

    async def top_up(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        assert lines(file)[-1] | {"t": 0} == {**note, "n": len(keys), "key": keys[0]}
        assert (await request.json(), request.headers["Authorization"]) == ({"monto": 5}, "Bearer operator")
        if len(keys) == 1 and request.transport:
            request.transport.close()
        return web.json_response({"id": "a"}, status=503 if len(keys) == 2 else 202)

    note: dict[str, Any] = {"t": 0, "enters": "/usuarios/1/recargas", "body": {"monto": 5}}
    app = web.Application()
    app.add_routes([web.post("/usuarios/1/recargas", top_up)])
    async with TestServer(app) as server, Client(str(server.make_url("")), file, KEYS) as client:
        assert await client.enter("POST", "/usuarios/1/recargas", {"monto": 5}) == "a"
    found = [line for line in lines(file) if "status" in line]
    assert [(line["n"], line["status"]) for line in found] == [(1, None), (2, 503), (3, 202)]
    assert len(keys) == 3 and len({*keys}) == 1
    assert found[-1]["answer"] == {"id": "a"}


async def test_whoever_goes_on_with_a_journal_leaves_one_closing_line_and_no_number_twice(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    for _ in range(2):
        async with answering(b"{}") as url, Client(url, file, KEYS) as client:
            await client.ask(1, 2)
    found = lines(file)
    assert [line["n"] for line in found if "asks" in line] == [1, 2]
    assert [number for number, line in enumerate(found) if "closed" in line] == [len(found) - 1] == [6]
    assert found[-1]["lines"] == 6
    assert sum("client" in line for line in found) == sum("shop" in line for line in found) == 1


@pytest.mark.parametrize("before", [0.0, 7.5, None])
async def test_a_journal_says_by_how_much_the_clock_was_set_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: float | None
) -> None:
    file = tmp_path / "client.jsonl"
    first = {"client": 1, "url": "u", "started": "s"}
    closed = {"t": 1, "closed": True, "lines": 1, **({} if before is None else {"clockSet": before})}
    file.write_text("".join(json.dumps(line) + "\n" for line in (first, closed)), encoding="utf-8")
    journal = ClientJournal(file, "u")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(CLOCK, "ahead_seconds", CLOCK.ahead_seconds + 5)
        journal.ended("a", "registrada", None)
    journal.close()
    found = lines(file)[-1]["clockSet"]
    assert found is None if before is None else found == pytest.approx(max(before, 5), abs=0.5)


def test_a_line_that_was_cut_off_stays_for_the_audit_to_see(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    file.write_bytes(b'{"client":1}\n{"n":7,"asks":{}}\n{"n":8,"as')
    journal = ClientJournal(file, "http://x")
    assert journal.asks("k", {}) == 8
    journal.close()
    assert file.read_bytes().splitlines()[2] == b'{"n":8,"as'


STRANGE: dict[bytes, Any] = {
    b"null": None,
    b"[]": [],
    b'["id"]': ["id"],
    b"7": 7,
    b'{"estado": "solicitada"}': {"estado": "solicitada"},
    b"<html>" + b"x" * 999: "<html>" + "x" * 194,
    b'{"id": NaN}': '{"id": NaN}',
    b"\xff": "\ufffd",
    b"": "",
}


async def test_a_strange_answer_is_written_down_as_it_came(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    async with answering(*STRANGE) as url, Client(url, file) as client:
        for _ in STRANGE:
            await client.ask(1, 2)
    assert [line["answer"] for line in lines(file) if "status" in line] == list(STRANGE.values())


async def test_a_client_without_descriptors_says_so_and_does_not_blame_the_shop(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    async with answering(b"{}") as url, Client(url, file) as client:
        with no_more_descriptors(), pytest.raises(ClientLimit, match="the client ran out of descriptors"):
            await client.ask(1, 2)
        assert await client.ask(1, 2) == (202, {})
    lost = [line for line in lines(file) if "lost" in line]
    assert [line["lost"] for line in lost] == ["the client ran out of descriptors"]


@contextmanager
def no_more_descriptors() -> Any:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = len(list(Path("/proc/self/fd").iterdir()))
    with (Path("/dev/null")).open("rb") as lowest:
        next_free = lowest.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(next_free, free), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
