"""One connection's socket: what aiormq talks through, and we beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, Final, Protocol, SupportsIndex, cast

from aiormq.connection import TransportFactory
from yarl import URL

from broker.amqp.reach import reach

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8
END: Final = b"\xce"
KINDS: Final = frozenset((METHOD, HEADER, BODY, HEARTBEAT))
FRAME: Final = Struct(">BHI")

# Class and method, as one number.
CONNECTION_CLOSE: Final = 10 << 16 | 50
BLOCKED: Final = 10 << 16 | 60
UNBLOCKED: Final = 10 << 16 | 61
CHANNEL_CLOSE: Final = 20 << 16 | 40
# aiormq takes a connection for stuck when it sees no frame for three heartbeats, and these it does not see.
_PASS_HEARTBEAT_SECONDS: Final = 1.0


class Taker(Protocol):
    """A channel of ours. `came` returns whether the frame was its own."""

    def came(self, kind: int, payload: bytes) -> bool: ...


class FrameTap(TransportFactory):
    """What makes a connection's socket, to any of `hosts` (unless told, that of the URL).

    After it brought a message it is not read for `gather_seconds`: what comes meanwhile is then read in one go. Each
    message that wakes a process by itself costs ten times what it costs among others.
    """

    def __init__(self, gather_seconds: float = 0.0, hosts: Sequence[tuple[str, int]] = ()) -> None:
        self._gather_seconds = gather_seconds
        self._hosts = hosts
        # Why the broker takes nothing for now: its words about a memory or disk alarm.
        self.blocked: str | None = None
        # Why the broker closed the connection, or a channel of ours: its words.
        self.closed: str | None = None
        self._taken: dict[int, Taker] = {}
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **how: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """What aiormq calls to connect."""
        provider = how.pop("ssl_context_provider")
        loop = asyncio.get_running_loop()
        reader = _Reader(self, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        context = await provider.get_context() if url.scheme == "amqps" else None
        hosts = self._hosts or ((url.host or "", url.port or 0),)
        reached, name = await reach(hosts)
        transport, _ = await loop.create_connection(
            lambda: protocol, sock=reached, ssl=context, server_hostname=name if context else None
        )
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        return reader, self._writer

    def take(self, number: int, channel: Taker) -> None:
        """From now on this channel's messages and confirms are ours."""
        self._taken[number] = channel

    def write(self, frames: bytes) -> None:
        """Raises ConnectionError."""
        if self._writer is None or self._writer.transport.is_closing():
            raise ConnectionError("the connection is closed")
        self._writer.write(frames)

    def rest(self) -> None:
        """Something of ours came: do not read for a while."""
        if self._gather_seconds and self._writer is not None:
            transport = cast(asyncio.Transport, self._writer.transport)
            transport.pause_reading()
            asyncio.get_running_loop().call_later(self._gather_seconds, transport.resume_reading)

    def came(self, kind: int, number: int, payload: bytes) -> bool:
        """One frame. Returns whether it was ours; any other is aiormq's."""
        if number == 0:
            if kind == METHOD:
                self._about_the_connection(int.from_bytes(payload[:4], "big"), payload)
            return False
        channel = self._taken.get(number)
        if channel is None:
            return False
        if channel.came(kind, payload):
            return True
        if kind == METHOD and int.from_bytes(payload[:4], "big") == CHANNEL_CLOSE:
            self.closed = _reason(payload)
        return False

    def _about_the_connection(self, method: int, payload: bytes) -> None:
        if method == BLOCKED:
            self.blocked, _ = read_text(payload, 4)
        elif method == UNBLOCKED:
            self.blocked = None
        elif method == CONNECTION_CLOSE:
            self.closed = _reason(payload)


class _Reader(asyncio.StreamReader):
    """Passes on to aiormq the frames that are not ours."""

    def __init__(self, line: FrameTap, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._line = line
        self._clock = loop.time
        self._rest = b""
        self._passed_at = 0.0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        data = self._rest + bytes(data)
        came, head, passed = self._line.came, FRAME.size, []
        at, whole = 0, len(data)
        while whole - at >= head:
            kind, number, size = FRAME.unpack_from(data, at)
            end = at + head + size + 1
            if kind not in KINDS:
                # Not AMQP, or another version of it: aiormq knows what to say.
                end = whole
            if end > whole:
                break
            if not came(kind, number, data[at + head : end - 1]):
                passed.append(data[at:end])
            at = end
        self._rest = data[at:]
        if at and not passed:
            self._line.rest()
            if self._clock() - self._passed_at > _PASS_HEARTBEAT_SECONDS:
                passed.append(frame(HEARTBEAT, 0, b""))
        if passed:
            self._passed_at = self._clock()
            super().feed_data(b"".join(passed))


def frame(kind: int, number: int, payload: bytes) -> bytes:
    return FRAME.pack(kind, number, len(payload)) + payload + END


def read_text(payload: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end].decode(errors="replace"), end


def _reason(payload: bytes) -> str:
    """The code and the words of a close."""
    words, _ = read_text(payload, 6)
    return f"{int.from_bytes(payload[4:6], 'big')} {words}"
