"""A node of three that never comes back as it was: what k8s/README.md says is to be typed, and all is whole again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from k8s_builders import KubeShop, loaded, until
from readme_lines import type_in
from test_ha import TOKENS, dead, leads_from, power, ready_again, settled, whole


@pytest.mark.long
async def test_a_node_that_is_lost_for_good_is_forgotten_and_another_takes_its_place(
    three: KubeShop, numbers: Iterator[int]
) -> None:
    """The other one has the same name, and its disk is that of the first: what stood on it is nobody's any more."""
    await until(lambda: leads_from(three, "node3"), "PostgreSQL is not led from node3")
    broker, database = await member(three, "rabbitmq"), await member(three, "postgres")
    assert broker and database
    other = next(name for name in three.cluster.pods("rabbitmq") if name != broker)
    names = {"rabbitmq-2": broker, "rabbitmq-0": other, "postgres-2": database}
    claims = await uids(three, broker, database)
    async with loaded(three, next(numbers), TOKENS) as load:
        await power(3, "kill")
        try:
            await until(lambda: dead(three, "node3"), "nobody notices that node3 is dead", 300)
            await asyncio.to_thread(type_in, "A node that is lost for good", three.cluster.namespace, names)
        finally:
            await power(3, "start")
        await until(lambda: ready_again(three, "node3"), "no other node takes its place")
        await until(lambda: anew(three, claims, broker, database), "the two members are not made anew")
        await settled(three, load)
    three.note("node3 is lost for good", load, asked_again=sum(load.failed.values()))
    await three.audited()
    await whole(three)


async def member(shop: KubeShop, name: str) -> str:
    return await shop.run(
        *("get", "pods", "--selector", f"app.kubernetes.io/name={name}", "--field-selector", "spec.nodeName=node3"),
        *("--output", "jsonpath={.items[0].metadata.name}"),
    )


async def uids(shop: KubeShop, *pods: str) -> set[str]:
    """Of the claims of these pods: another one has another."""
    claims = (f"data-{pod}" for pod in pods)
    return {*(await shop.run("get", "pvc", *claims, "--output", "jsonpath={.items[*].metadata.uid}")).split()}


async def anew(shop: KubeShop, before: set[str], *pods: str) -> bool:
    return not await uids(shop, *pods) & before
