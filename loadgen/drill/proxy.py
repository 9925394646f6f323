"""A TCP proxy between the services and RabbitMQ, so that the network between them can be cut or stand still."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from ops.process import free_port

PIECE_BYTES: Final = 64 * 1024


class Proxy:
    """Passes on what comes to `port` of 127.0.0.1 to `to_port`."""

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self._to_port = to_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Future[tuple[None, None]]] = set()
        self._flows = asyncio.Event()
        self._flows.set()

    async def start(self) -> None:
        """Raises OSError when the port has been taken meanwhile."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """End every connection, and take no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def stall(self) -> None:
        """Let nothing through; connections stay as they are, and new ones are taken and stand still too."""
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.transport.abort()
            return
        passing = asyncio.gather(self._pump(reader, to_writer), self._pump(to_reader, writer))
        self._connections.add(passing)
        try:
            await passing
        except asyncio.CancelledError:
            # Cut. Whoever cancels this task itself, at the end of everything, loses nothing by it.
            pass
        finally:
            self._connections.discard(passing)
            writer.transport.abort()
            to_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                await self._flows.wait()
                writer.write(piece)
                await writer.drain()
        writer.close()
