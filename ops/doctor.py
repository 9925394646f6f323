"""`zoco doctor`: looks at everything that may be wrong on this machine, and says what to type."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aio_pika
import aiohttp

from broker.amqp.bus import UNKNOWN
from broker.services import SERVICES
from broker.topology import QUEUES
from ops.process import is_free
from ops.rabbitmq import NodeError, find_rabbitmq
from ops.running import FIRST_PORT, LocalError, Running
from ops.supervisor import PORTS

# Less room than this fills up in an hour of heavy buying.
ROOM_BYTES: Final = 500 * 1024 * 1024
CALL_SECONDS: Final = 5
# RabbitMQ's statistics are made every 5 s.
STATISTICS_SECONDS: Final = 6


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    well: bool
    says: str


async def examine(data: Path) -> list[Finding]:
    """All findings, in the order in which one rests on the other."""
    findings = [_rabbitmq(), _folder(data)]
    try:
        running = Running.read(data)
    except LocalError as error:
        return [*findings, _ports(), Finding("zoco up", False, str(error))]
    findings += await asyncio.gather(*(_service(name, running.urls[name]) for name in SERVICES))
    return [*findings, *await _broker(running)]


def _rabbitmq() -> Finding:
    try:
        server = find_rabbitmq()
    except NodeError as error:
        return Finding("RabbitMQ", "ZOCO_RABBITMQ_URL" in os.environ, str(error))
    control = server.with_name("rabbitmqctl")
    return Finding("RabbitMQ", True, str(server) if control.exists() else f"{server} (without rabbitmqctl)")


def _folder(data: Path) -> Finding:
    place = data if data.exists() else data.absolute().parent
    if not os.access(place, os.W_OK):
        return Finding("data folder", False, f"{place} cannot be written: `chown` it, or name another with --data")
    free = shutil.disk_usage(place).free
    if free < ROOM_BYTES:
        return Finding("data folder", False, f"only {free >> 20} MiB are free below {place}: make room")
    return Finding("data folder", True, f"{place}, {free >> 30} GiB free")


def _ports() -> Finding:
    taken = [str(FIRST_PORT + offset) for offset in PORTS.values() if not is_free(FIRST_PORT + offset)]
    if taken:
        says = f"{', '.join(taken)} taken: stop what listens there, or start with --port (0: any that are free)"
        return Finding("ports", False, says)
    return Finding("ports", True, f"{FIRST_PORT} to {FIRST_PORT + len(PORTS) - 1} are free")


async def _service(name: str, url: str) -> Finding:
    try:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url}/readyz") as answer:
            state = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return Finding(name, False, f"does not answer at {url}: the lines of `zoco up` say why")
    if state["diskFull"]:
        return Finding(name, False, "its disk is full, and a batch waits for room")
    broker: dict[str, Any] = state["broker"] or {}
    if trouble := broker.get("trouble"):
        return Finding(name, False, f"the broker: {trouble}")
    return Finding(name, bool(state["ready"]), f"{state['role']}, {state['records']} records")


async def _broker(running: Running) -> list[Finding]:
    """An alarm blocks publishing everywhere; a zombie is one queue that neither takes nor delivers anything."""
    try:
        connection = await aio_pika.connect(running.broker_url, timeout=CALL_SECONDS)
    except UNKNOWN as error:
        return [Finding("broker", False, f"no connection ({error}): `zoco kill rabbitmq` starts it anew")]
    findings = [await _alarms(running)]
    zombies = await _stateless(running)
    try:
        for name in QUEUES:
            channel = await connection.channel()
            try:
                depth = await channel.declare_queue(name, passive=True, timeout=CALL_SECONDS)
                await channel.close()
                if name in zombies and not depth.declaration_result.consumer_count:
                    findings.append(_zombie(running, name))
            except TimeoutError:
                findings.append(_zombie(running, name))
            except UNKNOWN as error:
                findings.append(Finding(f"queue {name}", False, f"{error}: it is made again at the next reconnect"))
    finally:
        await connection.close()
    if all(finding.well for finding in findings):
        findings.append(Finding("queues", True, f"all {len(QUEUES)} answer"))
    return findings


def _zombie(running: Running, name: str) -> Finding:
    says = (
        "is a zombie: it neither takes nor delivers anything, as after a broker that was killed just when it was "
        "made. No purchase is lost: the nudge asks again for what it held. Delete it at "
        f"{running.management_url}/#/queues/%2F/{name}; its service makes it anew"
    )
    return Finding(f"queue {name}", False, says)


async def _stateless(running: Running) -> set[str]:
    """The queues of which the broker's own statistics have had no state for a while: one that is new gets it soon."""
    found = set(QUEUES)
    for pause in (0.0, STATISTICS_SECONDS):
        await asyncio.sleep(pause)
        queues = await _ask(running, "/api/queues/%2F")
        found &= {queue["name"] for queue in queues or () if queue.get("state") is None}
        if not found:
            break
    return found


async def _ask(running: Running, path: str) -> Any:
    """What the management API of Zoco's own broker says; None when it does not answer, or the broker is another."""
    if running.management_url is None:
        return None
    credentials = aiohttp.encode_basic_auth(running.management_user or "", running.management_password or "")
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers={"Authorization": credentials}) as http,
            http.get(running.management_url + path) as answer,
        ):
            return await answer.json() if answer.status == HTTPStatus.OK else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None


async def _alarms(running: Running) -> Finding:
    if running.management_url is None:
        return Finding("alarms", True, "not looked at: the broker is not Zoco's own")
    nodes = await _ask(running, "/api/nodes")
    if not nodes:
        return Finding("alarms", False, "the management API does not answer: `zoco kill rabbitmq` starts it anew")
    node = nodes[0]
    if node.get("mem_alarm"):
        return Finding("alarms", False, "memory alarm: nobody may publish. Give the broker memory, or let queues drain")
    if node.get("disk_free_alarm"):
        return Finding("alarms", False, "disk alarm: nobody may publish. Make room where the data folder is")
    return Finding("alarms", True, "none")
