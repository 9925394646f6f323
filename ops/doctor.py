"""`zoco doctor`: looks at everything that may be wrong on this machine, and says what to type."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp

from broker.amqp.calls import UNKNOWN, close, open_channel
from broker.amqp.connect import Address, connect
from broker.services import SERVICES
from broker.topology import BINDINGS, QUEUES
from ops.doctor_broker import lacking
from ops.doctor_broker import told as api
from ops.doctor_database import database, elsewhere, programs
from ops.findings import Finding
from ops.findings import bad as _bad
from ops.findings import well as _well
from ops.folder import kind_of
from ops.i18n import Text
from ops.places import PORTS
from ops.process import is_free, is_ours, lock_holder
from ops.rabbitmq import NodeError, find_rabbitmq
from ops.routes import compare
from ops.running import FIRST_PORT, LocalError, Running, service_of, typed

# Less room than this fills up in an hour of heavy buying.
ROOM_BYTES: Final = 500 * 1024 * 1024
DAY_SECONDS: Final = 86_400
# Time enough to have a larger disk put in.
SOON_DAYS: Final = 3
CALL_SECONDS: Final = 5
# A takeover takes under a second: who only follows is asked again for a while.
TAKEOVER_TRIES: Final = 10
# The file in a service's folder that its writer holds.
LOCK: Final = "lock"
# RabbitMQ's statistics are made every 5 s.
STATISTICS_SECONDS: Final = 6
# What a service says of itself.
SAID: Final = {"role", "ready", "records", "diskFull", "broker"}
PROBLEM: Final = "application/problem+json"
ROLES: Final = {"writer": Text("writer"), "follower": Text("follower")}


async def examine(data: Path) -> list[Finding]:
    """All findings, in the order in which one rests on the other."""
    findings = [_rabbitmq(), _folder(data)]
    try:
        if kind_of(data) == "postgresql":
            findings.append(programs(data))
    except LocalError as error:
        findings.append(_bad("books", str(error)))
    try:
        running = Running.read(data)
    except LocalError as error:
        return [*findings, _ports(), _bad("zoco up", str(error))]
    told: dict[str, dict[str, Any]] = {}
    labels = [label for name in SERVICES for label in running.processes[name]]
    findings += await asyncio.gather(*(_service(running, label, told) for label in labels))
    return [*findings, *forecast(told), *await database(running), *await _broker(running)]


def _rabbitmq() -> Finding:
    try:
        server = find_rabbitmq()
    except NodeError as error:
        return Finding("RabbitMQ", "ZOCO_RABBITMQ_URL" in os.environ, str(error))
    control = server.with_name("rabbitmqctl")
    if control.exists():
        return _well("RabbitMQ", str(server))
    return _well("RabbitMQ", "{server} (without rabbitmqctl)", server)


def _folder(data: Path) -> Finding:
    place = data if data.exists() else data.absolute().parent
    if not os.access(place, os.W_OK):
        return _bad("data folder", "{place} cannot be written: `chown` it, or name another with --data", place)
    free = shutil.disk_usage(place).free
    if free < ROOM_BYTES:
        return _bad("data folder", "only {free} MiB are free below {place}: make room", free >> 20, place)
    return _well("data folder", "{place}, {free} GiB free", place, free >> 30)


def _ports() -> Finding:
    taken = [str(FIRST_PORT + offset) for offset in PORTS.values() if not is_free(FIRST_PORT + offset)]
    if taken:
        says = "{ports} taken: stop what listens there, or start with --port (0: any that are free)"
        return _bad("ports", says, ", ".join(taken))
    return _well("ports", "{first} to {last} are free", FIRST_PORT, FIRST_PORT + len(PORTS) - 1)


async def _service(running: Running, label: str, told: dict[str, dict[str, Any]]) -> Finding:
    name, url = service_of(label), running.places[label]
    try:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for _ in range(TAKEOVER_TRIES):
                async with http.get(f"{url}/readyz") as answer:
                    state = await _said(answer)
                if state["role"] == "writer" or state["diskFull"]:
                    break
                await asyncio.sleep(CALL_SECONDS / 2 / TAKEOVER_TRIES)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return _bad(label, "does not answer at {url}: the lines of `zoco up` say why", url)
    except ValueError:
        return _bad(label, "what answers at {url} is no service of Zoco's: stop what listens there", url)
    if name not in told or state["role"] == "writer":
        told[name] = state
    lock = running.data / name / LOCK
    if state["role"] == "follower" and not state["diskFull"] and (nobody := _nobody_writes(name, lock)):
        return nobody
    return _of_itself(label, state)


async def _said(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """Raises ClientResponseError: a service says that it cannot now; ValueError: that is none."""
    if answer.content_type == PROBLEM:
        answer.raise_for_status()
    state = await answer.json(content_type=None)
    if not (isinstance(state, dict) and state.keys() >= SAID):
        raise ValueError(f"answers {answer.status}")
    return state


def _of_itself(name: str, state: dict[str, Any]) -> Finding:
    """By what a process that answers says. `name`: its own, or its service's."""
    if state["diskFull"]:
        return _bad(name, "its disk is full, or may only be read: what is to be written waits")
    if waits := state.get("waitsFor"):
        return _bad(name, "it waits for its database: {why}", waits)
    if doubt := state.get("doubt"):
        return Finding(name, False, doubt)
    disk: dict[str, Any] = state.get("disk") or {}
    if disk.get("short"):
        says = "its disk is nearly full ({free} MiB free, {kept} MiB kept for what is under way): {what}"
        what = Text("make room, or start it with ZOCO_DISK_RESERVE lower (0: nothing is kept)")
        if service_of(name) == "compras":
            what = Text("new purchases are refused; {what}", what)
        return _bad(name, says, disk["freeBytes"] >> 20, disk["keptBytes"] >> 20, what)
    broker: dict[str, Any] = state["broker"] or {}
    if trouble := broker.get("trouble"):
        return _bad(name, "the broker: {trouble}", trouble)
    role = ROLES.get(state["role"], state["role"])
    how = Finding(name, bool(state["ready"]), Text("{role}, {records} records", role, state["records"]))
    if clock := state.get("clock"):
        how = _bad(name, "{clock}: set the machine's clock right; what it dated stays as it is", clock)
    return how


def _nobody_writes(name: str, lock: Path) -> Finding | None:
    """What keeps a service from writing; None where another process of its kind does."""
    holder = lock_holder(lock)
    if holder is None:
        return _bad(name, "nobody writes its books: the lines of `zoco up` say why")
    if is_ours(holder, f"services.{name}.main"):
        return None
    return _bad(name, "nobody writes its books: process {pid} holds {lock}; end that process", holder, lock)


def forecast(states: Mapping[str, dict[str, Any]]) -> list[Finding]:
    """When each disk is full, at the rate at which the books on it grow; nothing where it is too early to say."""
    disks: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name, state in states.items():
        if (told := state.get("disk")) and told["bytesPerSecond"]:
            disks.setdefault(f"{told['disk']} {told['totalBytes']}", []).append((name, told))
    findings = []
    for on_it in disks.values():
        names, rate = ", ".join(name for name, _ in on_it), sum(told["bytesPerSecond"] for _, told in on_it)
        free = min(told["freeBytes"] for _, told in on_it)
        days = free / rate / DAY_SECONDS
        says = Text(
            "{free} GiB free: full in {days} days at this rate", free >> 30, f"{days:,.{0 if days >= 10 else 1}f}"
        )
        findings.append(Finding(Text("disk of {services}", names), days >= SOON_DAYS, says))
    return findings


def examined(state: dict[str, Any]) -> list[Finding]:
    """By what a front door anywhere tells of its shop at /estado."""
    findings = [
        _of_itself(name, told) if told.get("role") else _bad(name, "does not answer the front door")
        for name, told in state["servicios"].items()
    ]
    findings += forecast({name: told for name, told in state["servicios"].items() if told.get("role")})
    findings += elsewhere(state.get("base"))
    if state["colas"] is None:
        return [*findings, _bad("broker", "it does not answer the front door: {trouble}", state["broker"]["problema"])]
    findings.append(_well("broker", "it answers the front door"))
    for name in SERVICES:
        if not state["colas"][name]["consumers"]:
            findings.append(_bad(_queue(name), "nobody consumes it, or it has no quorum: see `zoco queues`"))
        if dead := state["colas"][f"{name}.muertos"]["messages"]:
            findings.append(_bad(_queue(f"{name}.muertos"), "{count} dead letters: see `zoco dead-letters`", dead))
    if not any(finding.what.startswith("queue") for finding in findings):
        findings.append(_well("queues", "each has its consumer, and there are no dead letters"))
    return findings


async def _broker(running: Running) -> list[Finding]:
    """An alarm blocks publishing everywhere; a zombie is one queue that neither takes nor delivers anything."""
    try:
        connection = await connect(Address.read(running.broker_url), "zoco-doctor", seconds=CALL_SECONDS)
    except UNKNOWN as error:
        return [_bad("broker", "no connection ({error}): `{kill}` starts it anew", error, _kill(running))]
    findings = [await _alarms(running)]
    zombies = await _stateless(running)
    try:
        for name in QUEUES:
            try:
                channel = await open_channel(connection, CALL_SECONDS)
                depth = await channel.declare_queue(name, passive=True, timeout=CALL_SECONDS)
                await close(channel, CALL_SECONDS)
                if name in zombies and not depth.declaration_result.consumer_count:
                    findings.append(_zombie(running, name))
            except TimeoutError:
                findings.append(_zombie(running, name))
            except UNKNOWN as error:
                findings.append(_bad(_queue(name), "{error}: it is made again at the next reconnect", error))
    finally:
        with suppress(*UNKNOWN):
            await close(connection, CALL_SECONDS)
    findings += await _routes(running)
    if all(finding.well for finding in findings):
        findings.append(_well("queues", "all {count} answer", len(QUEUES)))
    return findings


async def _routes(running: Running) -> list[Finding]:
    if running.management_url is None:
        return [_well("routes", "not looked at: the broker is not Zoco's own")]
    bindings, queues = await _ask(running, "/api/bindings/%2F"), await _ask(running, "/api/queues/%2F")
    if bindings is None or queues is None:
        return [_bad("routes", "the management API does not answer: `{command}` starts it anew", _kill(running))]
    routes = [Finding("routes", False, says) for says in compare(bindings, queues)] or [
        _well("routes", "all {count} as they should be", len(BINDINGS))
    ]
    # Zoco's own broker is one node.
    return [*routes, *lacking(queues)]


def _kill(running: Running) -> str:
    return typed("kill rabbitmq", running.data)


def _zombie(running: Running, name: str) -> Finding:
    says = (
        "is a zombie: it neither takes nor delivers anything, as after a broker that was killed just when it was "
        "made. No purchase is lost: the nudge asks again for what it held. Delete it at "
        "{url}/#/queues/%2F/{name}; its service makes it anew"
    )
    return _bad(_queue(name), says, running.management_url, name)


def _queue(name: str) -> str:
    return Text("queue {name}", name)


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
    return await api(running.management_url, running.management_user or "", running.management_password or "", path)


async def _alarms(running: Running) -> Finding:
    if running.management_url is None:
        return _well("alarms", "not looked at: the broker is not Zoco's own")
    nodes = await _ask(running, "/api/nodes")
    if not nodes:
        return _bad("alarms", "the management API does not answer: `{kill}` starts it anew", _kill(running))
    node = nodes[0]
    if node.get("mem_alarm"):
        return _bad("alarms", "memory alarm: nobody may publish. Give the broker memory, or let queues drain")
    if node.get("disk_free_alarm"):
        return _bad("alarms", "disk alarm: nobody may publish. Make room where the data folder is")
    return _well("alarms", "none")
