"""A shop of one's own for a drill or a bench: `zoco up` as a child process, in its own folder, on any free ports."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from loadgen.drill.proxy import Proxy
from ops.process import Process
from ops.rabbitmq import Node
from ops.running import LocalError, Running

READY_SECONDS: Final = 120.0
STOP_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class ShopKind:
    """As `zoco up` is asked for it: its books in PostgreSQL, with a standby; its services' processes."""

    postgres: bool = False
    standby: bool = False
    replicas: str = ""


USUAL: Final = ShopKind()


@asynccontextmanager
async def own_shop(
    folder: Path,
    *,
    without: str | None = None,
    proxied: bool = False,
    broker_url: str | None = None,
    kind: ShopKind = USUAL,
) -> AsyncIterator[Proxy | None]:
    """Start a shop in `folder/data`; stop it in the end. Its output is in `folder/up.log`.

    Raises LocalError, NodeError. `proxied`: its RabbitMQ is behind the proxy that this gives. `broker_url`: a RabbitMQ
    that runs already; unless told, the shop has one of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    env = dict(os.environ)
    node = proxy = None
    try:
        if proxied:
            node = Node(folder / "broker")
            await node.start()
            proxy = Proxy(node.amqp_port)
            await proxy.start()
            env["ZOCO_RABBITMQ_URL"] = node.url().replace(f":{node.amqp_port}/", f":{proxy.port}/")
        elif broker_url is not None:
            env["ZOCO_RABBITMQ_URL"] = broker_url
        else:
            env.pop("ZOCO_RABBITMQ_URL", None)
        with (folder / "up.log").open("ab") as log:
            shop = Process(_command(data, without, kind), env, log)
        try:
            await _until_ready(data, shop, folder / "up.log")
            yield proxy
        finally:
            await shop.stop(STOP_SECONDS)
    finally:
        if proxy is not None:
            await proxy.stop()
        if node is not None:
            await node.stop()


def _command(data: Path, without: str | None, kind: ShopKind) -> list[str]:
    if without:
        words = [kind.replicas] if kind.replicas else []
        words += ["--standby"] if kind.standby else []
        return [sys.executable, "-m", "loadgen.drill.zoco_without", str(data), without, *words]
    options = ["--postgres"] if kind.postgres else []
    options += ["--standby"] if kind.standby else []
    options += ["--replicas", kind.replicas] if kind.replicas else []
    return [str(Path(sys.executable).with_name("zoco")), "up", "--data", str(data), "--port", "0", *options]


async def _until_ready(data: Path, shop: Process, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        while not await _ready(data, http):
            if shop.code is not None or time.monotonic() > deadline:
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                raise LocalError("the shop does not start; {log} ends with: {lines}", log, " / ".join(lines[-5:]))
            await asyncio.sleep(POLL_SECONDS)


async def _ready(data: Path, http: aiohttp.ClientSession) -> bool:
    """Every service reads, and every queue has its consumer, whichever process of several that is."""
    try:
        async with http.get(f"{Running.read(data).urls['compras']}/estado") as answer:
            state = await answer.json()
    except (LocalError, aiohttp.ClientError, TimeoutError, OSError):
        return False
    queues = state["colas"]
    return queues is not None and all(
        service["ready"] and queues[name]["consumers"] > 0 for name, service in state["servicios"].items()
    )
