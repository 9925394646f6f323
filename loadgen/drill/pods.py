"""A shop in a cluster that a drill can harm: its pods, by way of kubectl."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp

from loadgen.drill.faults import Fault, FaultFailed, kill_when_there
from ops.cluster import PORT, Cluster, KubeError
from ops.i18n import Text
from ops.process import free_port

# A pod of RabbitMQ takes half a minute to be back, and longer on a busy cluster.
PATIENCE_SECONDS: Final = 180.0
FORWARD_SECONDS: Final = 20.0
# A port that is forwarded to nowhere: so many checks in a row, one in so many seconds, had no answer.
CHECK_SECONDS: Final = 1.0
UNANSWERED: Final = 3


class KubeTarget:
    """Pods are deleted without grace. Standing still, full disks and cut networks are for processes of this machine."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def do(self, fault: Fault, began: Callable[[float], None]) -> None:
        if fault.kind != "delete":
            raise FaultFailed(Text("{kind} cannot be done to pods: leave out --kube", fault.kind))

        def kill() -> None:
            self._cluster.kill(fault.victim, fault.seconds or None)

        await kill_when_there(kill, f"pod of {fault.victim}", KubeError, PATIENCE_SECONDS, began)


@asynccontextmanager
async def front_door(cluster: Cluster) -> AsyncIterator[str]:
    """The URL of the front door, on one port of this machine all the while. Raises KubeError when there is none.

    A forwarded port leads to one pod and ends with it, or stands still for ever: then it is forwarded again.
    """
    await asyncio.to_thread(cluster.kubectl, "get", "service", "compras")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = cluster.command("port-forward", "service/compras", f"{port}:{PORT}")
    answered = asyncio.Event()

    async def forward(http: aiohttp.ClientSession) -> None:
        while True:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            unanswered = 0
            try:
                while process.returncode is None and unanswered < UNANSWERED:
                    await asyncio.sleep(CHECK_SECONDS)
                    try:
                        async with http.get(f"{url}/livez"):
                            unanswered = 0
                            answered.set()
                    except (aiohttp.ClientError, TimeoutError, OSError):
                        unanswered += 1
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CHECK_SECONDS)) as http:
        forwarding = asyncio.create_task(forward(http))
        try:
            await _in_time(answered)
            yield url
        finally:
            forwarding.cancel()
            await asyncio.gather(forwarding, return_exceptions=True)


async def _in_time(answered: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(answered.wait(), FORWARD_SECONDS)
    except TimeoutError:
        raise KubeError("no pod of compras answers in {seconds:.0f} s: `kubectl get pods`", FORWARD_SECONDS) from None
