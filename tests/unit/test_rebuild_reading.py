"""Reading the others' books, as `zoco rebuild` does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.rebuild import run
from services.rebuild.rebuilding import NotRebuilt
from services.rebuild.run import Rebuild
from services.shared.peers import Peers
from services.shared.settings import Settings

# A sale with a full line behind it: ten thousand refusals in one record.
WAITING = 10_000


async def test_the_record_of_a_sale_with_a_full_line_behind_it_is_read_whole() -> None:
    refusal = {
        "type": "compra.rechazada",
        "compraId": "0" * 36,
        "usuarioId": 1,
        "tokenId": 1,
        "motivo": "token-vendido",
    }
    sale = {"seq": 1, "words": [refusal] * WAITING}

    async def diario(request: web.Request) -> web.Response:
        return web.Response(text=json.dumps(sale) + "\n" + json.dumps({"seq": 2, "words": []}) + "\n")

    async with saying(process(), diario) as writer, saying(process(writer=writer)) as follower:
        rebuild = rebuild_of_compras(follower)
        read = [record async for record in rebuild._diario("tokens")]
    assert [(record["seq"], len(record["words"])) for record in read] == [(1, WAITING), (2, 0)]


def process(*, writer: str | None = None, **more: Any) -> dict[str, Any]:
    """What a process of tokens says of itself that writes, or follows the one there."""
    role = "follower" if writer else "writer"
    return {"service": "tokens", "ready": True, "role": role, "writer": writer, **state(1, 0), **more}


@asynccontextmanager
async def saying(told: dict[str, Any], diario: Any = None) -> AsyncIterator[str]:
    """Where a process answers that says this of itself."""

    async def readyz(request: web.Request) -> web.Response:
        return web.json_response(told)

    app = web.Application()
    app.add_routes([web.get("/readyz", readyz), *([web.get("/diario", diario)] if diario else [])])
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


def rebuild_of_compras(*tokens: str) -> Rebuild:
    settings = Settings(tokens_url=tokens)
    runtime: Any = SimpleNamespace(name="compras", store=None, peers=Peers("compras", settings), settings=settings)
    return Rebuild(runtime)


async def test_what_counts_is_what_the_process_says_that_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows says that no disk is full, no book in doubt."""
    monkeypatch.setattr(run, "ASK_SECONDS", 0.2)
    doubts = process(doubtOf="tokens")
    async with saying(doubts) as writer, saying(process(writer=writer)) as follower:
        assert (await rebuild_of_compras(follower)._state("tokens"))["doubtOf"] == "tokens"
        assert (await rebuild_of_compras(follower, writer)._state("tokens"))["doubtOf"] == "tokens"
    async with saying(process(writer=writer)) as follower:
        with pytest.raises(NotRebuilt, match="no process of tokens writes at the moment"):
            await rebuild_of_compras(follower)._state("tokens")
    async with saying(process(writer=writer, diskFull=True)) as follower:
        assert (await rebuild_of_compras(follower)._state("tokens"))["diskFull"]


def state(records: int, heard: int, process: int = 1) -> dict[str, Any]:
    """How a service is that has so many records, and has heard so far of tokens' book."""
    heights = f"compras/5b1f4e4e/1/{records} tokens/7c1a6d2e/1/{heard}"
    return {
        "records": records,
        "pid": 1,
        "process": process,
        "doubtOf": None,
        "diskFull": False,
        "book": {"heights": heights},
    }


async def quiet(states: list[dict[str, Any]], waiting: list[int], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The state by which a rebuild of tokens goes on, when compras is in these one after the other, and so many
    messages wait for it each time it is looked. Raises NotRebuilt."""
    monkeypatch.setattr(run, "QUIET_SECONDS", 0.001)
    monkeypatch.setattr(run, "PATIENCE_SECONDS", 0.2)
    after = iter(states)

    async def depths() -> dict[str, Any]:
        return {"compras": SimpleNamespace(messages=waiting.pop(0) if len(waiting) > 1 else waiting[0])}

    async def others() -> dict[str, Any]:
        return {"compras": next(after, states[-1])}

    runtime: Any = SimpleNamespace(name="tokens", store=None, bus=SimpleNamespace(depths=depths))
    rebuild = Rebuild(runtime)
    monkeypatch.setattr(rebuild, "_others", others)
    return (await rebuild._until_quiet(await rebuild._others()))["compras"]  # type: ignore[index]


async def test_whoever_has_heard_all_that_the_lost_book_said_may_go_on_hearing_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await quiet([state(10, 4), state(20, 5), state(30, 7), state(40, 7), state(50, 9)], [3, 0], monkeypatch)
    assert found["records"] == 40


async def test_a_queue_that_never_is_empty_may_hold_what_the_lost_book_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotRebuilt, match="let the load on the shop end"):
        await quiet([state(number, 7) for number in range(9)], [3], monkeypatch)


async def test_what_a_process_that_died_had_in_its_hands_waits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the one that takes its place has the same pid."""
    died = [state(10, 4), *(state(*at, process=2) for at in ((10, 4), (10, 4), (11, 5), (12, 5)))]
    assert (await quiet(died, [0, 3, 3, 0, 0], monkeypatch))["records"] == 12


async def test_who_waits_for_room_has_something_in_its_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the broker lost its disk it is in no queue, and it will be in that one's book."""
    full = {**state(10, 4), "diskFull": True}
    assert (await quiet([full, full, full, state(11, 5), state(11, 5)], [0], monkeypatch))["records"] == 11
    with pytest.raises(NotRebuilt, match="the disk of compras is full"):
        await quiet([full], [0], monkeypatch)


async def test_processes_that_decide_side_by_side_and_answer_in_turn_are_known_by_and_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [state(number, 7, process=number % 3) for number in range(9)]
    assert (await quiet(found, [0], monkeypatch))["records"] == 3
