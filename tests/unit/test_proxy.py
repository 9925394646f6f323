"""The proxy between services and broker: it passes on, stands still, and cuts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadgen.drill.proxy import Proxy


@asynccontextmanager
async def proxied() -> AsyncIterator[Proxy]:
    """In front of a server that says everything back."""

    answering: set[asyncio.Task[None] | None] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        try:
            while piece := await reader.read(100):
                writer.write(piece)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
        server.close()
        await asyncio.gather(*(task for task in answering if task))
        await server.wait_closed()


async def test_what_comes_is_passed_on_both_ways() -> None:
    async with proxied() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"gato")
        assert await asyncio.wait_for(reader.readexactly(4), 5) == b"gato"
        writer.close()


async def test_a_stall_ends_nothing_and_loses_nothing() -> None:
    async with proxied() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.stall()
        writer.write(b"gato")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(4), 0.2)
        proxy.flow()
        assert await asyncio.wait_for(reader.readexactly(4), 5) == b"gato"
        writer.close()


@pytest.mark.parametrize("stalled", [False, True])
async def test_a_cut_ends_all_connections_and_refuses_new_ones_until_it_is_over(stalled: bool) -> None:
    async with proxied() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"luna")
        assert await asyncio.wait_for(reader.readexactly(4), 5) == b"luna"
        if stalled:
            proxy.stall()
        await proxy.stop()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(4), 5)
        writer.close()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.flow()
        await proxy.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"gato")
        assert await asyncio.wait_for(reader.readexactly(4), 5) == b"gato"
        writer.close()
