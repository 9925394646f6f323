"""The frames that a purchase is made of, written and read by hand on the socket that aiormq opened.

aiormq makes a future, a task and several frame objects of each message, and of each publish a write to the socket: ten
times the work of the purchase itself. So two channels are taken from it, by a door of its own (a `TransportFactory`
makes the socket): one publishes a batch with one write and waits for its confirms together, the other's deliveries are
put into a list. All other frames pass on to aiormq, which keeps the connection, its heartbeat and every other channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

from pamqp import decode

from broker.amqp.tap import BODY, END, FRAME, HEADER, METHOD, FrameTap, frame, read_text

_ACK: Final = Struct(">QB")
_CONTENT: Final = Struct(">HHQ")

# Class and method, as one number.
DELIVER: Final = 60 << 16 | 60
PUBLISH: Final = 60 << 16 | 40
RETURN: Final = 60 << 16 | 50
ACK: Final = 60 << 16 | 80
NACK: Final = 60 << 16 | 120
_PUBLISH: Final = PUBLISH.to_bytes(4, "big")
MANDATORY: Final = b"\x01"
MULTIPLE: Final = 1

# The properties of a message in their order on the wire, with their flags; s: short text, t: table, o: octet, l: long.
PROPERTIES: Final = (
    (1 << 15, "content_type", "s"),
    (1 << 14, "content_encoding", "s"),
    (1 << 13, "headers", "t"),
    (1 << 12, "delivery_mode", "o"),
    (1 << 11, "priority", "o"),
    (1 << 10, "correlation_id", "s"),
    (1 << 9, "reply_to", "s"),
    (1 << 8, "expiration", "s"),
    (1 << 7, "message_id", "s"),
    (1 << 6, "timestamp", "l"),
    (1 << 5, "type", "s"),
    (1 << 4, "user_id", "s"),
    (1 << 3, "app_id", "s"),
    (1 << 2, "cluster_id", "s"),
)
PERSISTENT: Final = b"\x02"
# The payload of a frame where the broker sets no limit: four bytes say how long it is, and Erlang takes no more.
_WITHOUT_LIMIT: Final = 2**31 - 1


# A header of ours is shorter.
SHORT_HEADER_BYTES: Final = 400


class Outgoing(NamedTuple):
    """A message to publish. `properties` as they travel: flags and values."""

    exchange: str
    routing_key: str
    properties: bytes
    body: bytes


class Delivered:
    """A message that came. Its properties are read when they are asked for, and whatever is in them can be read."""

    __slots__ = ("_properties", "body", "consumer", "exchange", "redelivered", "routing_key", "tag")

    def __init__(self, consumer: Consumer, payload: bytes, properties: bytes, body: bytes) -> None:
        self.consumer = consumer
        at = 5 + payload[4]
        self.tag, flags = _ACK.unpack_from(payload, at)
        self.redelivered = bool(flags & 1)
        self.exchange, at = read_text(payload, at + 9)
        self.routing_key, _ = read_text(payload, at)
        self._properties = properties
        self.body = body

    @property
    def type(self) -> str | None:
        return self._text("type")

    def says(self, type_name: str) -> bool:
        """Whether this is its type, or it has none."""
        value = self._value("type")
        return value is None or value == known(type_name)

    @property
    def message_id(self) -> str | None:
        return self._text("message_id")

    @property
    def correlation_id(self) -> str | None:
        return self._text("correlation_id")

    @property
    def content_type(self) -> str | None:
        return self._text("content_type")

    @property
    def app_id(self) -> str | None:
        return self._text("app_id")

    @property
    def timestamp(self) -> datetime | None:
        value = self._value("timestamp")
        with contextlib.suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(int.from_bytes(value, "big"), UTC) if value else None
        return None

    @property
    def headers(self) -> dict[str, Any]:
        """Empty when they cannot be read."""
        value = self._value("headers")
        with contextlib.suppress(ValueError, OverflowError, OSError, IndexError, RecursionError, ArithmeticError):
            return dict(decode.field_table(value)[1]) if value else {}
        return {}

    def header(self, name: str) -> str:
        """A header that is text, without reading the others; "" where there is none."""
        value, key = self._value("headers") or b"", _name(name)
        at = value.find(key) + len(key)
        if at < len(key):
            return ""
        size = int.from_bytes(value[at : at + 4], "big")
        return value[at + 4 : at + 4 + size].decode(errors="replace") if size <= SHORT_HEADER_BYTES else ""

    @property
    def table(self) -> bytes:
        """The headers as they travel."""
        return (self._value("headers") or b"")[4:]

    def repeated(self, headers: bytes) -> bytes:
        """The properties of a copy with other headers, as they travel, and readable by anybody."""
        kept = ("content_type", "correlation_id", "message_id", "type", "app_id")
        values = {name: short(text) for name in kept if (text := self._text(name)) is not None}
        if self.timestamp is not None:
            values["timestamp"] = self._value("timestamp") or b""
        values |= {"headers": len(headers).to_bytes(4, "big") + headers, "delivery_mode": PERSISTENT}
        flags = sum(flag for flag, name, _ in PROPERTIES if name in values)
        return flags.to_bytes(2, "big") + b"".join(values[name] for _, name, _ in PROPERTIES if name in values)

    def _text(self, name: str) -> str | None:
        value = self._value(name)
        if value is None:
            return None
        # Text that is no UTF-8 grows when it is made readable, and has to fit into a property again.
        return value[1:].decode(errors="replace").encode()[:255].decode(errors="ignore")

    def _value(self, wanted: str) -> bytes | None:
        """The bytes of a property, its length included; None when it is not there."""
        properties = self._properties
        at = 2
        for name, kind in _present(properties[:2]):
            if kind == "s":
                end = at + 1 + properties[at]
            elif kind == "t":
                end = at + 4 + int.from_bytes(properties[at : at + 4], "big")
            else:
                end = at + (1 if kind == "o" else 8)
            if name == wanted:
                return properties[at:end]
            at = end
        return None


@lru_cache
def _present(flags: bytes) -> list[tuple[str, str]]:
    """The names and kinds of the properties that a message has, in their order."""
    number = int.from_bytes(flags, "big")
    return [(name, kind) for flag, name, kind in PROPERTIES if number & flag]


class Channel:
    """A channel of ours: puts the three kinds of frames of a message together."""

    def __init__(self, line: FrameTap, number: int) -> None:
        self._line = line
        self._number = number
        # The message that is coming: its method, then its properties, then its body until that is whole.
        self._method = b""
        self._properties = b""
        self._missing = 0
        self._body: list[bytes] = []
        line.take(number, self)

    def came(self, kind: int, payload: bytes) -> bool:
        if kind == METHOD:
            return self._said(int.from_bytes(payload[:4], "big"), payload)
        if not self._method:
            return False
        if kind == HEADER:
            _, _, self._missing = _CONTENT.unpack_from(payload)
            self._properties = payload[_CONTENT.size :]
        else:
            self._missing -= len(payload)
            self._body.append(payload)
        if self._missing <= 0:
            method, self._method = self._method, b""
            body, self._body = b"".join(self._body), []
            self._message(method, self._properties, body)
        return True

    def _said(self, method: int, payload: bytes) -> bool:
        raise NotImplementedError

    def _message(self, method: bytes, properties: bytes, body: bytes) -> None:
        raise NotImplementedError


class Consumer(Channel):
    """Takes what is delivered on a channel. `came` must only put it aside."""

    def __init__(self, line: FrameTap, number: int, put_aside: Callable[[Delivered], None]) -> None:
        super().__init__(line, number)
        self._put_aside = put_aside
        # What is not acked, in the order in which it came; and when the last of all came (`time.monotonic`).
        self.held: deque[Delivered] = deque()
        self.received = 0.0

    def ack(self, tag: int, flags: int = MULTIPLE) -> None:
        """This delivery and all before it, or with flags 0 this one alone. Raises ConnectionError."""
        self._line.write(frame(METHOD, self._number, ACK.to_bytes(4, "big") + _ACK.pack(tag, flags)))
        while flags and self.held and self.held[0].tag <= tag:
            self.held.popleft()

    def _said(self, method: int, payload: bytes) -> bool:
        if method != DELIVER:
            return False
        self._method = payload
        return True

    def _message(self, method: bytes, properties: bytes, body: bytes) -> None:
        delivered = Delivered(self, method, properties, body)
        self.held.append(delivered)
        self.received = time.monotonic()
        self._put_aside(delivered)


class Unroutable(Exception):
    """No queue takes a message: nobody knows what became of its batch."""


class Publisher(Channel):
    """Publishes batches on a channel that has confirms."""

    def __init__(self, line: FrameTap, number: int, frame_max: int) -> None:
        super().__init__(line, number)
        # The bytes that a frame may hold.
        self.longest = (frame_max or _WITHOUT_LIMIT) - FRAME.size - len(END)
        self._last_tag = 0
        self._open: dict[int, None] = {}
        self._refused: set[int] = set()
        self._returned = False
        self._closed = False
        self._settled: asyncio.Future[None] | None = None

    @property
    def refused(self) -> bool:
        """Whether the broker refused one of the last batch: it said so."""
        return bool(self._refused)

    async def publish(self, batch: Sequence[Outgoing], seconds: float) -> list[bool]:
        """Write them all at once. Returns for each whether it was surely confirmed: one that was not may yet be.

        While the broker says that it is blocked there is no timeout: what was written is on its way, and each further
        try would be one more copy. Not to be called again before it returned. Raises Unroutable, ConnectionError.
        """
        if self._closed:
            raise ConnectionError("the channel is closed")
        tags = range(self._last_tag + 1, self._last_tag + 1 + len(batch))
        self._open = dict.fromkeys(tags)
        self._refused.clear()
        self._returned = False
        self._settled = asyncio.get_running_loop().create_future()
        try:
            self._line.write(b"".join([self._frames(message) for message in batch]))
            self._last_tag = tags[-1]
            while not self._settled.done():
                await asyncio.wait((self._settled,), timeout=seconds)
                if not self._line.blocked:
                    break
            if self._returned:
                raise Unroutable
            return [tag not in self._open and tag not in self._refused for tag in tags]
        finally:
            self._open = {}

    def close(self) -> None:
        """The channel is gone: whoever waits is told that nobody knows."""
        self._closed = True
        self._finish()

    def _finish(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    def _frames(self, message: Outgoing) -> bytes:
        number, body = self._number, message.body
        publish = b"".join((_PUBLISH, b"\0\0", known(message.exchange), known(message.routing_key), MANDATORY))
        content = _CONTENT.pack(60, 0, len(body)) + message.properties
        frames = [frame(METHOD, number, publish), frame(HEADER, number, content)]
        frames += [frame(BODY, number, body[at : at + self.longest]) for at in range(0, len(body), self.longest)]
        return b"".join(frames)

    def _said(self, method: int, payload: bytes) -> bool:
        if method in (ACK, NACK):
            tag, flags = _ACK.unpack_from(payload, 4)
            self._confirmed(tag, bool(flags & MULTIPLE), refused=method == NACK)
            return True
        if method != RETURN:
            return False
        self._method = payload
        return True

    def _message(self, method: bytes, properties: bytes, body: bytes) -> None:
        # It comes before the confirm of the same message.
        self._returned = True

    def _confirmed(self, tag: int, multiple: bool, *, refused: bool) -> None:
        # The tags are in their order.
        tags = [tag]
        if multiple:
            tags = []
            for one in self._open:
                if one > tag:
                    break
                tags.append(one)
        for one in tags:
            # One of a batch that was given up is not waited for any more.
            if one in self._open:
                del self._open[one]
                if refused:
                    self._refused.add(one)
        if not self._open:
            self._finish()


def table(headers: Mapping[str, str]) -> bytes:
    """Headers as they travel; two tables, one behind the other, are one."""
    return b"".join([_name(name) + _long(value) for name, value in headers.items()])


def short(text: str) -> bytes:
    """At most 255 bytes. Raises OverflowError."""
    data = text.encode()
    return len(data).to_bytes(1, "big") + data


@lru_cache
def _name(name: str) -> bytes:
    """A header's name, and that text follows."""
    return short(name) + b"S"


# Types, exchanges, services: there are few of them.
known: Final = lru_cache(short)


def _long(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data
