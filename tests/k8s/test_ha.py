"""Three of everything on three nodes: what is switched off, cut off, deleted and drained while 60 purchases a second
arrive. Each test ends with the books checked against all promises, and against what every client was told.

Node 1 has the only API server: it is none of those that die.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from k8s_builders import (
    ROOT,
    SERVICES,
    KubeShop,
    Load,
    Pauses,
    in_primary,
    is_so,
    loaded,
    primary,
    until,
)

from ops.cluster import KubeError

# Called as `COMMAND N kill|start|cut|join`.
NODE_POWER: Final = Path(os.environ.get("NODE_POWER", ROOT.parent / "shared" / "cluster" / "node"))
# Twice what is promised of a machine that does nothing else: 30 s, and a minute.
ACCEPTS_SECONDS: Final = 60
# Sold soon, and then refused: that is an end, too.
TOKENS: Final = 600
SELLS_SECONDS: Final = 120
ELSEWHERE_SECONDS: Final = 120


async def power(number: int, what: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [NODE_POWER, str(number), what], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def ready_again(shop: KubeShop, node: str) -> bool:
    return is_so(json.loads(await shop.run("get", "node", node, "--output", "json")), "Ready")


async def dead(shop: KubeShop, node: str) -> bool:
    return not await ready_again(shop, node)


async def one_node_less(shop: KubeShop, first: int, number: int, hurt: str, heal: str) -> None:
    node = f"node{number}"
    await until(lambda: leads_from(shop, node), f"PostgreSQL is not led from {node}")
    async with loaded(shop, first, TOKENS) as load:
        hurt_at = time.monotonic()
        await power(number, hurt)
        try:
            await until(lambda: dead(shop, node), f"nobody notices that {node} is dead", 300)
            noticed = time.monotonic() - hurt_at
            await until(lambda: shop.on_other_nodes(node), "the pods of a dead node stand nowhere else", 300)
            elsewhere = time.monotonic() - hurt_at
        finally:
            await power(number, heal)
        await until(lambda: ready_again(shop, node), f"{node} does not come back")
        pauses = await settled(shop, load)
    shop.note(
        f"{node}: {hurt}, {heal}",
        load,
        seconds_without_an_acceptance=f"{pauses.accepting:.1f}",
        seconds_without_an_end=f"{pauses.ending:.1f}",
        seconds_until_kubernetes_calls_it_dead=f"{noticed:.0f}",
        seconds_until_its_pods_stand_elsewhere=f"{elsewhere:.0f}",
        asked_again=sum(load.failed.values()),
    )
    await shop.audited()
    await whole(shop)
    assert pauses.accepting < ACCEPTS_SECONDS
    assert pauses.ending < SELLS_SECONDS
    assert elsewhere < ELSEWHERE_SECONDS


async def settled(shop: KubeShop, load: Load) -> Pauses:
    """Everything is ready again, and nothing waits: how long what stood still meanwhile."""
    await shop.ready()
    for service in SERVICES:
        await load.drained(service)
    async with shop.client() as client:
        return await Pauses(load).read(client)


async def leads_from(shop: KubeShop, node: str) -> bool:
    """The worst that can go with a node goes with this one: who commits, and has answered each packet so far."""
    there = await shop.run(
        *("get", "pods", "--selector", "app.kubernetes.io/name=postgres", "--field-selector", f"spec.nodeName={node}"),
        *("--output", "jsonpath={.items[0].metadata.name}"),
    )
    if (leads := await primary(shop)) != there:
        switch = ("patronictl", "--config-file", "/etc/patroni/patroni.yml", "switchover", "--force")
        await shop.run("exec", leads, "--", *switch, "--candidate", there)
    return leads == there


async def whole(shop: KubeShop) -> None:
    """Each queue has three members, each online; PostgreSQL has its two standbys, and saw no deadlock."""

    async def so() -> bool:
        try:
            listed = await shop.run(
                *("exec", "rabbitmq-0", "--container", "rabbitmq", "--"),
                *("rabbitmqctl", "--quiet", "--formatter", "json", "list_queues", "name", "members", "online"),
            )
            standbys, deadlocks = (await shop.run(*await in_primary(shop), "--command", STANDBYS)).split("|")
        except KubeError:
            return False
        queues = json.loads(listed)
        assert int(deadlocks) == 0
        return int(standbys) == 2 and len(queues) == 8 and all(len(one["online"]) == 3 for one in queues)

    await until(so, "not all three of each are there again")


STANDBYS: Final = (
    "SELECT (SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'),"
    " (SELECT deadlocks FROM pg_stat_database WHERE datname = 'zoco')"
)


async def test_a_node_loses_its_power_and_comes_back(three: KubeShop, numbers: Iterator[int]) -> None:
    await one_node_less(three, next(numbers), 3, "kill", "start")


async def test_the_leading_databases_pod_is_killed(three: KubeShop, numbers: Iterator[int]) -> None:
    async with loaded(three, next(numbers), TOKENS) as load:
        old = await primary(three)
        await three.run("delete", "pod", old, "--grace-period=0", "--force")
        await until(lambda: somebody_leads(three), "nobody leads")
        pauses = await settled(three, load)
    three.note("kill PostgreSQL's leading pod", load, seconds_without_an_acceptance=f"{pauses.accepting:.1f}")
    assert pauses.accepting < ACCEPTS_SECONDS
    await three.audited()
    await whole(three)


async def somebody_leads(shop: KubeShop) -> bool:
    """Perhaps the very one: back within the 20 s of its lease, with its disk."""
    try:
        return await shop.run(*await in_primary(shop), "--command", "SELECT NOT pg_is_in_recovery()") == "t\n"
    except KubeError:
        return False


@pytest.mark.long
@pytest.mark.parametrize(("number", "hurt", "heal"), [(2, "kill", "start"), (2, "cut", "join"), (3, "cut", "join")])
async def test_another_node_is_lost_or_cut_off(
    number: int, hurt: str, heal: str, three: KubeShop, numbers: Iterator[int]
) -> None:
    await one_node_less(three, next(numbers), number, hurt, heal)


@pytest.mark.long
async def test_the_broker_that_leads_a_queue_is_killed(three: KubeShop, numbers: Iterator[int]) -> None:
    async with loaded(three, next(numbers), TOKENS) as load:
        listed = await three.run(
            *("exec", "rabbitmq-0", "--container", "rabbitmq", "--"),
            *("rabbitmqctl", "--quiet", "--formatter", "json", "list_queues", "name", "leader"),
        )
        (leads,) = (one["leader"] for one in json.loads(listed) if one["name"] == "tokens")
        pod = leads.removeprefix("rabbit@").partition(".")[0]
        await three.run("delete", "pod", pod, "--grace-period=0", "--force")
        await until(lambda: stands(three, pod), f"{pod} is not made anew")
        pauses = await settled(three, load)
    three.note(
        "kill the broker that leads",
        load,
        seconds_without_an_acceptance=f"{pauses.accepting:.1f}",
        seconds_without_an_end=f"{pauses.ending:.1f}",
    )
    # What is accepted waits for no broker.
    assert pauses.accepting < 5
    assert pauses.ending < SELLS_SECONDS
    await three.audited()
    await whole(three)


async def stands(shop: KubeShop, pod: str) -> bool:
    found = json.loads(await shop.run("get", "pod", pod, "--ignore-not-found", "--output", "json") or "{}")
    return is_so(found, "Ready")


@pytest.mark.long
async def test_a_node_is_drained_and_nothing_is_lost(three: KubeShop, numbers: Iterator[int]) -> None:
    async with loaded(three, next(numbers), TOKENS) as load:
        try:
            await three.run(
                *("drain", "node2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s"),
                *("--pod-selector", "app.kubernetes.io/part-of=zoco"),
            )
            await until(lambda: three.on_other_nodes("node2"), "its pods stand nowhere else")
        finally:
            await three.run("uncordon", "node2")
        await settled(three, load)
    three.note("drain node2", load, failed_requests=sum(load.failed.values()))
    await three.audited()
    await whole(three)


@pytest.mark.long
async def test_everything_is_rolled_out_anew(three: KubeShop, numbers: Iterator[int]) -> None:
    async with loaded(three, next(numbers), TOKENS) as load:
        started = time.monotonic()
        owners = (*(f"statefulset/{name}" for name in three.of_three), *(f"deployment/{name}" for name in SERVICES))
        await three.run("rollout", "restart", *owners)
        await three.ready()
        seconds = time.monotonic() - started
        pauses = await settled(three, load)
    three.note(
        "rollout restart of everything",
        load,
        seconds=f"{seconds:.0f}",
        seconds_without_an_acceptance=f"{pauses.accepting:.1f}",
        failed_requests=load.failed or 0,
    )
    assert pauses.accepting < ACCEPTS_SECONDS
    await three.audited()
    await whole(three)


@pytest.mark.long
@pytest.mark.parametrize("service", ["tokens", "usuarios", "transacciones"])
async def test_three_pods_of_a_service_decide_a_fair_share_each(
    service: str, three: KubeShop, numbers: Iterator[int]
) -> None:
    await three.run("scale", "deployment", service, "--replicas=3")
    await three.ready()
    async with loaded(three, next(numbers), TOKENS) as load:
        pods = three.cluster.pods(service)
        assert len(pods) == 3
        before = {pod: await _decided(three, service, pod) for pod in pods}
        enough = load.meter.accepted + 1500
        await until(lambda: _is(load.meter.accepted > enough), "nobody can buy")
        decided = {pod: await _decided(three, service, pod) - before[pod] for pod in pods}
    load.none_failed()
    shares = [part / sum(decided.values()) for part in decided.values()]
    three.note(f"scale {service} to 3", load, shares="/".join(f"{share:.0%}" for share in shares))
    assert min(shares) > 0.2
    await three.run("scale", "deployment", service, "--replicas=2")
    await three.audited()


async def _decided(three: KubeShop, service: str, pod: str) -> float:
    return await three.counted(service, pod, "zoco_messages_received_total")


async def _is(answer: bool) -> bool:
    return answer


@pytest.mark.long
async def test_pods_come_and_go_every_ten_seconds_and_no_request_fails(three: KubeShop, numbers: Iterator[int]) -> None:
    async with loaded(three, next(numbers), TOKENS) as load:
        for turn in range(30):
            for service in SERVICES:
                await three.run("scale", "deployment", service, f"--replicas={2 + turn % 2}")
            await asyncio.sleep(10)
        await three.run("scale", "deployment", *SERVICES, "--replicas=2")
        await three.ready()
    load.none_failed()
    three.note("scaled up and down every 10 s for 5 minutes", load, failed_requests=0)
    await three.audited()
