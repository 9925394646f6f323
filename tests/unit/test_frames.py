"""The frames that are read and written by hand, held against pamqp, which reads and writes them its own way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat
from yarl import URL

from broker.amqp.envelope import properties
from broker.amqp.frames import Consumer, Delivered, Outgoing, Publisher, Unroutable, table
from broker.amqp.tap import FrameTap, _Reader

SHORT = st.text(max_size=60).filter(lambda text: len(text.encode()) < 256)
SEVEN = 7


class Sent:
    """What was written to the socket."""

    def __init__(self, line: FrameTap) -> None:
        self.data = b""
        line.write = self.write  # type: ignore[method-assign]

    def write(self, frames: bytes) -> None:
        self.data += frames

    def frames(self) -> list[Any]:
        found, data = [], self.data
        while data:
            used, number, frame = pamqp.frame.unmarshal(data)
            assert number == SEVEN
            found.append(frame)
            data = data[used:]
        return found


def delivery(body: bytes, tag: int = 1, **given: Any) -> bytes:
    """The frames of a delivery on channel 7, by pamqp."""
    deliver = commands.Basic.Deliver("ctag", tag, given.pop("redelivered", False), "zoco", "compra.solicitada")
    header = ContentHeader(0, len(body), commands.Basic.Properties(**given))
    parts = [body[at : at + 100] for at in range(0, len(body), 100)]
    frames = [deliver, header, *map(ContentBody, parts)]
    return b"".join(pamqp.frame.marshal(frame, SEVEN) for frame in frames)


def read(data: bytes, *cuts: int) -> tuple[list[Delivered], bytes]:
    """What our consumer got of this, and what was passed on to aiormq, however the bytes were cut."""

    async def feed() -> tuple[list[Delivered], bytes]:
        line, came = FrameTap(), list[Delivered]()
        Consumer(line, SEVEN, came.append)
        reader = _Reader(line, asyncio.get_running_loop())
        at = 0
        for cut in [*sorted(cuts), len(data)]:
            reader.feed_data(data[at:cut])
            at = max(at, cut)
        reader.feed_eof()
        return came, await reader.read()

    return asyncio.run(feed())


@given(SHORT, SHORT, SHORT, SHORT, st.integers(0, 2**32 - 1), st.dictionaries(SHORT, st.text()))
def test_our_properties_are_what_pamqp_reads(
    subject: str, message_id: str, type_name: str, app_id: str, timestamp: int, headers: dict[str, str]
) -> None:
    packed = properties(
        table(headers), subject=subject, message_id=message_id, type_name=type_name, app_id=app_id, timestamp=timestamp
    )
    found = commands.Basic.Properties()
    found.unmarshal(int.from_bytes(packed[:2], "big"), packed[2:])
    assert (found.content_type, found.delivery_mode) == ("application/json", 2)
    assert (found.correlation_id, found.message_id, found.message_type) == (subject, message_id, type_name)
    assert (found.app_id, found.headers) == (app_id, headers)
    assert found.timestamp == datetime.fromtimestamp(timestamp, UTC)


async def test_what_comes_soon_after_a_message_is_read_in_one_go() -> None:
    sent, ended = asyncio.Event(), asyncio.Event()

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for tag in range(1, 11):
            writer.write(delivery(b"{}", tag))
            await writer.drain()
            # By itself each of them would wake the other side.
            await asyncio.sleep(0.001)
        sent.set()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    url = URL(f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    turns: dict[int, list[int | None]] = {}
    turn = 0
    line = FrameTap(gather_seconds=1.0)
    Consumer(line, SEVEN, lambda came: turns.setdefault(turn, []).append(came.tag))

    class NoTls:
        async def get_context(self) -> None: ...

    _, writer = await line.create(url, ssl_context_provider=NoTls())
    while sum(map(len, turns.values())) < 10:
        await asyncio.sleep(0.001)
        turn += 1
    first, *others = turns.values()
    assert sent.is_set()
    assert [*first, *(tag for some in others for tag in some)] == list(range(1, 11))
    assert len(first) < 10
    assert len(others) == 1
    writer.close()
    await ended.wait()
    server.close()
    await server.wait_closed()


def test_a_property_too_long_for_the_wire_is_refused() -> None:
    with pytest.raises(OverflowError):
        properties(b"", subject="x" * 256, message_id="", type_name="", app_id="", timestamp=0)


@given(
    st.binary(max_size=350),
    st.integers(1, 2**63 - 1),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "content_type": SHORT,
            "content_encoding": SHORT,
            "headers": st.dictionaries(st.text("abc", min_size=1), st.integers(0, 9) | st.text()),
            "priority": st.integers(0, 9),
            "correlation_id": SHORT,
            "reply_to": SHORT,
            "expiration": SHORT,
            "message_id": SHORT,
            "message_type": SHORT,
            "timestamp": st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(
                lambda when: when.replace(microsecond=0, tzinfo=UTC)
            ),
            "app_id": SHORT,
        },
    ),
)
def test_what_pamqp_writes_is_read(body: bytes, tag: int, redelivered: bool, given: dict[str, Any]) -> None:
    (came,), passed = read(delivery(body, tag, redelivered=redelivered, **given))
    assert (came.tag, came.redelivered, came.exchange, came.routing_key) == (
        tag,
        redelivered,
        "zoco",
        "compra.solicitada",
    )
    assert came.body == body
    # pamqp leaves out what is empty.
    assert came.type == (given.get("message_type") or None)
    for name in ("content_type", "correlation_id", "message_id", "timestamp", "app_id"):
        assert getattr(came, name) == (given.get(name) or None)
    assert came.headers == given.get("headers", {})
    # aiormq is told that the connection lives.
    assert passed in (b"", pamqp.frame.marshal(Heartbeat(), 0))


@given(st.lists(st.integers(0, 1500), max_size=20))
def test_the_cuts_of_the_stream_change_nothing(cuts: list[int]) -> None:
    others = [
        pamqp.frame.marshal(commands.Basic.ConsumeOk("ctag"), SEVEN),
        pamqp.frame.marshal(Heartbeat(), 0),
        pamqp.frame.marshal(commands.Queue.DeclareOk("tokens", 1, 1), 3),
    ]
    bodies = [b"", b"a" * 10, b"b" * 350]
    data = others[0] + delivery(bodies[0]) + others[1] + delivery(bodies[1]) + delivery(bodies[2]) + others[2]
    came, passed = read(data, *cuts)
    assert [one.body for one in came] == bodies
    # A heartbeat more may be passed on while only deliveries came.
    beat = pamqp.frame.marshal(Heartbeat(), 0)
    assert passed.replace(beat, b"") == b"".join(others).replace(beat, b"")


def test_the_messages_of_another_channel_are_aiormqs() -> None:
    data = delivery(b"body").replace(SEVEN.to_bytes(2, "big"), (8).to_bytes(2, "big"))
    came, passed = read(data)
    assert came == []
    assert passed == data


def test_a_stream_that_is_not_amqp_is_passed_on() -> None:
    assert read(b"HTTP/1.1 400 Bad Request\r\n\r\n") == ([], b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_properties_that_nobody_can_read_harm_nobody() -> None:
    whole = delivery(b"x", message_id="abc", timestamp=datetime(2026, 1, 1, tzinfo=UTC), headers={"k": "v"})
    broken = whole.replace(b"abc", b"\xff\xfe\xfd").replace(b"\x01kS", b"\x01k\x01")
    seconds = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()).to_bytes(8, "big")
    (came,), _ = read(broken.replace(seconds, b"\xff" * 8))
    assert came.timestamp is None
    assert came.headers == {}
    assert came.message_id == "\ufffd\ufffd\ufffd"


def outgoing(body: bytes = b"{}") -> Outgoing:
    packed = properties(b"", subject="a", message_id="m", type_name="t", app_id="compras", timestamp=1)
    return Outgoing("zoco", "compra.solicitada", packed, body)


def publisher(frame_max: int = 131072) -> tuple[Publisher, FrameTap, Sent]:
    line = FrameTap()
    return Publisher(line, SEVEN, frame_max), line, Sent(line)


def say(line: FrameTap, frame: Any, number: int = SEVEN) -> None:
    """The broker says this."""
    data = pamqp.frame.marshal(frame, number)
    line.came(data[0], number, data[7:-1])


@given(st.binary(max_size=600))
def test_a_large_body_is_cut_into_frames(body: bytes) -> None:
    async def run() -> None:
        it, _, sent = publisher(frame_max=64)
        await it.publish([outgoing(body)], 0)
        publish, header, *parts = sent.frames()
        assert (publish.exchange, publish.routing_key, publish.mandatory) == ("zoco", "compra.solicitada", True)
        assert header.body_size == len(body)
        assert b"".join(part.value for part in parts) == body
        assert all(len(part.value) + 8 <= 64 for part in parts)

    asyncio.run(run())


ACK, NACK, RETURN = commands.Basic.Ack, commands.Basic.Nack, commands.Basic.Return


@pytest.mark.parametrize(
    "said, sure",
    [
        ([], "...."),
        ([ACK(2)], ".y.."),
        ([ACK(3, multiple=True)], "yyy."),
        ([ACK(4, multiple=True)], "yyyy"),
        ([NACK(2), ACK(4, multiple=True)], "y.yy"),
        ([NACK(2, multiple=True), ACK(3), ACK(4)], "..yy"),
        ([ACK(1), ACK(1), ACK(99)], "y..."),
    ],
)
async def test_only_what_was_confirmed_is_sure(said: list[Any], sure: str) -> None:
    it, line, _ = publisher()
    waiting = asyncio.create_task(it.publish([outgoing()] * 4, 0.05))
    await asyncio.sleep(0)
    for frame in said:
        say(line, frame)
    assert await waiting == [one == "y" for one in sure]


async def test_a_late_confirm_of_a_batch_that_was_given_up_confirms_nothing_of_the_next() -> None:
    it, line, _ = publisher()
    assert await it.publish([outgoing()] * 2, 0) == [False, False]
    waiting = asyncio.create_task(it.publish([outgoing()], 0.05))
    await asyncio.sleep(0)
    say(line, ACK(2, multiple=True))
    assert await waiting == [False]


async def test_a_message_that_comes_back_makes_its_batch_unknown() -> None:
    it, line, _ = publisher()
    waiting = asyncio.create_task(it.publish([outgoing()] * 2, 5))
    await asyncio.sleep(0)
    say(line, RETURN(312, "NO_ROUTE", "zoco", "compra.solicitada"))
    say(line, ContentHeader(0, 2, commands.Basic.Properties()))
    say(line, ContentBody(b"{}"))
    say(line, ACK(2, multiple=True))
    with pytest.raises(Unroutable):
        await waiting


async def test_while_the_broker_is_blocked_nothing_is_given_up() -> None:
    it, line, _ = publisher()
    say(line, commands.Connection.Blocked("low on memory"), 0)
    assert line.blocked == "low on memory"
    waiting = asyncio.create_task(it.publish([outgoing()], 0.01))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    say(line, ACK(1))
    assert await waiting == [True]
    say(line, commands.Connection.Unblocked(), 0)
    assert line.blocked is None


async def test_who_waits_on_a_channel_that_closes_is_told_that_nobody_knows() -> None:
    it, _, _ = publisher()
    waiting = asyncio.create_task(it.publish([outgoing()], 5))
    await asyncio.sleep(0)
    it.close()
    assert await waiting == [False]
    with pytest.raises(ConnectionError):
        await it.publish([outgoing()], 5)


async def test_an_ack_covers_all_before_it() -> None:
    line = FrameTap()
    sent = Sent(line)
    Consumer(line, SEVEN, lambda delivered: None).ack(1234)
    (ack,) = sent.frames()
    assert (ack.delivery_tag, ack.multiple) == (1234, True)


async def test_writing_without_a_connection_says_so() -> None:
    with pytest.raises(ConnectionError):
        FrameTap().write(b"x")


async def test_aiormq_is_told_that_a_busy_connection_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    line = FrameTap()
    Consumer(line, SEVEN, lambda delivered: None)
    reader = _Reader(line, asyncio.get_running_loop())
    for clock in (2.0, 2.5, 3.1):
        reader._clock = lambda clock=clock: clock  # type: ignore[misc]
        reader.feed_data(delivery(b"x"))
    reader.feed_eof()
    assert await reader.read() == 2 * pamqp.frame.marshal(Heartbeat(), 0)
