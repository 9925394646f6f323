"""A load against front doors by hand: strange answers, a client that cannot keep up, several processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.messages import compra_id
from loadgen.load.client import Client
from loadgen.load.clock import CLOCK
from loadgen.load.crew import WorkerDied, crew
from loadgen.load.follow import Follower
from loadgen.load.load import Load
from loadgen.load.meter import Meter
from loadgen.load.plan import Plan
from loadgen.load.top_ups import topping_up
from loadgen.load.workloads import BuyRequest, Fixture
from tests.unit.test_client import KEYS, no_more_descriptors


@asynccontextmanager
async def front_door(answer: bytes | None = None, *, status: int = 202, busy: int = 0) -> AsyncIterator[str]:
    """Accepts whatever it is asked for, or gives this answer, after it was busy so often; its address."""
    left = [503] * busy

    async def sell(request: web.Request) -> web.Response:
        if left:
            return web.Response(status=left.pop())
        about = request.headers["Idempotency-Key"]
        if request.path == "/compras":
            about = compra_id((await request.json())["usuarioId"], about)
        body = json.dumps({"id": about}).encode() if answer is None else answer
        return web.Response(status=status, body=body, content_type="application/json")

    async def diario(_: web.Request) -> web.Response:
        return web.Response(text="")

    app = web.Application()
    app.add_routes(
        [
            web.post("/compras", sell),
            web.post("/usuarios/{id}/recargas", sell),
            web.put("/usuarios/{id}", sell),
            web.get("/diario", diario),
        ]
    )
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


def asked(count: int) -> Iterator[BuyRequest]:
    return (BuyRequest(f"key {number}", 1, number) for number in range(count))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"null", "null"),
        (b"[]", "a list"),
        (b'{"estado": "solicitada"}', "no id"),
        (b'{"id": 7}', "no id"),
        (b"<html>", "what is no JSON object"),
        (b"7", "a number"),
        (b'{"id": "00000000-0000-5000-8000-000000000000"}', "another purchase"),
    ],
)
async def test_a_strange_answer_to_a_good_request_is_a_finding_and_no_traceback(answer: bytes, says: str) -> None:
    meter = Meter()
    async with front_door(answer) as url, Client(url, None) as client:
        await Load(client, meter).send(asked(3), 100)
    assert meter.wrong == [f"a good request was answered 202 with {says}"] * 3
    seen = 1 if says == "another purchase" else 0
    assert (meter.arrived, meter.strange, meter.accepted, meter.backlog) == (3, 3 - 3 * seen, 3 * seen, 3 * seen)


async def test_422_is_right_only_for_a_key_that_this_load_used_for_something_else(tmp_path: Path) -> None:
    """By a shop that refuses all, in a load of two processes."""
    meter = Meter()
    mixed = Plan("retry", Fixture.of(10, 100, 10_000), 7, 200, 120, 2)
    bodies: dict[tuple[int, str], set[tuple[int, int | None]]] = {}
    for ask in mixed.all():
        bodies.setdefault((ask.usuario, ask.key), set()).add((ask.token, ask.precio_maximo))
    alone = sum(len(bodies[ask.usuario, ask.key]) == 1 for ask in mixed.all())
    async with (
        front_door(status=422) as url,
        Client(url, tmp_path / "client.jsonl", KEYS) as client,
        crew(mixed, tmp_path, url, KEYS) as workers,
    ):
        await workers.send(Load(client, meter))
    assert 0 < alone < 120
    assert meter.wrong == ["a good request was answered 422"] * alone


async def test_a_client_whose_loop_stands_still_was_too_slow_and_says_by_how_much() -> None:
    meter = Meter()

    def stuck() -> Iterator[BuyRequest]:
        for number, ask in enumerate(asked(130)):
            if number == 120:
                time.sleep(0.5)
            yield ask

    async with front_door() as url, Client(url, None) as client:
        await Load(client, meter).send(stuck(), 100)
    rate, lag = meter.limits
    assert "of 100.0 requests a second" in rate and "later than it should" in lag
    assert meter.rate is not None and meter.rate < 95
    assert meter.lag.at(99) > 0.3
    assert meter.as_json()["acceptSeconds"] is None


async def test_used_up_descriptors_are_the_clients_own_and_the_request_is_sent_again() -> None:
    meter = Meter()
    async with front_door() as url, Client(url, None) as client:
        load = Load(client, meter)
        with no_more_descriptors():
            sending = asyncio.create_task(load.send(asked(3), 1000))
            while sum(meter.ran_out.values()) < 3:
                await asyncio.sleep(0.01)
        await sending
    assert meter.ran_out.keys() == {"the client ran out of descriptors"}
    assert meter.statuses == {202: 3}
    assert meter.accepted == 3
    assert meter.limits and not meter.wrong


async def test_money_is_given_before_a_load_beside_it_and_behind_it_and_is_no_request(
    tmp_path: Path,
) -> None:
    meter, file = Meter(), tmp_path / "client.jsonl"
    async with front_door() as url, Client(url, file, KEYS) as client:
        load = Load(client, meter)
        async with topping_up(load, range(7, 9), seed=0):
            await load.send(asked(60), 50)
    notes = [json.loads(line) for line in file.read_bytes().splitlines()]
    sent = [number for number, note in enumerate(notes) if note.get("enters", "").endswith("/recargas")]
    asks = [number for number, note in enumerate(notes) if "asks" in note]
    assert sent[0] < asks[5] and asks[10] < sent[1] < asks[-10] and asks[-1] < sent[-1]
    assert {notes[number]["enters"] for number in sent} == {"/usuarios/7/recargas", "/usuarios/8/recargas"}
    names = [note for note in notes if note.get("enters") == "/usuarios/7"]
    assert len({note["body"]["nombre"] for note in names}) == len(names) >= 2
    answered = {note["n"] for note in notes if note.get("status") == 202}
    assert answered >= {note["n"] for note in notes if "n" in note} - {names[-1]["n"]}
    assert (meter.arrived, meter.accepted, meter.statuses, meter.wrong) == (60, 60, {202: 60}, [])


async def test_a_top_up_that_is_refused_is_a_finding() -> None:
    meter = Meter()
    async with front_door(status=404) as url, Client(url, None, KEYS) as client:
        await Load(client, meter).top_up(7, 5)
    assert meter.wrong == ["a top-up was answered 404"]


async def test_one_that_finds_nobody_is_sent_again_under_its_key(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    async with front_door(busy=2) as url, Client(url, file, KEYS) as client:
        await Load(client, Meter()).top_up(7, 5)
    notes = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert [note["status"] for note in notes if "status" in note] == [503, 503, 202]
    assert len({note["key"] for note in notes if "enters" in note}) == 1


def plan(count: int, rate: float, workers: int) -> Plan:
    return Plan("normal", Fixture.of(10, 100, 10_000), 7, rate, count, workers)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_workers_share_what_one_would_send(workers: int) -> None:
    shares = [list(plan(100, 50, workers).share(worker)) for worker in range(1, workers + 1)]
    together = [shares[number % workers][number // workers] for number in range(100)]
    assert together == list(plan(100, 50, 1).share(1))
    assert sum(map(len, shares)) == 100


async def test_a_load_of_three_processes_sends_what_was_asked_for_at_the_rate_of_one(tmp_path: Path) -> None:
    meter = Meter()
    async with (
        front_door() as url,
        Client(url, tmp_path / "client.jsonl", KEYS) as client,
        crew(plan(300, 150, 3), tmp_path, url, KEYS) as workers,
    ):
        await workers.send(Load(client, meter))
    keys = []
    for name in ("client.jsonl", "client-2.jsonl", "client-3.jsonl"):
        found: list[dict[str, Any]] = [json.loads(line) for line in (tmp_path / name).read_bytes().splitlines()]
        asks = [line for line in found if "asks" in line]
        assert len(asks) == 100
        assert found[-1]["closed"] and found[-1]["lines"] == len(found) - 1
        assert all(abs(line["t"] - CLOCK.now()) < 60 for line in asks)
        keys += [(line["t"], line["key"]) for line in asks]
    assert sorted(key for _, key in keys) == sorted(ask.key for ask in plan(300, 150, 1).share(1))
    assert (meter.arrived, meter.accepted, meter.sent_count, meter.unfinished) == (300, 300, 300, 300)
    assert meter.rate is not None and meter.rate <= 151
    assert [point.arrived for point in meter.points[:2]] == [150, 150]


async def test_a_worker_that_dies_is_an_error_and_not_fewer_requests(tmp_path: Path) -> None:
    async with front_door() as url, Client(url, None) as client:
        with pytest.raises(WorkerDied, match="worker 2 of the load ended with exit code -9"):
            async with crew(plan(3000, 100, 2), tmp_path, url, KEYS) as workers:
                sending = asyncio.create_task(workers.send(Load(client, Meter())))
                while b'"asks"' not in (tmp_path / "client-2.jsonl").read_bytes():
                    await asyncio.sleep(0.02)
                os.kill(workers.processes[0].pid, signal.SIGKILL)
                await sending


async def test_where_to_stop_may_be_said_while_the_load_is_sent_and_all_workers_hear_it(tmp_path: Path) -> None:
    meter = Meter()
    async with (
        front_door() as url,
        Client(url, None) as client,
        crew(plan(100_000, 100, 2), tmp_path, url, KEYS) as workers,
    ):
        sending = asyncio.create_task(workers.send(Load(client, meter)))
        while not meter.arrived:
            await asyncio.sleep(0.02)
        workers.stop_at(200)
        await sending
    assert meter.arrived == 200


async def test_a_journal_that_was_written_again_is_read_anew() -> None:
    """Its records have other places then: what is behind the last one that was read is not all that is new."""
    book, records = ["compras/a29757b5/1"], [_end("first"), _end("second")]
    away = False

    async def diario(request: web.Request) -> web.Response:
        if away:
            raise web.HTTPServiceUnavailable
        return web.Response(text="".join(records[int(request.query["desde"]) :]))

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response({"records": 0, "book": {"heights": f"{book[0]}/{len(records)} tokens/7c1a6d2e/1/9"}})

    app = web.Application()
    app.add_routes([web.get("/diario", diario), web.get("/readyz", readyz)])
    seen: list[str] = []
    async with TestServer(app) as server, Client(str(server.make_url("")), None) as client:
        follower = Follower(client, lambda about, *_: seen.append(about))
        await follower.start_here()
        await follower.catch_up()
        away = True
        await follower.catch_up()
        # Only where it was away may it be another book.
        away, book[0], records[:] = False, "compras/a29757b5/2", [_end("third"), _end("first"), _end("second")]
        await follower.catch_up()
        await follower.catch_up()
    assert seen == ["first", "second", "third", "first", "second"]


def _end(about: str) -> str:
    record = {"row": about, "time": "2025-09-10T17:30:00.000Z", "change": {"estado": "registrada"}}
    return json.dumps(record, separators=(",", ":")) + "\n"
