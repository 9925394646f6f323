"""The raw drain: consume, append a line, one fsync per batch, publish an answer for each, ack. Nothing is decided.

`python -m loadgen.bench.drain COUNT FILE public|batched`, with the broker in ZOCO_RABBITMQ_URL. It drains that many
messages from transacciones' queue and prints how many in a second.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import uvloop

from loadgen.bench.ledger import Ledger
from loadgen.bench.relay import say
from loadgen.bench.sample import LAST, message, outgoing
from loadgen.bench.wire import opened

QUEUE = "transacciones"


async def drain(url: str, count: int, file: Path, *, batched: bool) -> None:
    """Raises OSError."""
    ledger = Ledger(file)
    answer = outgoing(message(LAST))
    wire = await opened(url, QUEUE, batched=batched)
    drained, started = 0, 0.0
    while drained < count:
        batch = await wire.receive()
        started = started or time.perf_counter()
        await ledger.append(b"".join([got.body + b"\n" for got in batch]))
        await wire.publish([answer] * len(batch))
        await wire.ack(batch[-1].tag)
        drained += len(batch)
    say(rate=drained / (time.perf_counter() - started))


def main() -> None:
    _, count, file, how = sys.argv
    uvloop.run(drain(os.environ["ZOCO_RABBITMQ_URL"], int(count), Path(file), batched=how == "batched"))


if __name__ == "__main__":
    main()
