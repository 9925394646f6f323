"""What the audit and the doctor make of a service that is away, and of somebody else's program in its place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.services import SERVICES
from loadgen.audit.live import _compare
from loadgen.audit.text import NotAShop
from loadgen.audit.verdict import Verdict
from loadgen.drill import quiet, reconcile
from ops import doctor, doctor_broker

NOBODY = "http://127.0.0.1:9"
STRANGE = ['{"hello": 1}', "<html>", "[1]", "null", "7", '"ready"', '{"role": null}']


@asynccontextmanager
async def answering(**told: Any) -> AsyncIterator[str]:
    """A program that answers so under each of these names, and with what is `_` at all else."""

    async def answer(request: web.Request) -> web.Response:
        text = told.get(request.path.rpartition("/")[2], told.get("_", ""))
        return web.Response(text=text, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{name:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize("text", STRANGE)
async def test_somebody_elses_program_in_a_services_place_is_named(text: str, tmp_path: Path) -> None:
    async with answering(_=text) as url:
        says = f"what answers at {url}/readyz is no service of Zoco's"
        run: Any = SimpleNamespace(places={"tokens": url}, data=tmp_path)
        found = await doctor._service(run, "tokens", {})
        assert not found.well
        assert str(found.says).startswith(f"what answers at {url} is no service of Zoco's")
        assert await doctor_broker.told(url, "guest", "guest", "/api/nodes") is None
        with pytest.raises(NotAShop, match=says):
            await reconcile._ends({"tokens": url})
        with pytest.raises(NotAShop, match="is no service of Zoco's"):
            await quiet.unrest(url)


async def test_a_list_that_is_no_json_is_no_services() -> None:
    async with answering(_="<html>") as url:
        with pytest.raises(NotAShop, match=f"what answers at {url}/tokens"):
            await reconcile.answers({"tokens": url, "compras": url}, whole=False)


async def test_a_service_that_is_away_is_left_out_and_stops_nobody() -> None:
    colas = {"tokens": {"messages": 0}, "tokens.muertos": {"messages": 2}}
    state = json.dumps({"servicios": {}, "colas": colas, "sinTerminar": 0})
    ready = json.dumps({"role": "writer", "records": 7})
    async with answering(compras="[]", usuarios="[]", transacciones="[]", estado=state, readyz=ready) as url:
        urls = {**dict.fromkeys(SERVICES, url), "tokens": NOBODY}
        shown, dead = await reconcile.answers(urls, whole=False)
        assert (set(SERVICES) - shown.keys(), dead) == ({"tokens"}, {"tokens.muertos": 2})
        assert (await reconcile._ends(urls))["tokens"] is None
        assert (await reconcile._ends(urls))["usuarios"] == 7
        with pytest.raises(aiohttp.ClientError):
            await reconcile.answers(urls)


@pytest.mark.parametrize("number", [[1], {}, None])
def test_a_row_whose_id_is_none_is_a_breach(number: Any) -> None:
    verdict = Verdict()
    _compare(verdict, "tokens", [{"id": number}], [{"id": 1}], ordered=True)
    assert verdict.counts[8] == 2
