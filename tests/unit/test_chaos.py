"""The knock-down button: off unless told, and what each place does of it."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.account import Account
from services.compras.chaos import able, chaos_of, knock_down
from services.compras.chaos_cluster import ClusterChaos
from services.shared.http.problems import Problem
from services.shared.settings import WrongSetting


def test_it_is_off_unless_a_setting_says_where() -> None:
    with pytest.raises(Problem, match="ZOCO_KNOCK_DOWN") as caught:
        able(chaos_of(None), "tokens")
    assert caught.value.status == 403


async def test_where_nothing_runs_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="make up") as caught:
        await knock_down(able(chaos_of(f"local:{tmp_path}"), "tokens"), "tokens", 1)
    assert caught.value.status == 503


def test_the_front_door_starts_without_what_its_image_does_not_have() -> None:
    code = "import sys, services.compras.main; sys.exit('ops.supervisor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@asynccontextmanager
async def api_server(folder: Path, *answers: web.Response) -> AsyncIterator[tuple[Account, list[web.BaseRequest]]]:
    """A server that says these things, one by one, and what it was asked. The real one: tests/k8s/test_knock.py."""
    asked: list[web.BaseRequest] = []
    (folder / "token").write_text("secret", encoding="utf-8")

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request)
        await request.read()
        return answers[len(asked) - 1]

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield Account(str(server.make_url("/")).rstrip("/"), "ns", ssl.create_default_context(), folder), asked


def pods(*names: str) -> web.Response:
    return web.json_response({"items": [{"metadata": {"name": name}} for name in names]})


async def test_in_a_cluster_every_pod_of_the_service_is_deleted_and_its_own_is_the_last(tmp_path: Path) -> None:
    gone = web.json_response({"message": "not found"}, status=404)
    async with api_server(tmp_path, pods("a", "b", "c"), gone, web.json_response({}), web.json_response({})) as (
        account,
        asked,
    ):
        told = await knock_down(ClusterChaos(account, own_pod="a"), "compras", 1)
    assert told["quien"] == "b, c, a"
    assert [f"{request.method} {request.path}" for request in asked] == [
        "GET /api/v1/namespaces/ns/pods",
        *(f"DELETE /api/v1/namespaces/ns/pods/{name}" for name in "bca"),
    ]
    assert asked[0].query["labelSelector"] == "app.kubernetes.io/name=compras"
    assert {request.headers["Authorization"] for request in asked} == {"Bearer secret"}
    assert [await request.json() for request in asked[1:]] == [{"gracePeriodSeconds": 0}] * 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (pods(), "no pod of tokens runs"),
        (web.json_response({"message": "pods is forbidden"}, status=403), "pods is forbidden"),
        (web.Response(text="<html>"), "does not answer"),
    ],
)
async def test_what_kubernetes_does_not_do_is_said(answer: web.Response, says: str, tmp_path: Path) -> None:
    async with api_server(tmp_path, answer) as (account, _):
        with pytest.raises(Problem, match=says) as caught:
            await knock_down(ClusterChaos(account), "tokens", 1)
    assert caught.value.status == 503


def test_outside_a_cluster_there_is_no_cluster_to_knock_down() -> None:
    with pytest.raises(WrongSetting, match="k8s/components/knock-down"):
        chaos_of("cluster")
