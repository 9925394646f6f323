"""`zoco up 2>&1 | head`: the shop goes on without the lines."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import pytest
from fault_builders import told_and_audited
from patience import END_SECONDS, PATIENCE_SECONDS, wait_until
from shop_builders import ZOCO, Shop, started

from ops.rabbitmq import Node


@pytest.mark.parametrize("reader", ["stops", pytest.param("goes away", marks=pytest.mark.long)])
async def test_a_shop_whose_lines_nobody_reads_sells_on(
    node: Node, broker_url: str, tmp_path: Path, numbers: Iterator[int], reader: str
) -> None:
    here, there = os.pipe()
    words = [str(ZOCO), "up", "--data", str(tmp_path / "data"), "--port", "0"]
    env = {**os.environ, "ZOCO_RABBITMQ_URL": broker_url, "ZOCO_NUDGE_SECONDS": "1"}
    process = subprocess.Popen(words, stdout=there, stderr=there, env=env)
    os.close(there)
    shop = Shop(tmp_path / "data", process, tmp_path / "nothing.log")
    started.append(shop)
    said = b""

    def is_up() -> bool:
        nonlocal said
        said += os.read(here, 65536)
        return b"Ctrl-C stops it all" in said

    wait_until(is_up, "it does not come up")
    if reader == "goes away":
        os.close(here)
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        # A line for each, of every service: several times what a pipe holds.
        for name in ("compras", "tokens", "usuarios", "transacciones"):
            for n in range(500):
                message = aio_pika.Message(b"{", message_id=f"{n}" * 20, type="nothing")
                await channel.default_exchange.publish(message, routing_key=name)
        for name in ("compras", "tokens", "usuarios", "transacciones"):
            letters = f"{name}.muertos"
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await channel.declare_queue(letters, passive=True)).declaration_result.message_count != 500:
                    await asyncio.sleep(0.1)
            await (await channel.get_queue(letters)).purge()
    await told_and_audited(shop, next(numbers))
    process.terminate()
    if reader == "stops":
        rest = b""
        while more := os.read(here, 65536):
            rest += more
        assert b"stopping" in rest
        os.close(here)
    assert process.wait(END_SECONDS) == 0
