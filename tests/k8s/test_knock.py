"""The page's buttons in a cluster: they delete real pods, and who presses them may do nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from k8s_builders import KubeShop, loaded

from loadgen.load.client import Client
from ops.cluster import KubeError


@pytest.fixture
def knocking(shop: KubeShop) -> KubeShop:
    if "knock-down" not in shop.components:
        pytest.skip("COMPONENTS leaves knocking down out")
    return shop


async def knock(shop: KubeShop, client: Client, name: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {shop.keys.operator}"}
    async with client.http.post(f"{client.url}/operador/derribos/{name}", headers=headers) as answer:
        told: dict[str, Any] = await answer.json()
        assert answer.status == 200, told
        return told


async def test_a_button_deletes_the_real_pod_and_nobody_who_buys_notices(
    knocking: KubeShop, numbers: Iterator[int]
) -> None:
    async with loaded(knocking, next(numbers), 1500) as load:
        old = knocking.cluster.pods("transacciones")
        told = await knock(knocking, load.client, "transacciones")
        assert {*told["quien"].split(", ")} == old.keys()
        await knocking.replaced("transacciones", *old)
        drain = await load.drained("transacciones")
    assert not load.failed
    knocking.note("the page's button for transacciones", load, seconds_to_drain=f"{drain:.1f}")
    await knocking.audited()


async def test_the_broker_and_even_the_front_door_can_be_knocked_down(knocking: KubeShop) -> None:
    async with knocking.client() as client:
        told = await knock(knocking, client, "rabbitmq")
        assert told["quien"] == "rabbitmq-0"
        await knocking.ready()
        old = knocking.cluster.pods("compras")
        # Its own pod is the last that it deletes: the answer may be lost with it.
        with contextlib.suppress(aiohttp.ClientError):
            await knock(knocking, client, "compras")
    await knocking.replaced("compras", *old)
    await knocking.audited()


async def test_the_front_doors_account_may_list_and_delete_pods_and_nothing_else(knocking: KubeShop) -> None:
    account = f"--as=system:serviceaccount:{knocking.cluster.namespace}:knock-down"
    for allowed in (("list", "pods"), ("delete", "pods")):
        assert await may(knocking, *allowed, account)
    for refused in (
        ("get", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("deletecollection", "pods"),
        ("delete", "deployments"),
        ("patch", "deployments/scale"),
        ("delete", "persistentvolumeclaims"),
        ("delete", "pods", "--namespace=kube-system"),
    ):
        assert not await may(knocking, *refused, account), refused


async def may(shop: KubeShop, verb: str, kind: str, *more: str) -> bool:
    try:
        return (await shop.run("auth", "can-i", verb, kind, *more)).strip() == "yes"
    except KubeError:
        # "no" is exit code 1.
        return False
