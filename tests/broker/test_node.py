"""The private node: it listens on this machine only, keeps what it was told, and leaves no process behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aio_pika
import pytest
from broker_builders import manage
from patience import END_SECONDS, PATIENCE_SECONDS
from shop_builders import rabbitmqctl

from ops.process import Process, free_port, is_free
from ops.rabbitmq import Node, NodeError

LOOPBACK = {"127.0.0.1", "[::1]"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    # The space in its folder's name is meant.
    node = Node(tmp_path_factory.mktemp("own") / "a node")
    yield node
    asyncio.run(node.stop(0))


@pytest.fixture
async def own(kept: Node) -> Node:
    """A running node of these tests' own, to be killed at will."""
    if kept.pid is None:
        await kept.start()
    return kept


def related(folder: Path) -> list[int]:
    """Every process that was started with this folder in its environment or command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            seen = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if str(folder).encode() in seen and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def listening(*pids: int) -> set[str]:
    """The addresses that these processes listen on."""
    table = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    return {line.split()[3] for line in table.splitlines() if any(f"pid={pid}," in line for pid in pids)}


async def test_it_listens_on_this_machine_only(own: Node) -> None:
    assert own.pid is not None
    assert own._epmd is not None
    addresses = listening(own.pid, own._epmd.pid)
    # AMQP, management, metrics, Erlang's distribution; and epmd.
    assert len(addresses) >= 5
    assert {address.rpartition(":")[0] for address in addresses} <= LOOPBACK


async def test_it_leaves_no_process_behind(tmp_path: Path) -> None:
    node = Node(tmp_path / "node")
    await node.start()
    assert node._epmd is not None
    epmd = node._epmd.pid
    assert node.pid in related(node.folder)
    await node.stop()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while related(node.folder):
            await asyncio.sleep(0.02)
    with pytest.raises(ProcessLookupError):
        os.kill(epmd, 0)
    assert not (node.folder / "processes.json").exists()


async def test_a_frozen_one_can_be_stopped(own: Node) -> None:
    own.freeze()
    async with asyncio.timeout(END_SECONDS):
        await own.stop(1)
    assert own.pid is None


async def test_a_killed_one_keeps_its_messages_and_its_ports(own: Node) -> None:
    await own.add_vhost("a/b ñ")
    url = own.url("a/b ñ")
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    queue = await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
    # A quorum queue that is a second old does not survive the broker's death.
    await asyncio.sleep(2)
    await channel.default_exchange.publish(aio_pika.Message(b"still here"), "kept")
    await connection.close()
    own.kill()
    assert own.pid is None
    await own.start()
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    queue = await channel.get_queue("kept")
    assert (await queue.get()).body == b"still here"
    await connection.close()


async def test_a_wiped_one_is_empty_and_knows_the_password(own: Node) -> None:
    with pytest.raises(NodeError, match="stop or kill it"):
        await own.wipe()
    own.kill()
    await own.wipe()
    await own.start()
    await (await aio_pika.connect(own.url())).close()


async def test_its_cookie_is_made_of_chance_and_for_nobody_else(own: Node) -> None:
    cookie = own.folder / ".erlang.cookie"
    assert stat.S_IMODE(cookie.stat().st_mode) == 0o400
    assert stat.S_IMODE(own.folder.stat().st_mode) == 0o700
    # Erlang's own is twenty capital letters, of its uptime.
    first = cookie.read_text()
    assert re.fullmatch("[0-9a-f]{64}", first)
    own.kill()
    await own.start()
    assert cookie.read_text() != first
    # It is the one that runs.
    await rabbitmqctl(own, "list_vhosts")


@pytest.mark.parametrize("harm", ["password", "rights", "deleted"])
async def test_its_user_is_made_right_when_somebody_changed_it(own: Node, harm: str) -> None:
    user = f"users/{own.user}"
    match harm:
        case "password":
            await manage(own, "PUT", user, {"password": "another", "tags": "administrator"})
        case "rights":
            await manage(own, "PUT", f"permissions/%2F/{own.user}", {"configure": "^$", "write": "^$", "read": "^$"})
        case "deleted":
            await manage(own, "DELETE", user)
    own.kill()
    await own.start()
    async with await aio_pika.connect(own.url()) as connection:
        channel = await connection.channel()
        await channel.declare_queue("mine", durable=True)
    assert await manage(own, "GET", "whoami")
    assert not await own.mend_user()


async def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    taken = free_port()
    squatter = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", taken)
    node = Node(tmp_path / "node", amqp_port=taken)
    async with squatter:
        with pytest.raises(NodeError, match=f"port {taken} is taken"):
            await node.start()
    assert node.pid is None
    assert is_free(taken)


async def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    script = f"import asyncio, pathlib, ops.rabbitmq as n; asyncio.run(n.Node(pathlib.Path({str(folder)!r})).start())"
    # Its pid file tells that it is on its way.
    starter = Process([sys.executable, "-c", f"{script}; import time; time.sleep(600)"], os.environ)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (folder / "rabbitmq.pid").exists():
            await asyncio.sleep(0.02)
    starter.send(signal.SIGKILL)
    await starter.wait()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while related(folder):
            await asyncio.sleep(0.02)
