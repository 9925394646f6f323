"""`zoco doctor` by a real RabbitMQ of three: what each queue of it lacks."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from typing_extensions import override

from broker.amqp.connect import Address, connect
from broker.topology import MONITOR
from ops.cluster import Cluster
from ops.doctor_broker import in_cluster, lacking, told
from ops.findings import Finding
from ops.rabbitmq import Node, NodeError

HA: Final = Path(__file__).parents[2] / "k8s" / "components" / "rabbitmq-ha" / "rabbitmq-configmap.yaml"
# The statistics of a dead node stay until another asks: some 5 s; a node starts in 7 s, on a busy machine in 25.
SECONDS: Final = 120
QUORUM: Final = {"x-queue-type": "quorum"}


class Member(Node):
    """The first one makes the cluster, and has the epmd of all of them."""

    def __init__(self, folder: Path, number: int, first: Member | None = None) -> None:
        folder.mkdir(mode=0o700)
        super().__init__(folder)
        self._name, self._first = f"zoco{number}@localhost", first
        if first:
            self._epmd_port, self._epmd = first._epmd_port, first._epmd

    @override
    async def stop(self, timeout_seconds: float = 10) -> None:
        shared = self._epmd
        if self._first:
            self._epmd = None
        await super().stop(timeout_seconds)
        if self._first:
            self._epmd = shared

    def _environment(self, server: Path) -> dict[str, str]:
        return super()._environment(server) | {"RABBITMQ_NODENAME": self._name}

    def _configure(self) -> None:
        super()._configure()
        if self._first is None:
            return
        for file in (".erlang.cookie", "password"):
            shutil.copy(self._first.folder / file, self.folder / file)
        discovery = "cluster_formation.classic_config.nodes"
        with (self.folder / "rabbitmq.conf").open("a") as conf:
            conf.write("cluster_formation.peer_discovery_backend = classic_config\n")
            # How often it tries: as in a cluster.
            conf.writelines(re.findall(r"cluster_formation\.discovery_.*\n", HA.read_text(encoding="utf-8")))
            conf.writelines(f"{discovery}.{n} = {one._name}\n" for n, one in enumerate((self._first, self), 1))


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[list[Member]]:
    """Queue `usuarios` was declared while there was only the first."""
    async with AsyncExitStack() as stack:
        members = [Member(tmp_path / "1", 1)]
        stack.push_async_callback(members[0].stop, 0)
        await members[0].start(SECONDS)
        await declare(members[0], "usuarios")
        for number in (2, 3):
            members.append(Member(tmp_path / str(number), number, members[0]))
            stack.push_async_callback(members[-1].stop, 0)
            await members[-1].start(SECONDS)
        yield members


async def declare(node: Node, *queues: str) -> None:
    connection = await connect(Address.read(node.url()), "test", seconds=SECONDS)
    channel = await connection.channel()
    for queue in queues:
        await channel.declare_queue(queue, durable=True, arguments=QUORUM)
    await connection.close()


async def until(node: Node, holds: Callable[[dict[str, str]], Any]) -> None:
    found: dict[str, str] = {}
    async with asyncio.timeout(SECONDS):
        while not holds(found):
            await asyncio.sleep(0.2)
            answers = [
                await told(node.management_url, node.user, node.password, f"/api/{path}")
                for path in ("queues/%2F", "nodes")
            ]
            if None not in answers:
                found = {one.what: str(one.says) for one in lacking(answers[0], len(answers[1]))}


async def test_a_queue_that_lacks_members_or_its_quorum_is_named(three: list[Member]) -> None:
    one, two, other = three
    await declare(one, "compras", "tokens")
    few = {"queue usuarios": "it has 1 of 3 members: if that lasts, `rabbitmq-queues grow` adds them"}
    await until(one, lambda found: found == few)
    other.kill()
    away = {"queue compras, tokens": "2 of 3 members are online: bring back zoco3@localhost"}
    await until(one, lambda found: found == few | away)
    two.kill()
    await until(one, lambda found: found.get("queue compras, tokens", "").startswith("no quorum: 1 of its 3 members"))


# So long a member looked for others, unless told, before it went on alone.
ALONE_SECONDS: Final = 40


async def started_again(member: Member) -> None:
    """As a cluster does with one that ends: who asks another that is only just starting does not begin."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return await member.start(SECONDS)
        except NodeError as error:
            if "ended while it started" not in str(error) or time.monotonic() > deadline:
                raise


@pytest.mark.long
async def test_a_member_that_comes_back_empty_and_finds_no_other_is_no_broker_of_its_own(three: list[Member]) -> None:
    one, two, other = three
    for member in three:
        member.kill()
    await two.wipe()
    with pytest.raises(NodeError, match="is not ready"):
        await two.start(ALONE_SECONDS)
    assert await told(two.management_url, two.user, two.password, "/api/nodes") is None
    async with asyncio.TaskGroup() as starting:
        for member in (one, other, two):
            starting.create_task(started_again(member))
    nodes = await told(two.management_url, two.user, two.password, "/api/nodes")
    assert len(nodes) == len(three)


def queue(**said: Any) -> dict[str, Any]:
    return {"name": "tokens", "leader": "a", "members": ["a", "b", "c"], "online": ["a", "b", "c"], **said}


@pytest.mark.parametrize("leader", ["", None, "c"])
def test_a_queue_without_a_leader_is_named(leader: str | None) -> None:
    """It has none for a moment after its node died: too short to be met on purpose."""
    assert not lacking([queue()], 3)
    (found,) = lacking([queue(leader=leader, online=["a", "b"])], 3)
    assert not found.well and found.says.startswith("no leader")


KUBECTL: Final = """#!/bin/sh
case "$*" in
*port-forward*) echo "Forwarding from 127.0.0.1:$MANAGEMENT -> 15672"; exec sleep 60 ;;
*rabbitmq-monitor*) printf %s "$HOST" ;;
*"get statefulset rabbitmq"*) printf 3 ;;
esac
"""


@pytest.mark.parametrize("right", [True, False])
async def test_a_cluster_is_asked_as_who_may_look(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    """`kubectl` leads to a broker here. tests/broker/test_rights.py says what the monitor may do."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    host = f"http://{node.user if right else MONITOR}:{node.password}@rabbitmq.zoco:15672/"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("MANAGEMENT", str(node.management_port))
    monkeypatch.setenv("HOST", base64.b64encode(host.encode()).decode())
    found: list[Finding] = await asyncio.to_thread(in_cluster, Cluster("zoco"))
    assert [(one.what, one.well) for one in found] == [("members", right)]
    if right:
        # Of three that should be there the one that answers is alone, and says that all is well.
        await declare(node, "tokens")
        (lone,) = await asyncio.to_thread(in_cluster, Cluster("zoco"))
        assert not lone.well and str(lone.says).startswith("it has 1 of 3 members")
