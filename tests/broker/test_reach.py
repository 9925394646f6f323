"""Several hosts, and a name with several addresses: connected to the one that answers, soon."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from broker_builders import operator, running, solicitada, until
from silence import tells_of_silence

from broker.amqp.bus import Bus
from broker.amqp.connect import Address, connect
from broker.amqp.reach import reach
from ops.rabbitmq import Node

# Two tries, and the machine's share. What swallows packets keeps whoever waits for it for two minutes.
SOON_SECONDS = 2


@contextmanager
def swallowing(port: int) -> Iterator[str]:
    """An address of this machine on which packets are lost: its line of waiting connections is full."""
    address = "127.0.0.2"
    with socket.socket() as full:
        full.bind((address, port))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((address, port))
        try:
            yield address
        finally:
            for one in waiting:
                one.close()


async def test_of_two_hosts_the_one_that_answers_is_taken(node: Node, url: str) -> None:
    with swallowing(node.amqp_port) as address:
        both = url.replace("@127.0.0.1:", f"@{address}:{node.amqp_port},127.0.0.1:")
        began = time.monotonic()
        connection = await connect(Address.read(both), "the-test")
        assert time.monotonic() - began < SOON_SECONDS
        await connection.close()
        async with operator(url) as admin, running(both, "compras") as bus:
            await bus.publish([solicitada()])
            assert await admin.count("tokens") == 1


async def test_of_two_addresses_of_a_name_the_one_that_answers_is_taken(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    with swallowing(node.amqp_port) as address:
        found: list[Any] = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, node.amqp_port)) for one in (address, "127.0.0.1")
        ]

        async def getaddrinfo(*asked: Any, **how: Any) -> list[Any]:
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        began = time.monotonic()
        reached, name = await reach([("rabbitmq.example", node.amqp_port)])
        assert time.monotonic() - began < SOON_SECONDS
        assert (reached.getpeername()[0], name) == ("127.0.0.1", "rabbitmq.example")
        reached.close()


async def test_a_host_that_takes_connections_and_does_not_answer_is_the_last_one_the_next_time(url: str) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    both = url.replace("@127.0.0.1:", f"@127.0.0.1:{port},127.0.0.1:")
    async with running(both, "compras", connect=False, connect_seconds=1, first_declaration_seconds=0) as bus:
        await until(lambda: bus.connected, seconds=10)
    silent.close()


async def test_who_waits_for_a_broker_whose_machine_lost_its_power_is_told(node: Node) -> None:
    reached, _ = await reach([("127.0.0.1", node.amqp_port)])
    tells_of_silence(reached)
    reached.close()


async def test_when_none_answers_the_first_reason_is_given(node: Node) -> None:
    with pytest.raises(ConnectionRefusedError):
        await reach([("127.0.0.1", 1), ("127.0.0.1", 2)])
    bus = Bus("amqp://zoco:secret@127.0.0.1:1,127.0.0.1:2/", "tokens", now=lambda: "")
    task = asyncio.create_task(bus.run())
    await until(lambda: bus.trouble is not None, task)
    assert "secret" not in (bus.trouble or "")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
