"""A shop on the cluster that kubectl points at, buyers who keep coming, and what is measured meanwhile."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, count, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from patience import PATIENCE_SECONDS
from shop_builders import purchases

from broker.credentials import BROKER
from loadgen.audit.verdict import Verdict
from loadgen.drill.reconcile import reconcile_cluster
from loadgen.load.client import Client
from loadgen.load.load import Load as Requests
from loadgen.load.meter import Meter
from loadgen.load.workloads import BuyRequest
from ops.cluster import Cluster, KubeError
from ops.running import Keys

ROOT: Final = Path(__file__).parents[2]
# The issue asks for 50 at least, all the while.
PER_SECOND: Final = 60
READS_PER_SECOND: Final = 10
BUYERS: Final = 7
ROLLOUT: Final = f"--timeout={PATIENCE_SECONDS:.0f}s"
SERVICES: Final = ("usuarios", "tokens", "transacciones", "compras")


@dataclass
class KubeShop:
    """Zoco in a namespace of its own."""

    cluster: Cluster
    components: str
    journal: Path
    front: str = ""
    keys: Keys = field(default_factory=lambda: Keys("", ""))
    measured: list[str] = field(default_factory=list)
    # Its StatefulSets.
    of_three: tuple[str, ...] = ("rabbitmq",)

    def deploy(self, *arguments: str, **env: str) -> str:
        """`make deploy` without building: what it prints."""
        done = subprocess.run(
            [ROOT / "scripts" / "deploy", *arguments],
            env={**os.environ, "NAMESPACE": self.cluster.namespace, "NODE_PORT": "0", "COMPONENTS": self.components}
            | env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def find(self) -> None:
        """Where the front door is, and its keys."""
        kubectl = self.cluster.kubectl
        port = kubectl("get", "service", "compras", "--output", "jsonpath={.spec.ports[0].nodePort}")
        address = '{.items[0].status.addresses[?(@.type=="InternalIP")].address}'
        self.front = f"http://{kubectl('get', 'nodes', '--output', f'jsonpath={address}')}:{port}"
        self.keys = self.cluster.keys()

    def client(self) -> Client:
        return Client(self.front, self.journal, self.keys)

    def secret(self, name: str) -> dict[str, str]:
        data = json.loads(self.cluster.kubectl("get", "secret", name, "--output", "json"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    @contextlib.contextmanager
    def broker(self, service: str) -> Iterator[str]:
        """The broker's URL from here, with the credentials of this service."""
        url = self.secret(f"{service}-rabbitmq")["ZOCO_RABBITMQ_URL"]
        with self.cluster.forwarded("rabbitmq", 5672) as forwarded:
            yield url.replace(BROKER, urlsplit(forwarded).netloc)

    async def run(self, *arguments: str) -> str:
        """kubectl, while the buyers go on."""
        return await asyncio.to_thread(self.cluster.kubectl, *arguments)

    async def ready(self) -> None:
        """Every workload is as it should be."""
        owners = (*(f"statefulset/{name}" for name in self.of_three), *(f"deployment/{name}" for name in SERVICES))
        for owner in owners:
            await self.run("rollout", "status", owner, ROLLOUT)

    async def replaced(self, name: str, *old: str) -> None:
        """These pods are gone, others are there in their place, and they are ready.

        What the Deployment says of itself is true only once it has noticed.
        """
        count = int(await self.run("get", "deployment", name, "--output", "jsonpath={.spec.replicas}"))

        async def so() -> bool:
            return len(self.cluster.pods(name).keys() - {*old}) == count

        await until(so, f"nothing takes the place of {', '.join(old)}")
        await self.ready()

    async def on_other_nodes(self, node: str) -> bool:
        """As many pods of each service as there should be are ready, and none of these stands there."""
        pods = json.loads(
            await self.run("get", "pods", "--selector", "app.kubernetes.io/component=service", "--output", "json")
        )["items"]
        good = Counter(
            pod["metadata"]["labels"]["app.kubernetes.io/name"]
            for pod in pods
            if pod["spec"].get("nodeName") != node
            and is_so(pod, "Ready")
            and "deletionTimestamp" not in pod["metadata"]
        )
        wanted = await self.run(
            "get", "deployments", "--output", "jsonpath={range .items[*]}{.metadata.name} {.spec.replicas}{'\\n'}{end}"
        )
        return all(good[name] >= int(count) for name, count in map(str.split, wanted.splitlines()))

    async def counted(self, service: str, pod: str, name: str, *labels: str) -> float:
        """The sum of a pod's counters of this name whose labels hold all of these.

        By its kubelet: the API server's proxy comes from its node's address, which NetworkPolicies refuse elsewhere.
        """

        def read() -> str:
            with (
                self.cluster.forwarded(service, pod=pod) as url,
                urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE_SECONDS) as answer,
            ):
                text: str = answer.read().decode()
                return text

        lines = (await asyncio.to_thread(read)).splitlines()
        ours = (line for line in lines if line.startswith(f"{name}{{") and all(one in line for one in labels))
        return sum(float(line.split()[-1]) for line in ours)

    async def restarts(self) -> dict[str, int]:
        """How often a container was restarted, by pod, of all service pods that are not ending."""
        pods = json.loads(
            await self.run("get", "pods", "--selector", "app.kubernetes.io/component=service", "--output", "json")
        )
        return {
            pod["metadata"]["name"]: sum(status["restartCount"] for status in pod["status"]["containerStatuses"])
            for pod in pods["items"]
            if "deletionTimestamp" not in pod["metadata"]
        }

    async def audited(self) -> Verdict:
        """Wait for quiet, then check the books, the queues, and what every client was ever told."""
        await self.ready()
        async with self.client() as client:
            await client.quiet(PATIENCE_SECONDS)
            await until(lambda: self._broker_answers(client), "the broker does not say what is in its queues")
        verdict = await asyncio.to_thread(reconcile_cluster, self.cluster, [self.journal])
        assert verdict.holds, verdict.as_json()["breaches"]
        assert not verdict.unchecked
        return verdict

    async def _broker_answers(self, client: Client) -> bool:
        return (await client.get("/estado"))["colas"] is not None

    def note(self, what: str, load: Load, **figures: object) -> None:
        """A line for the table at the end of the run, and for the README."""
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        self.measured.append(f"{what}: {load.meter.accepted} purchases, {load.rate:.0f}/s; {said}")


def is_so(thing: dict[str, Any], condition: str) -> bool:
    """Whether Kubernetes says this of a node or a pod."""
    said = thing.get("status", {}).get("conditions", ())
    return any(one["type"] == condition and one["status"] == "True" for one in said)


async def until(condition: Callable[[], Awaitable[bool]], otherwise: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until it is so; an answer that does not come, of a cluster that has lost a node, too, is a no. Fails with
    `otherwise`, and why there was none."""
    deadline, why = time.monotonic() + seconds, ""
    while True:
        try:
            if await condition():
                return
            why = ""
        except (aiohttp.ClientError, TimeoutError, OSError, KubeError) as error:
            why = f" ({type(error).__name__}: {error})"
        assert time.monotonic() < deadline, otherwise + why
        await asyncio.sleep(0.1)


class Load:
    """Buyers, 60 a second, each for a token of their own as long as there are some, and readers beside them.

    Use it as `async with`: at its end they have all been answered. Whoever is not, asks again under the same key, as a
    good client does; `failed` counts every answer that was none.
    """

    def __init__(self, client: Client, journal: Path, first: int, tokens: int, per_second: int = PER_SECOND) -> None:
        self._journal, self._before = journal, journal.stat().st_size
        self.client, self.first, self.tokens, self._per_second = client, first, tokens, per_second
        self.meter = Meter()
        self.failed_reads: list[str] = []
        self.reads = 0
        # Messages that waited for each service, as often as the broker could be asked.
        self.backlog = dict.fromkeys(SERVICES, 0)
        self.highest = dict.fromkeys(SERVICES, 0)
        self.rate = self._asked_until = 0.0
        self._stop = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    @property
    def failed(self) -> dict[int | None, int]:
        """How many POSTs were answered with what (None: with nothing), but for the good answers."""
        return {status: count for status, count in self.meter.statuses.items() if status not in (200, 202)}

    def none_failed(self) -> None:
        """Every POST and every GET was answered well. Fails with what was answered instead, and when."""
        assert not self.failed, self._refusals()
        assert not self.failed_reads, self.failed_reads

    async def __aenter__(self) -> Self:
        self._loops = [asyncio.create_task(work()) for work in (self._buyers, self._readers, self._watch)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            await asyncio.gather(*self._loops)
        finally:
            for task in self._loops:
                task.cancel()
        if kind is None:
            assert self.rate >= 50, f"only {self.rate:.0f} purchases a second were asked for"
            asked = f"{self.meter.arrived} asked, {self.meter.accepted} were accepted, {self.meter.abandoned} gave up"
            assert self.meter.accepted == self.meter.arrived, f"{asked}: {self._answers()}"
            assert not self.meter.wrong

    def _answers(self) -> str:
        """How often what was answered, and the last answer of those that were none."""
        return f"{dict(self.meter.statuses)}, at last {self._refusals()[-1:]}"

    def _refusals(self) -> list[Any]:
        notes = map(json.loads, self._journal.read_bytes()[self._before :].splitlines())
        return [note for note in notes if note.get("status", 202) not in (200, 202)]

    async def _buyers(self) -> None:
        started = time.monotonic()
        await Requests(self.client, self.meter).send(self._asks(), self._per_second)
        assert self.meter.started
        # How long the last of them wait for their answers is not about the rate.
        self.rate = self.meter.arrived / max(self._asked_until - started, 1)

    def _asks(self) -> Iterator[BuyRequest]:
        for number in count():
            if self._stop.is_set():
                return
            self._asked_until = time.monotonic()
            yield BuyRequest(str(uuid4()), self.first + number % BUYERS, self.first + number % self.tokens)

    async def _readers(self) -> None:
        async with asyncio.TaskGroup() as reads:
            for number in count():
                if self._stop.is_set():
                    return
                reads.create_task(self._read(number))
                await asyncio.sleep(1 / READS_PER_SECOND)

    async def _read(self, number: int) -> None:
        path = ("/tokens/101", "/usuarios/1", "/transacciones?limite=1")[number % 3]
        self.reads += 1
        try:
            async with self.client.http.get(f"{self.client.url}{path}") as answer:
                await answer.read()
                if answer.status != 200:
                    self.failed_reads.append(f"{time.time():.1f}: {path} {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.failed_reads.append(f"{time.time():.1f}: {path} {type(error).__name__}")

    async def _watch(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                queues = (await self.client.get("/estado"))["colas"]
                for name in SERVICES if queues else ():
                    self.backlog[name] = queues[name]["messages"]
                    self.highest[name] = max(self.highest[name], self.backlog[name])
            await asyncio.sleep(0.2)

    async def drained(self, service: str) -> float:
        """Seconds until at most a moment's purchases wait for this service."""

        async def so() -> bool:
            # None: the broker did not say. What it said before is no answer.
            queues = (await self.client.get("/estado"))["colas"]
            return queues is not None and queues[service]["messages"] < PER_SECOND / 2

        started = time.monotonic()
        await until(so, f"the queue of {service} does not drain")
        return time.monotonic() - started


async def _is(answer: bool) -> bool:
    return answer


@contextlib.asynccontextmanager
async def loaded(shop: KubeShop, first: int, tokens: int, per_second: int = PER_SECOND) -> AsyncIterator[Load]:
    """A shop in which buyers have begun to buy."""
    async with shop.client() as client:
        users = range(first, first + BUYERS)
        await client.prepare(users=users, tokens=range(first, first + tokens), saldo=10**9, precio=1)
        async with Load(client, shop.journal, first, tokens, per_second) as load:
            await until(lambda: _is(load.meter.accepted > PER_SECOND), "nobody can buy")
            yield load


class Pauses:
    """How long what stood still while one load came: as the client was told, and as the purchases say."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._times: dict[str, list[float]] = {}

    async def read(self, client: Client) -> Self:
        for user in range(self._load.first, self._load.first + BUYERS):
            await until(lambda user=user: self._take(client, user), f"the purchases of {user} cannot be read")
        return self

    async def _take(self, client: Client, user: int) -> bool:
        for compra in [compra async for compra in purchases(client, user)]:
            for step in compra["historia"]:
                at = datetime.fromisoformat(step["fecha"]).timestamp()
                self._times.setdefault(step["estado"], []).append(at)
        return True

    def longest(self, *estados: str) -> float:
        """The longest time, in seconds, in which no purchase came into one of these states."""
        always = {"registrada", "rechazada"} <= {*estados}
        bought = self._load.meter.arrived <= self._load.tokens
        assert always or bought, "what is sold already is not reserved: prepare more tokens"
        return _longest(chain.from_iterable(self._times.get(estado, ()) for estado in estados))

    @property
    def accepting(self) -> float:
        """The longest time in which nobody was told 202. A purchase's own date is that of its first request."""
        return _longest(purchase.accepted for purchase in self._load.meter.purchases.values())

    @property
    def ending(self) -> float:
        return self.longest("registrada", "rechazada")


def _longest(times: Iterable[float]) -> float:
    return max((later - earlier for earlier, later in pairwise(sorted(times))), default=0)


async def longest_pause(client: Client, load: Load, *estados: str) -> float:
    """See Pauses."""
    return (await Pauses(load).read(client)).longest(*estados)


async def in_primary(shop: KubeShop) -> tuple[str, ...]:
    return ("exec", await primary(shop), "--", "psql", "--no-align", "--tuples-only", "--dbname", "zoco")


async def primary(shop: KubeShop) -> str:
    leads = await shop.run(
        "get", "endpoints", "postgres", "--output", "jsonpath={.subsets[0].addresses[0].targetRef.name}"
    )
    if not leads:
        raise KubeError("nobody leads PostgreSQL")
    return leads


def pod(name: str, image: str, program: str, arguments: list[str], labels: dict[str, str]) -> dict[str, Any]:
    """A pod that runs a Python program once, as restricted as the namespace asks."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", program, *arguments],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
