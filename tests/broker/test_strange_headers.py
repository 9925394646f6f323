"""Whatever a stranger writes into the headers of a message that nobody can act on: it goes to the dead letters with
them, can be listed, and given again. Fuzzed through a real broker."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, cast

import pytest
from broker_builders import operator, running, take
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from patience import PATIENCE_SECONDS
from table_builders import TABLES, double, header, nested, sized

from broker.amqp.bus import Bus
from broker.amqp.dead_letters import DeadLetter, DeadLetterQueue
from broker.amqp.frames import Outgoing, table
from broker.amqp.tables import entries
from ops.rabbitmq import Node

WRITTEN = {b"x-delivery-count", b"x-motivo", b"x-servicio", b"x-routing-key", b"x-hora"}
vhosts = count()
LARGE = pytest.mark.filterwarnings("ignore:Generating overly large repr")
# To shrink thirty tables through a broker takes minutes.
PHASES = [Phase.explicit, Phase.generate]
SLOW = [HealthCheck.too_slow]
JSON = b"\x10application/json"


def sent(headers: bytes, body: bytes = b"{") -> Outgoing:
    """A message straight into the queue of tokens, with the id `strange`."""
    flags = (1 << 15 | 1 << 13 | 1 << 12 | 1 << 7).to_bytes(2, "big")
    return Outgoing("", "tokens", flags + JSON + sized(b"", headers) + b"\2\7strange", body)


def left(headers: bytes) -> list[bytes]:
    """Without what the way to the dead letters writes, and in the order in which the broker hands them over: it counts
    the deliveries there, and sorts them for it."""
    return sorted(entry.raw for entry in entries(headers) if entry.name not in WRITTEN)


async def buried(bus: Bus, compras: Bus, tables: list[bytes]) -> None:
    """Send a message with each of these, and have them put with the dead letters."""
    assert compras._publisher is not None
    assert all(await compras._publisher.publish([sent(headers) for headers in tables], PATIENCE_SECONDS))
    batch = await take(bus, len(tables))
    assert [delivery.raw.table for delivery in batch] == tables
    await asyncio.wait_for(bus.settle(batch, {one: one.poison or "" for one in batch}), PATIENCE_SECONDS)


async def letters_of(desk: DeadLetterQueue) -> list[bytes]:
    """The tables of the letters of tokens, as they are delivered for the first time."""
    channel = await desk._channel()
    found = [raw.table async for raw in desk._letters(channel, "tokens")]
    await desk._give_back(channel, "tokens", len(found))
    return found


async def through(url: str, tables: list[bytes]) -> list[DeadLetter]:
    """There and back."""
    async with (
        operator(url) as admin,
        running(url, consume=True) as bus,
        running(url, "compras") as compras,
        DeadLetterQueue(url) as desk,
    ):
        await buried(bus, compras, tables)
        assert [left(headers) for headers in await letters_of(desk)] == [left(headers) for headers in tables]
        listed = await desk.list()
        await bus.stop_consuming()
        assert await desk.replay("tokens", "strange") == len(tables)
        assert await admin.count("tokens") == len(tables)
        await cast(Any, await admin.channel.get_queue("tokens", ensure=False)).purge()
        return listed


async def through_a_new_one(node: Node, tables: list[bytes]) -> None:
    name = f"fuzzed-{next(vhosts)}"
    await node.add_vhost(name)
    await through(node.url(name), tables)


@LARGE
@settings(max_examples=10, suppress_health_check=SLOW, phases=PHASES)
@given(st.lists(TABLES, min_size=30, max_size=30))
def test_a_table_travels_to_the_dead_letters_as_the_bytes_it_came_in(node: Node, tables: list[bytes]) -> None:
    asyncio.run(through_a_new_one(node, tables))


@pytest.mark.long
@LARGE
@settings(max_examples=200, suppress_health_check=SLOW, phases=PHASES)
@given(st.lists(TABLES, min_size=50, max_size=50))
def test_ten_thousand_tables_travel_as_the_bytes_they_came_in(node: Node, tables: list[bytes]) -> None:
    asyncio.run(through_a_new_one(node, tables))


async def test_what_cannot_be_written_again_has_its_reason_and_can_be_read(url: str) -> None:
    tables = [header(b"big", double(1e300)) + header(b"mio", b"I\0\0\0\7"), header(b"deep", nested(500)), b""]
    listed = await through(url, tables)
    assert [letter.queue for letter in listed] == ["tokens.muertos"] * 3
    assert all("unknown type 'tokens'" in letter.motivo for letter in listed)
    assert (listed[0].headers["big"], listed[0].headers["mio"]) == ("1e+300", 7)


async def test_a_stranger_cannot_write_the_reason(url: str) -> None:
    lies = table({"x-motivo": "all is well", "x-servicio": "usuarios", "mio": "1"})
    (letter,) = await through(url, [lies])
    assert "unknown type" in letter.motivo
    assert (letter.headers["x-servicio"], letter.headers["mio"]) == ("tokens", "1")


async def test_headers_that_fit_no_frame_beside_ours_are_left_out_and_counted(url: str) -> None:
    # A frame holds 128 KiB.
    large = header(b"small", b"V") + header(b"large", sized(b"S", b"y" * 130_900)) + header(b"last", b"V")
    async with running(url, consume=True) as bus, running(url, "compras") as compras, DeadLetterQueue(url) as desk:
        await buried(bus, compras, [large])
        (letter,) = await desk.list()
        assert {"small", "last"} <= letter.headers.keys()
        assert "large" not in letter.headers
        assert letter.headers["x-omitidas"] == "1"
