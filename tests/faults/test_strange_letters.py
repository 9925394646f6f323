"""Dead letters with whatever a stranger can write: `zoco dead-letters` shows them, and no terminal obeys them."""

from __future__ import annotations

import json
import subprocess

from fault_builders import told_and_audited
from patience import eventually
from shop_builders import ZOCO, Shop
from table_builders import double, header, nested, sized

from broker.amqp.calls import number_and_frame_max
from broker.amqp.connect import Address, connect
from broker.amqp.envelope import properties
from broker.amqp.frames import Outgoing, Publisher
from broker.amqp.tap import FrameTap

# A red word, a link and an unknown tag to Rich, a direction mark, and a C1 control that some terminals obey.
IDS = ["\x1b[31mred", "[link=https://evil.example]x[/link]", "[/nope]", "\u202eidden", "\x9b31m"]
TABLES = [
    header(b"big", double(1e300)),
    header(b"deep", nested(500)),
    header(b"\xff\x1b[2J", sized(b"S", b"\x1b[31m")),
    header(b"year", b"T" + b"\xff" * 8),
    b"",
]


def letters(shop: Shop, *words: str) -> str:
    done = subprocess.run(
        [str(ZOCO), "dead-letters", *words, "--data", str(shop.data)], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace("\n", "").isprintable(), repr(done.stdout)
    return done.stdout


async def test_strange_letters_are_listed_shown_given_again_and_thrown_away(shop: Shop) -> None:
    url = shop.running.broker_url
    line = FrameTap()
    connection = await connect(Address.read(url), "a-stranger", line=line)
    publisher = Publisher(line, *await number_and_frame_max(await connection.channel()))
    strange = [
        Outgoing(
            "",
            "transacciones.muertos",
            properties(headers, subject="", message_id=name, type_name=name[:5], app_id="", timestamp=1),
            b"\x1b[31m{",
        )
        for name, headers in zip(IDS, TABLES, strict=True)
    ]
    assert await publisher.publish(strange, 5) == [True] * len(strange)
    listed = json.loads(letters(shop, "list", "--json"))
    assert [letter["id"] for letter in listed] == IDS
    assert "[/nope]" in letters(shop, "list")
    assert json.loads(letters(shop, "show", "\\u001b[31mred"))["headers"]["big"] == "1e+300"
    assert "gave 5" in letters(shop, "replay", "transacciones")

    async def waiting() -> bool:
        channel = await connection.channel()
        queue = await channel.declare_queue("transacciones.muertos", passive=True)
        return queue.declaration_result.message_count == len(IDS)

    # The service puts them there again, with a reason.
    await eventually(waiting, "they do not come back")
    again = json.loads(letters(shop, "list", "--json"))
    assert [letter["id"] for letter in again] == IDS
    assert all("unknown type" in letter["motivo"] for letter in again)
    for shown in ("\\u001b[31mred", IDS[1], "[/nope]", "\\u202eidden", "\\u009b31m"):
        assert "discarded 1" in letters(shop, "discard", "transacciones", shown)
    await connection.close()
    await told_and_audited(shop, 990_000)
