"""Who looks on beside a load, and who asks for single rows in the end, against front doors by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadgen.drill import one_by_one as asking
from loadgen.drill.one_by_one import one_by_one
from loadgen.load import onlooker as looking
from loadgen.load.client import Client
from loadgen.load.load import Load
from loadgen.load.meter import Meter
from loadgen.load.onlooker import Onlooker
from loadgen.load.workloads import BuyRequest
from tests.unit.test_client import KEYS

Row = dict[str, Any]


class Door:
    """Accepts whatever it is asked for, shows it as registered, and has news for whoever listens."""

    def __init__(self) -> None:
        self.listeners: list[web.StreamResponse] = []
        self.asked: list[str] = []
        self.lists: list[str] = []
        self.came = 0
        self.fails = 200

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        app = web.Application()
        app.add_routes(
            [web.post("/compras", self.sell), web.get("/compras/{id}", self.show), web.get("/eventos", self.tell)]
        )
        app.add_routes([web.get(path, self.list) for path in looking.LISTS])
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")

    async def sell(self, request: web.Request) -> web.Response:
        return web.json_response({"id": request.headers["Idempotency-Key"].rjust(36, "0")}, status=202)

    async def news(self, about: str) -> None:
        shown = json.dumps({"id": about, "estado": "event"}, separators=(",", ":"))
        for listener in self.listeners:
            await listener.write(f"event: compra\ndata: {shown}\nid: 1\n\n".encode())

    async def show(self, request: web.Request) -> web.Response:
        self.asked.append(request.match_info["id"])
        shown = {"id": request.match_info["id"], "estado": "registrada"}
        return web.json_response(shown, status=self.fails)

    async def list(self, request: web.Request) -> web.Response:
        self.lists.append(request.path)
        return web.json_response([])

    async def tell(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        self.came += 1
        self.listeners.append(answer)
        try:
            await asyncio.sleep(60)
        finally:
            self.listeners.remove(answer)
        return answer


def seen(file: Path) -> list[Row]:
    notes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [note["seen"] for note in notes if "seen" in note]


async def test_one_in_a_hundred_is_looked_at_and_at_least_the_first_and_what_is_shown_is_noted(tmp_path: Path) -> None:
    file, door = tmp_path / "client.jsonl", Door()
    async with door.open() as url, Client(url, file, KEYS) as client:
        onlooker = Onlooker(client)
        load = Load(client, Meter(), onlooker.accepted)
        async with onlooker.watching():
            await load.send((BuyRequest(str(number), 1, number) for number in range(300)), 400)
    assert len({*door.asked}) == len(door.asked) == looking.FIRST + 3
    assert sorted(one["id"] for one in seen(file)) == sorted(door.asked)


async def test_what_the_stream_tells_of_those_is_noted_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "LISTEN_SECONDS", 30)
    monkeypatch.setattr(looking, "LATER_SECONDS", 0)
    mine, others = "0" * 36, "1" * 36
    file, door = tmp_path / "client.jsonl", Door()
    async with door.open() as url, Client(url, file, KEYS) as client:
        onlooker = Onlooker(client)
        async with onlooker.watching():
            onlooker.accepted(mine)
            while not (door.listeners and seen(file)):
                await asyncio.sleep(0.01)
            for about in (others, mine):
                await door.news(about)
            while len(seen(file)) < 2:
                await asyncio.sleep(0.01)
    assert seen(file) == [{"id": mine, "estado": "registrada"}, {"id": mine, "estado": "event"}]


async def test_the_stream_is_listened_to_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "LISTEN_SECONDS", 0.2)
    monkeypatch.setattr(looking, "REST_SECONDS", 0.1)
    door = Door()
    async with (
        door.open() as url,
        Client(url, tmp_path / "client.jsonl", KEYS) as client,
        Onlooker(client).watching(),
    ):
        while door.came < 3:
            await asyncio.sleep(0.01)
    # What a cache that is never refreshed would show for ever, the audit is shown, too.
    assert door.lists == [*looking.LISTS]


async def test_no_more_than_so_many_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MOST", 3)
    file, door = tmp_path / "client.jsonl", Door()
    async with door.open() as url, Client(url, file, KEYS) as client:
        onlooker = Onlooker(client)
        async with onlooker.watching():
            await Load(client, Meter(), onlooker.accepted).send((BuyRequest(str(n), 1, n) for n in range(9)), 100)
    assert len(door.asked) == 3


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_what_is_not_shown_is_noted_and_how(tmp_path: Path, status: int) -> None:
    file, door, mine = tmp_path / "client.jsonl", Door(), "0" * 36
    door.fails = status
    async with door.open() as url, Client(url, file, KEYS) as client:
        onlooker = Onlooker(client)
        async with onlooker.watching():
            onlooker.accepted(mine)
    notes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [(note["looked"], note["status"]) for note in notes if "looked" in note] == [(mine, status)]


async def test_a_door_that_is_away_costs_the_load_nothing(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    async with Door().open() as url:
        pass
    async with Client(url, file, None) as client:
        onlooker = Onlooker(client)
        async with onlooker.watching():
            onlooker.accepted("0" * 36)
    assert seen(file) == []


class Process:
    """One of a service's: its rows, and how far it has read."""

    def __init__(self, rows: dict[str, Row | None], records: int = 9) -> None:
        self.rows, self.records = rows, records
        self.places: list[Row] | None = []
        self.busy = 0
        # What /readyz says beside, and by how much it has read on at each look; what the list is answered with.
        self.said: Row = {"ready": True, "doubt": None}
        self.reads_on = 0
        self.list_status = 200

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/readyz", self.ready),
                web.get("/estado", self.state),
                web.get("/compras", self.list),
                web.get("/compras/{id}", self.row),
                web.get("/compras/{id}/eventos", self.events),
            ]
        )
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")

    async def ready(self, _: web.Request) -> web.Response:
        self.records += self.reads_on
        return web.json_response({"records": self.records, **self.said})

    async def state(self, _: web.Request) -> web.Response:
        return web.json_response({} if self.places is None else {"procesos": {"compras": self.places}})

    async def list(self, _: web.Request) -> web.Response:
        return web.json_response([row for row in self.rows.values() if row], status=self.list_status)

    async def row(self, request: web.Request) -> web.Response:
        if self.busy:
            self.busy -= 1
            raise web.HTTPServiceUnavailable
        if (row := self.rows[request.match_info["id"]]) is None:
            raise web.HTTPNotFound
        if "status" in row:
            return web.Response(status=row["status"])
        return web.json_response(row)

    async def events(self, request: web.Request) -> web.Response:
        assert request.query_string == "desde=0"
        shown = self.rows[request.match_info["id"]] or {}
        if "status" in shown:
            return web.Response(status=shown["status"])
        row = json.dumps(shown)
        return web.Response(text=f"retry: 1\n\nevent: compra\ndata: {row}\nid: 1\n\n")


def row(name: str, **more: Any) -> Row:
    return {"id": name, "estado": "registrada", **more}


async def test_each_process_is_asked_for_single_rows_and_what_it_shows_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 2.0)
    first = Process({"a": row("a"), "b": row("b")})
    second = Process({"a": row("a", estado="solicitada"), "b": None})
    late = Process({"a": row("a"), "b": row("b")}, records=8)
    late.said["ready"] = False
    first.busy = 1
    async with first.open() as url, second.open() as other, late.open() as behind, aiohttp.ClientSession() as http:
        gone = "http://127.0.0.1:9"
        first.places = [{"url": place} for place in (url, other, behind, gone)]
        lists = {"compras": [row("a"), row("b", estado="pagada")]}
        found = await one_by_one(http, {"compras": url}, lists)
    assert [(one["id"], one["by"], one["row"]) for one in found["single"]] == [
        ("a", url, row("a")),
        ("b", url, row("b")),
        ("a", other, row("a", estado="solicitada")),
        ("b", other, None),
    ]
    assert found["streams"] == [{"id": "a", "by": url, "shown": [row("a")]}]
    assert found["unasked"] == [behind, gone]
    assert found["lists"] == [
        {"of": "compras", "by": f"{other}/compras?limite=1000", "only": {}, "rows": [row("a", estado="solicitada")]}
    ]
    assert found["behind"] == found["unknown"] == []


@pytest.mark.parametrize(
    ("said", "reads_on", "behind"),
    [({}, 0, True), ({}, -1, False), ({"doubt": "another book"}, 0, False), ({"ready": False}, 0, False)],
    ids=["stands", "gets on", "doubts", "is not ready"],
)
async def test_a_process_that_is_ready_and_never_reads_on_is_behind(
    monkeypatch: pytest.MonkeyPatch, said: Row, reads_on: int, behind: bool
) -> None:
    monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.5)
    first, second = Process({"a": row("a")}), Process({}, records=8)
    second.said |= said
    second.reads_on = reads_on
    async with first.open() as url, second.open() as other, aiohttp.ClientSession() as http:
        first.places = [{"url": url}, {"url": other}]
        found = await one_by_one(http, {"compras": url}, {"compras": [row("a")]})
    assert found["behind"] == ([{"of": "compras", "by": other, "records": 8, "upto": 9}] if behind else [])
    assert found["unasked"] == ([] if behind else [other])


async def test_in_a_shop_that_goes_on_nobody_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.5)
    first, second = Process({"a": row("a")}), Process({}, records=8)
    first.reads_on = 1
    async with first.open() as url, second.open() as other, aiohttp.ClientSession() as http:
        first.places = [{"url": url}, {"url": other}]
        found = await one_by_one(http, {"compras": url}, {"compras": [row("a")]})
    assert (found["behind"], found["unasked"]) == ([], [other])


async def test_a_list_that_fails_is_no_silence() -> None:
    first, second = Process({"a": row("a")}), Process({"a": row("a")})
    second.list_status = 500
    async with first.open() as url, second.open() as other, aiohttp.ClientSession() as http:
        first.places = [{"url": url}, {"url": other}]
        found = await one_by_one(http, {"compras": url}, {"compras": [row("a")]})
    assert found["lists"] == [
        {"of": "compras", "by": f"{other}/compras?limite=1000", "only": {}, "rows": [], "status": 500}
    ]


async def test_where_nobody_names_the_processes_that_is_said() -> None:
    process = Process({"a": row("a")})
    async with process.open() as url, aiohttp.ClientSession() as http:
        process.places = None
        found = await one_by_one(http, {"compras": url}, {"compras": [row("a")]})
        assert found["unknown"] == ["compras"]
        process.places = [{"url": url}]
        found = await one_by_one(http, {"compras": url, "tokens": url}, {"compras": [row("a")]})
        assert found["unknown"] == []
        # One address may be that of several.
        found = await one_by_one(http, {"compras": url, "tokens": url}, {"compras": [row("a")]}, balanced=True)
        assert found["unknown"] == ["tokens"]


async def test_an_error_is_no_silence_and_the_others_are_asked_all_the_same() -> None:
    process = Process({"a": {"status": 500}, "b": row("b"), "c": {"status": 401}})
    async with process.open() as url, aiohttp.ClientSession() as http:
        found = await one_by_one(http, {"compras": url}, {"compras": [row("a"), row("b"), row("c")]})
    assert [(one["id"], one["row"], one.get("status")) for one in found["single"]] == [
        ("a", None, 500),
        ("b", row("b"), None),
        ("c", None, 401),
    ]
    assert {one["id"]: one["shown"] for one in found["streams"]} == {
        "a": [{"status": 500}],
        "b": [row("b")],
        "c": [{"status": 401}],
    }
    assert found["unasked"] == []


async def test_of_many_rows_some_are_asked_for_the_last_among_them() -> None:
    process = Process({str(number): row(str(number)) for number in range(500)})
    async with process.open() as url, aiohttp.ClientSession() as http:
        found = await one_by_one(http, {"compras": url}, {"compras": [row(str(number)) for number in range(500)]})
    asked = [one["id"] for one in found["single"]]
    assert len({*asked}) == len(asked) == asking.ROWS
    assert {str(number) for number in range(500 - asking.LAST, 500)} <= {*asked}
    assert len(found["streams"]) == asking.STREAMS
