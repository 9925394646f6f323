"""What is done to a shop in which 60 purchases a second arrive all the while, and what is seen. Each test ends with the
books checked against all promises, and against what every client was told since the shop was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aio_pika
from k8s_builders import ROLLOUT, SERVICES, KubeShop, loaded, longest_pause, until
from patience import PATIENCE_SECONDS

from loadgen.load.client import Client


async def test_transacciones_is_deleted_and_nobody_notices(shop: KubeShop, numbers: Iterator[int]) -> None:
    async with loaded(shop, next(numbers), 1500) as load:
        old = shop.cluster.writer("transacciones")
        await shop.run("delete", "pod", old)
        await shop.replaced("transacciones", old)
        await load.drained("transacciones")
    load.none_failed()
    shop.note("delete pod transacciones", load, longest_queue=load.highest["transacciones"])
    await shop.audited()


async def test_transacciones_is_killed_and_its_records_come_later(shop: KubeShop, numbers: Iterator[int]) -> None:
    async with loaded(shop, next(numbers), 3600) as load:
        old = shop.cluster.writer("transacciones")
        await shop.run("delete", "pod", old, "--grace-period=0", "--force")
        await shop.replaced("transacciones", old)
        drain = await load.drained("transacciones")
        async with shop.client() as client:
            pause = await longest_pause(client, load, "registrada")
    assert not load.failed
    shop.note(
        "delete pod transacciones --grace-period=0 --force",
        load,
        longest_queue=load.highest["transacciones"],
        seconds_to_drain=f"{drain:.1f}",
        seconds_without_a_record=f"{pause:.1f}",
    )
    await shop.audited()


async def test_transacciones_is_away_for_a_minute(shop: KubeShop, numbers: Iterator[int]) -> None:
    async with loaded(shop, next(numbers), 5400) as load:
        killing = asyncio.create_task(asyncio.to_thread(shop.cluster.kill, "transacciones", 60))
        await killing
        grown = load.highest["transacciones"]
        drain = await load.drained("transacciones")
    assert not load.failed
    # A minute's purchases, less what the last pod still took.
    assert grown > 2000
    shop.note(
        "scale transacciones to 0 for 60 s",
        load,
        longest_queue=load.highest["transacciones"],
        seconds_to_drain=f"{drain:.1f}",
    )
    await shop.audited()


async def test_another_replica_of_tokens_takes_over(shop: KubeShop, numbers: Iterator[int]) -> None:
    await shop.run("scale", "deployment", "tokens", "--replicas=3")
    await shop.ready()
    async with loaded(shop, next(numbers), 3600) as load:
        old = shop.cluster.writer("tokens")
        await shop.run("delete", "pod", old, "--grace-period=0", "--force")
        await shop.replaced("tokens", old)
        await load.drained("tokens")
        async with shop.client() as client:
            pause = await longest_pause(client, load, "reservada")
    load.none_failed()
    # Half a second on a machine of its own; on a busy one a new writer gets its turn late.
    assert pause < 5
    shop.note("kill the writing one of 3 tokens", load, seconds_without_a_reservation=f"{pause:.2f}", reads=load.reads)
    await shop.audited()


async def test_reads_are_spread_over_replicas_that_come_under_load(shop: KubeShop, numbers: Iterator[int]) -> None:
    await shop.run("scale", "deployment", "tokens", "--replicas=1")
    async with loaded(shop, next(numbers), 1500) as load:
        await shop.run("scale", "deployment", "tokens", "--replicas=3")
        await shop.ready()
        # Those of the test before may still be on their way out.
        await until(lambda: _at_most(shop, "tokens", 3), "a fourth pod of tokens stays")
        pods = shop.cluster.pods("tokens")
        before = {pod: await _reads(shop, pod) for pod in pods}

        async def spread() -> bool:
            await asyncio.gather(*(load.client.get("/tokens/101") for _ in range(20)))
            return all([await _reads(shop, pod) > before[pod] + 20 for pod in pods])

        await until(spread, "a replica gets no reads")
        served = {pod: await _reads(shop, pod) - before[pod] for pod in pods}
    load.none_failed()
    shop.note("scale tokens to 3 under load", load, reads_by_pod="/".join(map(str, served.values())))
    await shop.run("scale", "deployment", "tokens", "--replicas=1")
    await shop.audited()


async def _at_most(shop: KubeShop, name: str, count: int) -> bool:
    return len(shop.cluster.pods(name)) <= count


async def _reads(shop: KubeShop, pod: str) -> float:
    """GET requests that this pod has answered with 200, probes among them."""
    return await shop.counted("tokens", pod, "zoco_http_requests_total", 'method="GET"', 'status="200"')


async def test_usuarios_and_a_front_door_are_deleted_and_no_request_fails(
    shop: KubeShop, numbers: Iterator[int]
) -> None:
    async with loaded(shop, next(numbers), 2400) as load:
        for name in ("usuarios", "compras"):
            old = shop.cluster.writer(name)
            await shop.run("delete", "pod", old)
            await shop.replaced(name, old)
        await load.drained("tokens")
    load.none_failed()
    shop.note("delete pod usuarios, then the writing one of 2 compras", load, failed_requests=0, reads=load.reads)
    await shop.audited()


async def test_the_writing_front_door_is_killed_and_no_purchase_is_lost_or_doubled(
    shop: KubeShop, numbers: Iterator[int]
) -> None:
    async with loaded(shop, next(numbers), 1500) as load:
        old = shop.cluster.writer("compras")
        await shop.run("delete", "pod", old, "--grace-period=0", "--force")
        await shop.replaced("compras", old)
    # Whoever was just being answered asked again, under the same key.
    shop.note("kill the writing one of 2 compras", load, asked_again=sum(load.failed.values()))
    await shop.audited()


async def test_the_broker_is_deleted_and_every_post_is_accepted(shop: KubeShop, numbers: Iterator[int]) -> None:
    before = await shop.restarts()
    async with loaded(shop, next(numbers), 3000) as load:
        killed = time.monotonic()
        await shop.run("delete", "pod", "rabbitmq-0")
        await shop.ready()
        back = time.monotonic() - killed
        await until(lambda: _all_but_a_moment(load.client), "the backlog is not worked off")
        done = time.monotonic() - killed - back
    assert not load.failed
    assert await shop.restarts() == before
    shop.note("delete pod rabbitmq", load, seconds_until_it_is_back=f"{back:.0f}", seconds_to_drain=f"{done:.1f}")
    await shop.audited()


async def _all_but_a_moment(client: Client) -> bool:
    state = await client.get("/estado")
    return state["colas"] is not None and state["sinTerminar"] < 60


async def test_the_broker_loses_its_volume_and_no_purchase_is_lost(shop: KubeShop, numbers: Iterator[int]) -> None:
    before = await shop.restarts()
    async with loaded(shop, next(numbers), 4200) as load:
        killed = time.monotonic()
        await shop.run("scale", "statefulset", "rabbitmq", "--replicas=0")
        await shop.run("wait", "--for=delete", "pod/rabbitmq-0", ROLLOUT)
        await shop.run("delete", "pvc", "data-rabbitmq-0")
        await shop.run("scale", "statefulset", "rabbitmq", "--replicas=1")
        await shop.ready()
        back = time.monotonic() - killed
        await until(lambda: _all_but_a_moment(load.client), "the backlog is not worked off")
        done = time.monotonic() - killed - back
    assert not load.failed
    assert await shop.restarts() == before
    shop.note(
        "delete rabbitmq and its volume", load, seconds_until_it_is_back=f"{back:.0f}", seconds_to_drain=f"{done:.1f}"
    )
    await shop.audited()


async def test_everything_is_rolled_out_anew_and_no_request_fails(shop: KubeShop, numbers: Iterator[int]) -> None:
    before = set(await shop.restarts())
    async with loaded(shop, next(numbers), 3600) as load:
        started = time.monotonic()
        await shop.run("rollout", "restart", *(f"deployment/{name}" for name in SERVICES))
        await shop.ready()
        seconds = time.monotonic() - started
        # The last of the old ones are still draining.
        await until(lambda: _gone(shop, before), "old pods stay")
    load.none_failed()
    shop.note("rollout restart of the four", load, seconds=f"{seconds:.0f}", failed_requests=0, reads=load.reads)
    await shop.audited()


async def _gone(shop: KubeShop, old: set[str]) -> bool:
    names = await shop.run("get", "pods", "--output", "jsonpath={.items[*].metadata.name}")
    return not old & set(names.split())


async def test_thirty_deaths_of_a_consumer_lose_nothing(shop: KubeShop, numbers: Iterator[int]) -> None:
    async with loaded(shop, next(numbers), 2400) as load:
        await shop.run("scale", "deployment", "transacciones", "--replicas=0")
        await until(lambda: _at_most(shop, "transacciones", 0), "transacciones stays")
        await until(lambda: _waits(load.backlog), "nothing waits")
        deaths = await _die_thirty_times(shop)
        await shop.run("scale", "deployment", "transacciones", "--replicas=1")
        await shop.ready()
        await load.drained("transacciones")
    assert not load.failed
    # RabbitMQ 4 drops a message after 20 deliveries unless it is told not to.
    assert deaths > 20
    shop.note("30 deaths of a consumer on the same messages", load, delivered_before=deaths)
    await shop.audited()


async def _waits(backlog: dict[str, int]) -> bool:
    return backlog["transacciones"] > 100


async def _die_thirty_times(shop: KubeShop) -> int:
    """Take the same messages as transacciones would, and end without a word. The highest delivery count seen."""
    highest = 0
    with shop.broker("transacciones") as url:
        for _ in range(30):
            connection = await aio_pika.connect(url, timeout=20)
            channel = await connection.channel()
            await channel.set_qos(50)
            queue = await channel.get_queue("transacciones", ensure=False)
            taken: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
            await queue.consume(taken.put)
            async with asyncio.timeout(PATIENCE_SECONDS):
                for message in [await taken.get() for _ in range(50)]:
                    highest = max(highest, int(str(message.headers.get("x-delivery-count", 0))))
            await connection.close()
    return highest


async def test_applying_twice_changes_nothing_and_undeploying_keeps_the_books(
    shop: KubeShop, numbers: Iterator[int]
) -> None:
    async with loaded(shop, next(numbers), 300):
        pass
    await shop.audited()
    pods = await shop.restarts()
    shop.deploy()
    assert await shop.restarts() == pods
    secrets = await shop.run("get", "secrets", "--output", "jsonpath={.items[*].data}")
    async with shop.client() as client:
        before = [await client.get(path) for path in BOOKS]
    shop.deploy("undeploy")
    assert not await shop.run("get", "pods", "--output", "name")
    shop.deploy()
    shop.find()
    async with shop.client() as client:
        await until(lambda: _answers(client), "the front door does not answer")
        assert [await client.get(path) for path in BOOKS] == before
    assert len(await shop.run("get", "secrets", "--output", "jsonpath={.items[*].data}")) == len(secrets)
    await shop.audited()


BOOKS = ("/usuarios", "/tokens", "/transacciones?limite=10000")


async def _answers(client: Client) -> bool:
    return bool((await client.get("/estado"))["colas"])


async def test_a_drill_deletes_pods_of_each_service_and_audits(shop: KubeShop, tmp_path: Path) -> None:
    zoco = str(Path(sys.executable).with_name("zoco"))
    words = ("drill", "all", "--kube", "--namespace", shop.cluster.namespace, "--json", "--out", str(tmp_path))
    done = await asyncio.to_thread(
        subprocess.run,
        [zoco, *words, "--rate", "30", "--purchases", "900", "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert [fault["kind"] for fault in found["faults"]] == ["delete"] * 8
    assert found["load"]["accepted"] == found["load"]["arrived"] >= 900
    assert found["load"]["sold"] > 400
    assert (found["audit"]["lost"], found["audit"]["doubled"], found["audit"]["oversold"]) == (0, 0, 0)
    # A client that was itself too slow claims none.
    pause = found["load"]["longestPauseSeconds"]
    shop.measured.append(f"zoco drill all --kube: longest pause {'not known' if pause is None else f'{pause:.1f} s'}")
    await shop.audited()


async def test_a_token_that_is_added_to_the_config_map_appears_after_a_rollout(shop: KubeShop) -> None:
    config = json.loads(await shop.run("get", "configmap", "tokens", "--output", "json"))
    seed = json.loads(config["data"]["tokens.json"])
    seed[0]["precio"] = 1
    seed.append({"id": 103, "nombre": "Nube Azul", "imagen": "nube.jpg", "precio": 30, "vendido": False})
    await shop.run("patch", "configmap", "tokens", "--patch", json.dumps({"data": {"tokens.json": json.dumps(seed)}}))
    await shop.run("rollout", "restart", "deployment/tokens")
    await shop.run("rollout", "status", "deployment/tokens", ROLLOUT)
    async with shop.client() as client:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(Exception):
                    new = await client.get("/tokens/103")
                    break
                await asyncio.sleep(0.2)
        assert new["nombre"] == "Nube Azul"
        assert (await client.get("/tokens/101"))["precio"] == 50
    shop.deploy()
    await shop.audited()
