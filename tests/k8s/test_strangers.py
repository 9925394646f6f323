"""Who may reach what, and who may say what to the broker."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import aio_pika
import aiohttp
import pytest
from aio_pika.exceptions import ProbableAuthenticationError
from aiormq.exceptions import ChannelAccessRefused
from k8s_builders import SERVICES, KubeShop, pod, until
from patience import PATIENCE_SECONDS

from broker.messages import PRODUCERS
from broker.topology import EXCHANGE, QUEUES
from ops.cluster import KubeError

ZOCO = Path(sys.executable).with_name("zoco")
EVERY = pytest.mark.parametrize("service", SERVICES)
# Everything that listens in the namespace, and beyond it the name server. Not Kubernetes' API: it is on a node, and to
# the node that it is on this cluster lets every pod, whatever the policies say.
DNS = ("kube-dns.kube-system", 53)
PLACES = {**dict.fromkeys(SERVICES, 8000), "rabbitmq": 5672}
EVERYWHERE = [*PLACES.items(), ("rabbitmq", 15672), ("rabbitmq", 15692), DNS]
# What a pod of each listens on: the broker's Erlang has two ports that no Service names.
LISTENING = {**dict.fromkeys(SERVICES, (8000,)), "rabbitmq": (5672, 15672, 15692, 4369, 25672)}
# After what was said: until the pod is deleted.
STAYS = "import signal; sys.stdout.flush(); signal.pause()"
# Says of each place whether a connection can be made. Written to run in our images, which have Python and little else.
KNOCK_SECONDS = 2
KNOCK = f"""
import json, socket, sys
def knock(host, port):
    try:
        socket.create_connection((host, port), {KNOCK_SECONDS}).close()
        return True
    except OSError:
        return False
print(json.dumps([knock(host, port) for host, port in json.loads(sys.argv[1])]))
"""


@EVERY
async def test_a_service_cannot_say_or_take_what_is_anothers(shop: KubeShop, service: str) -> None:
    others = [model.type for model, services in PRODUCERS.items() if service not in services]
    with shop.broker(service) as url:
        async with await aio_pika.connect(url) as connection:
            for key in others:
                exchange = await (await connection.channel()).get_exchange(EXCHANGE, ensure=False)
                with pytest.raises(ChannelAccessRefused):
                    await exchange.publish(aio_pika.Message(b"{}"), routing_key=key, timeout=10)
            for name in QUEUES:
                if name != service:
                    queue = await (await connection.channel()).get_queue(name, ensure=False)
                    with pytest.raises(ChannelAccessRefused):
                        await queue.get(fail=False, timeout=10)
            with pytest.raises(ChannelAccessRefused):
                await (await connection.channel()).declare_queue("mine", durable=True)


async def test_the_broker_refuses_who_has_no_credentials_or_wrong_ones(shop: KubeShop) -> None:
    with shop.broker("tokens") as url:
        address = url.split("@")[1]
        for user in ("guest:guest", "tokens:tokens", "usuarios:" + url.split(":")[2].split("@")[0]):
            with pytest.raises(ProbableAuthenticationError):
                await aio_pika.connect(f"amqp://{user}@{address}", timeout=10)


async def test_a_strangers_pod_reaches_nothing_but_the_front_door(shop: KubeShop) -> None:
    # It is in the namespace; its name lookups are not let out either, so it has to know the addresses.
    names = [*EVERYWHERE]
    places = [(await address(shop, host), port) for host, port in EVERYWHERE]
    for name, ports in LISTENING.items():
        for ip in shop.cluster.pods(name).values():
            names += [(name, port) for port in ports]
            places += [(ip, port) for port in ports]
    assert ("rabbitmq", 25672) in names
    reached = await from_a_pod(shop, "stranger", {"app.kubernetes.io/name": "stranger"}, places)
    assert not any(reached)
    # Were it let out, only the front door would be open to it.
    outside = KubeShop(type(shop.cluster)("default"), "", shop.journal)
    reached = await from_a_pod(outside, "stranger", {}, places)
    open_to_it = {place for place, open_ in zip(names, reached, strict=True) if open_}
    assert open_to_it == {("compras", 8000), DNS}
    assert sum(reached) == 2 + len(shop.cluster.pods("compras"))


async def test_the_brokers_cookie_is_random_and_its_own(shop: KubeShop) -> None:
    file = "/var/lib/rabbitmq/.erlang.cookie"
    cookie = await shop.run("exec", "rabbitmq-0", "--container", "rabbitmq", "--", "cat", file)
    # Erlang's own are twenty capital letters, made of its uptime.
    assert len(base64.b64decode(cookie)) == 32
    said = await shop.run("exec", "rabbitmq-0", "--container", "rabbitmq", "--", "stat", "--format", "%a", file)
    assert said.strip() == "400"


async def test_a_link_makes_a_browser_the_operators_at_whichever_replica_answers(shop: KubeShop) -> None:
    words = ("operator", "--json", "--kube", "--namespace", shop.cluster.namespace, "--url", shop.front)
    for _ in range(5):
        said = await asyncio.to_thread(subprocess.run, (ZOCO, *words), capture_output=True, text=True, check=True)
        code = json.loads(said.stdout)["link"].partition("#codigo=")[2]
        statuses = []
        for _ in range(3):
            # Each a connection of its own, and so any of the pods.
            async with aiohttp.ClientSession() as http:
                async with http.post(f"{shop.front}/operador/sesion", json={"codigo": code}) as answer:
                    statuses.append(answer.status)
                    cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
                if cookie:
                    for _ in range(4):
                        headers = {"Cookie": cookie, "Connection": "close"}
                        async with http.get(f"{shop.front}/operador", headers=headers) as answer:
                            assert answer.status == 200
        assert statuses == [200, 401, 401]


async def test_no_service_reaches_more_than_it_needs(shop: KubeShop) -> None:
    # Each asks the others what they know of its book.
    needs = {("rabbitmq", 5672), DNS, *((name, 8000) for name in SERVICES)}
    for service in SERVICES:
        (one, *_) = shop.cluster.pods(service)
        said = await shop.run("exec", one, "--", "python", "-c", KNOCK, json.dumps(EVERYWHERE))
        reached = {place for place, open_ in zip(EVERYWHERE, json.loads(said), strict=True) if open_}
        assert reached == needs, service


async def address(shop: KubeShop, host: str) -> str:
    """The address of a Service."""
    name, _, namespace = host.partition(".")
    where = ("--namespace", namespace) if namespace else ()
    return await shop.run("get", "service", name, *where, "--output", "jsonpath={.spec.clusterIP}")


async def from_a_pod(shop: KubeShop, name: str, labels: dict[str, str], places: list[tuple[str, int]]) -> list[bool]:
    """Which of these places a pod with these labels reaches."""
    # It stays until it was heard: the log of one that has ended may be gone.
    manifest = pod(name, "zoco/tokens:dev", f"{KNOCK}\n{STAYS}", [json.dumps(places)], labels)
    try:
        return await heard(shop, name, manifest, len(places), 2 * KNOCK_SECONDS * len(places) + 30)
    except AssertionError:
        # It happened that a node heard of a new pod after minutes only: then another is asked.
        return await heard(shop, name, manifest, len(places), PATIENCE_SECONDS)


async def heard(shop: KubeShop, name: str, manifest: object, count: int, patience: float) -> list[bool]:
    """What this pod says, once it has said so much."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(manifest, file)
        file.flush()
        await shop.run("apply", "--filename", file.name)
    reached: list[bool] = []

    async def told() -> bool:
        with suppress(KubeError, ValueError):
            reached[:] = json.loads(await shop.run("logs", name))
        return len(reached) == count

    try:
        await until(told, "the stranger says nothing", patience)
        return reached
    finally:
        await shop.run("delete", "pod", name, "--grace-period=0", "--force")
