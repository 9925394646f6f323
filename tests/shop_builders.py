"""The real thing: `zoco up` with its own RabbitMQ, bought from over HTTP, killed by pid, and audited by its books."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import aiohttp

from broker.node import Node, find_rabbitmq
from broker.process import free_port
from loadgen.audit.verdict import Verdict
from loadgen.drill.reconcile import reconcile
from loadgen.load.client import Client
from services import local
from services.local import LocalError, Running

ZOCO = Path(sys.executable).with_name("zoco")
START_SECONDS = 60


@dataclass
class Shop:
    """One `zoco up`."""

    data: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def running(self) -> Running:
        return Running.read(self.data)

    @property
    def front(self) -> str:
        return self.running.urls["compras"]

    def client(self) -> Client:
        return Client(self.front, self.data.parent / "client.jsonl", self.running.operator_token)

    def kill(self, name: str, seconds: float | None = None) -> None:
        """SIGKILL, as soon as there is something to kill."""
        deadline = time.monotonic() + 15
        while True:
            try:
                local.kill(self.running, name, seconds)
                return
            except LocalError:
                assert time.monotonic() < deadline, f"{name} does not come back to be killed"
                time.sleep(0.05)

    def wipe_broker(self, seconds: float) -> None:
        """Kill RabbitMQ and delete its disk while it is down."""
        self.kill("rabbitmq", seconds)
        shutil.rmtree(self.data / "rabbitmq" / "data")

    async def audited(self) -> Verdict:
        """Wait for quiet, then check the books against each other, the queues, and what the client was told."""
        # Whoever audits writes nothing down: the journal may be another client's that is still at work.
        async with Client(self.front, None) as client:
            await client.quiet()
            deadline = time.monotonic() + 30
            while not await self._can_be_asked(client):
                assert time.monotonic() < deadline, "a service is away, or the broker does not tell of its queues"
                await asyncio.sleep(0.1)
        verdict = await reconcile(self.data, self.data.parent / "client.jsonl")
        assert verdict.holds, verdict.as_json()["breaches"]
        assert not verdict.unchecked
        return verdict

    async def _can_be_asked(self, client: Client) -> bool:
        """Whoever died last may not be back yet."""
        with suppress(aiohttp.ClientError):
            state = await client.get("/estado")
            return state["colas"] is not None and all(service["ready"] for service in state["servicios"].values())
        return False

    def stop(self) -> float:
        """SIGTERM; how many seconds it took to end."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return time.monotonic() - started


def start(folder: Path, *, command: Sequence[str] = (str(ZOCO), "up"), wait: bool = True, **env: str) -> Shop:
    """Start a shop in this folder. Its log is shown when it does not come up."""
    log = folder / "up.log"
    log.touch()
    before = log.stat().st_size
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--data", str(folder / "data"), "--port", "0"],
            stdout=output,
            stderr=output,
            env={**os.environ, **env},
        )
    shop = Shop(folder / "data", process, log)
    started.append(shop)
    deadline = time.monotonic() + START_SECONDS
    while wait and b"Ctrl-C stops it all" not in log.read_bytes()[before:]:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    return shop


@contextmanager
def replica(shop: Shop) -> Iterator[str]:
    """A second front door on the same books, as `kubectl scale` would start it; its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    running = shop.running
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")},
        **{f"ZOCO_{name.upper()}_URL": running.urls[name] for name in ("usuarios", "tokens", "transacciones")},
        "ZOCO_RABBITMQ_URL": running.broker_url,
        "ZOCO_DATA": str(shop.data / "compras"),
        "ZOCO_PUBLIC_URL": url,
        "ZOCO_OPERATOR_TOKEN": running.operator_token,
    }
    words = ("-m", "uvicorn", "services.compras.main:app", "--port", str(port), "--log-level", "warning")
    with (shop.data.parent / "replica.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, *words], env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(f"{url}/readyz"):
            assert process.poll() is None and time.monotonic() < deadline, "the replica does not start"
            time.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def running_node(folder: Path) -> Iterator[Node]:
    """One RabbitMQ with its disk in this folder, for a fixture."""
    node = Node(folder)
    asyncio.run(node.start())
    try:
        yield node
    finally:
        asyncio.run(node.stop(0))


async def rabbitmqctl(node: Node, *words: str) -> None:
    """Takes seconds: it starts a whole Erlang."""
    server = find_rabbitmq()
    process = await asyncio.create_subprocess_exec(
        str(server.with_name("rabbitmqctl")),
        *words,
        env=node._environment(server),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


def answers(url: str) -> bool:
    with suppress(OSError), urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def processes_of(folder: Path) -> dict[int, str]:
    """Pids and command lines of everything that runs because of this folder."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            if (str(folder) in words or str(folder) in environment) and entry.name != str(os.getpid()):
                found[int(entry.name)] = words
    return found


started: list[Shop] = []
