"""What is asked of a front door as buyers ask it, against front doors by hand that are right, or wrong in one thing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadgen.drill import as_buyers as asking
from loadgen.drill import one_by_one
from loadgen.drill.as_buyers import Buyers

Row = dict[str, Any]
LISTS: dict[str, list[Row]] = {
    "usuarios": [{"id": number, "nombre": "Ana", "saldo": 5} for number in (1, 2, 3)],
    "tokens": [{"id": number, "nombre": "Gato", "vendido": True} for number in range(101, 106)],
    "transacciones": [{"id": n, "usuarioId": 1 + n % 2, "tokenId": 100 + n} for n in range(1, 6)],
    "compras": [{"id": f"c{n}", "usuarioId": 1 + n % 2, "tokenId": 100 + n, "estado": "registrada"} for n in (1, 2, 3)],
}
# The numbers of each purchase's events.
EVENTS = {f"c{n}": [n, 10 + n, 20 + n] for n in (1, 2, 3)}


class Door:
    """It shows `LISTS`, by pages and of one, and `EVENTS`. `wrong`: in what it does not."""

    def __init__(self, wrong: str = "", *, times: int = 1_000_000) -> None:
        self.wrong, self.times = wrong, times

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/readyz", self.ready),
                web.get("/{name}", self.list),
                web.get("/{name}/{id}", self.row),
                web.get("/compras/{id}/eventos", self.events),
            ]
        )
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")

    def is_wrong(self, how: str) -> bool:
        self.times -= self.wrong == how
        return self.wrong == how and self.times >= 0

    async def ready(self, _: web.Request) -> web.Response:
        return web.json_response({"records": 23})

    async def list(self, request: web.Request) -> web.Response:
        name, query = request.match_info["name"], dict(request.query)
        if name == self.wrong:
            raise web.HTTPNotFound
        limite, desde = int(query.pop("limite", 1_000)), int(query.pop("desde", 0))
        only = {} if self.is_wrong("without its query") else query
        if desde and self.is_wrong("all on the second page"):
            only = {}
        rows = [row for row in LISTS[name] if all(str(row[field]) == whose for field, whose in only.items())]
        if name == "tokens" and self.is_wrong("a list of before"):
            rows = [{**row, "vendido": False} for row in rows]
        links = {}
        if len(rows) > desde + limite:
            more = "&".join(f"{field}={whose}" for field, whose in query.items())
            links = {"Link": f'</{name}?{more}&limite={limite}&desde={desde + limite}>; rel="next"'}
        return web.json_response(rows[desde : desde + limite], headers=links)

    async def row(self, request: web.Request) -> web.Response:
        name, number = request.match_info["name"], request.match_info["id"]
        row = next(row for row in LISTS[name] if str(row["id"]) == number)
        return web.json_response({**row, "vendido": False} if self.is_wrong("a row of before") else row)

    async def events(self, request: web.Request) -> web.StreamResponse:
        about = request.match_info["id"]
        behind = int(request.headers.get("Last-Event-ID", "0"))
        if behind and self.is_wrong("from the first on"):
            behind = 0
        numbers = [number for number in EVENTS[about] if number > behind]
        if not numbers:
            return web.Response(status=204)
        answer = web.StreamResponse()
        await answer.prepare(request)
        if "Last-Event-ID" in request.headers and self.is_wrong("no end"):
            await answer.write(b"retry: 1\n\n")
            await one_by_one.asyncio.sleep(1)
        for number in numbers:
            await answer.write(f"event: compra\ndata: {json.dumps(number)}\nid: {number}\n\n".encode())
        return answer


async def asked(door: Door) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"lists": [], "single": [], "unasked": []}
    async with door.open() as url, aiohttp.ClientSession() as http:
        for name in asking.PASSED_ON:
            found["single"] += [{"of": name, "id": row["id"], "by": "home", "row": row} for row in LISTS[name]]
        await Buyers(http, url, LISTS).ask(found)
    found["single"] = [one for one in found["single"] if one["by"] == url]
    return found


def differing(found: dict[str, list[Any]]) -> set[str]:
    """What was shown otherwise than it is."""
    wrong = set()
    for one in found["lists"]:
        due = [row for row in LISTS[one["of"]] if all(row[field] == whose for field, whose in one["only"].items())]
        if one["rows"] != due:
            wrong.add(f"{one['of']} {' '.join(one['only'])}".strip())
    for one in found["single"]:
        if one["row"] not in LISTS[one["of"]]:
            wrong.add("single")
    for one in found["resumed"]:
        if one["shown"] != [number for number in EVENTS[one["id"]] if number > one["behind"]]:
            wrong.add("resumed")
    return wrong


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (asking, one_by_one):
        monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)


async def test_what_is_passed_on_and_of_whom_and_since_when_is_asked_for() -> None:
    found = await asked(Door())
    assert differing(found) == set()
    assert found["unasked"] == []
    of_whom = [(one["of"], *one["only"].items()) for one in found["lists"]]
    assert sorted(of_whom) == sorted(
        [(name,) for name in asking.PASSED_ON for _ in range(2)]
        # Of whoever has one row only there is no second page.
        + [("compras", ("usuarioId", 2)), ("transacciones", ("usuarioId", 1)), ("transacciones", ("usuarioId", 2))]
        + [("transacciones", ("tokenId", number)) for number in range(101, 106)]
    )
    assert len(found["single"]) == 3 + 5 + 5
    assert [(one["id"], one["behind"]) for one in found["resumed"]] == [
        (about, number) for about, numbers in EVENTS.items() for number in numbers
    ]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ("without its query", {"compras usuarioId", "transacciones usuarioId", "transacciones tokenId"}),
        ("all on the second page", {"compras usuarioId", "transacciones usuarioId"}),
        ("a list of before", {"tokens"}),
        ("a row of before", {"single"}),
        ("from the first on", {"resumed"}),
        ("no end", {"resumed"}),
    ],
)
async def test_a_door_that_is_wrong_in_one_thing_is_seen(wrong: str, where: set[str]) -> None:
    assert differing(await asked(Door(wrong))) == where


@pytest.mark.parametrize("wrong", ["a list of before", "a row of before", "no end"])
async def test_what_is_right_when_it_is_asked_again_was_late(wrong: str) -> None:
    assert differing(await asked(Door(wrong, times=1))) == set()


async def test_a_list_that_circles_comes_to_an_end() -> None:
    async def again(request: web.Request) -> web.Response:
        return web.json_response(LISTS["usuarios"], headers={"Link": f'<{request.path}>; rel="next"'})

    app = web.Application()
    app.add_routes([web.get("/usuarios", again)])
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        found = await one_by_one.listed(http, server.make_url("/usuarios"), "usuarios", LISTS["usuarios"])
    assert len(found["rows"]) > len(LISTS["usuarios"])


async def test_who_does_not_answer_is_not_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: Any, **__: Any) -> Any:
        raise one_by_one.Unasked

    monkeypatch.setattr(asking, "listed", silent)
    found = await asked(Door())
    assert [place.rpartition("/")[2] for place in found["unasked"]] == [
        *asking.PASSED_ON,
        *(name for name, _ in asking.OF_ONE),
    ]
