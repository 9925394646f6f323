"""The real thing: `zoco up` with its own RabbitMQ, bought from over HTTP, killed by pid, and audited by its books."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp
from patience import END_SECONDS, PATIENCE_SECONDS, POLL_SECONDS, eventually, wait_until

from loadgen.audit.verdict import Verdict
from loadgen.drill.reconcile import reconcile
from loadgen.load.client import Client
from ops.child import GUARDED, SERVER_OPTIONS
from ops.process import free_port
from ops.rabbitmq import Node, find_rabbitmq
from ops.running import HOLDS, REPLICA_SECRET, LocalError, Running, kill_process

ZOCO = Path(sys.executable).with_name("zoco")
# Longer than any test.
HELD_SECONDS = 600.0


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
        return Client(self.front, self.data.parent / "client.jsonl", self.running.keys)

    def kill(self, name: str, seconds: float | None = None) -> None:
        """SIGKILL, as soon as there is something to kill."""
        wait_until(lambda: self._killed(name, seconds), f"{name} does not come back to be killed")

    def _killed(self, name: str, seconds: float | None) -> bool:
        try:
            kill_process(self.running, name, seconds)
        except LocalError:
            return False
        return True

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """Killed, and down as long as the block goes on: however slow the machine is, what is asked there is asked
        of a shop without it."""
        self.kill(name, HELD_SECONDS)
        with self.held(name):
            yield

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Down as long as the block goes on, whoever killed it for a time."""
        self.hold(name, HELD_SECONDS)
        try:
            yield
        finally:
            self.let_it_start(name)

    def hold(self, name: str, seconds: float) -> None:
        """Keep down so much longer whom somebody else has killed for a time."""
        (self.data / HOLDS / name).write_text(str(time.time() + seconds), encoding="utf-8")

    def let_it_start(self, name: str) -> None:
        """End the time for which somebody was killed."""
        (self.data / HOLDS / name).unlink()

    def wipe_broker(self, seconds: float) -> None:
        """Kill RabbitMQ and delete its disk while it is down."""
        self.kill("rabbitmq", seconds)
        shutil.rmtree(self.data / "rabbitmq" / "data")

    async def audited(self) -> Verdict:
        """Wait for quiet, then check the books against each other, the queues, and what the client was told."""
        # Whoever audits writes nothing down: the journal may be another client's that is still at work.
        async with Client(self.front, None) as client:
            await client.quiet()
            await eventually(
                lambda: self._can_be_asked(client), "a service is away, or the broker does not tell of its queues"
            )
        verdict = await reconcile(self.data, [self.data.parent / "client.jsonl"])
        assert verdict.holds, verdict.as_json()["breaches"]
        assert not verdict.unchecked
        return verdict

    async def _can_be_asked(self, client: Client) -> bool:
        """Whoever died last may not be back yet."""
        with suppress(aiohttp.ClientError):
            state = await client.get("/estado")
            return state["colas"] is not None and all(service["ready"] for service in state["servicios"].values())
        return False

    def says(self, *sentences: str, after: int = 0) -> str:
        """Wait until all of this stands in its log behind so many bytes; what stands there then.

        What comes late is waited for as long as somebody lives who may still say it.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            ended = self.process.poll() is not None
            said = self.log.read_bytes()[after:].decode(errors="replace")
            if all(sentence in said for sentence in sentences):
                return said
            assert not ended, said
            assert time.monotonic() < deadline, said
            time.sleep(POLL_SECONDS)

    def stop(self) -> float:
        """SIGTERM; how many seconds it took to end."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_SECONDS)
        return time.monotonic() - started


def purchases(client: Client, user: int | None = None) -> AsyncIterator[dict[str, Any]]:
    """All of them, or of one buyer, page by page."""
    return client.every("/compras" + (f"?usuarioId={user}" if user is not None else ""))


def start(
    folder: Path, *, command: Sequence[str] = (str(ZOCO), "up"), wait: bool = True, spares: bool = False, **env: str
) -> Shop:
    """Start a shop in this folder. Its log is shown when it does not come up. `spares` are most of a start's work."""
    fewer = ["--no-spares"] if str(ZOCO) in command and not spares else []
    log = folder / "up.log"
    log.touch()
    before = log.stat().st_size
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, *fewer, "--data", str(folder / "data"), "--port", "0"],
            stdout=output,
            stderr=output,
            env={**os.environ, **env},
        )
    shop = Shop(folder / "data", process, log)
    started.append(shop)
    if wait:
        shop.says("Ctrl-C stops it all", after=before)
    return shop


@contextmanager
def replica(shop: Shop, limited: Sequence[str] = ()) -> Iterator[str]:
    """A second front door on the same books, as `kubectl scale` would start it; its address. `limited`: by what
    command it is started."""
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
        "ZOCO_REPLICA_SECRET": (shop.data / REPLICA_SECRET).read_text(encoding="utf-8"),
        "ZOCO_BOOKS_TOKEN": running.books_token,
    }
    words = (sys.executable, "-m", "uvicorn", "services.compras.main:app", "--port", str(port))
    with (shop.data.parent / "replica.log").open("ab") as log:
        process = subprocess.Popen([*limited, *words, *SERVER_OPTIONS, *GUARDED], env=env, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or answers(f"{url}/readyz"), "the replica does not start")
        assert process.poll() is None, "the replica ended"
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(END_SECONDS)


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
