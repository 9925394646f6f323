"""The raw relay: a purchase's messages moved between four processes that decide nothing and write nothing.

`python -m loadgen.bench.relay SERVICE COUNT public|batched`, with the broker in ZOCO_RABBITMQ_URL. At each SIGUSR1
compras sends so many purchases, without HTTP, and prints in how many seconds all were registered.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Final

import uvloop

from broker.services import SERVICES, Service
from loadgen.bench.sample import FIRST, LAST, answers, message, outgoing
from loadgen.bench.wire import Wire, opened
from services.shared.processor import BATCH_LIMIT

FRONT: Final = "compras"


def say(**what: float | str) -> None:
    """One line of JSON for who started us."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def relay(url: str, service: Service, count: int, *, batched: bool) -> None:
    """Until it is killed."""
    wire = await opened(url, service, batched=batched)
    if service == FRONT:
        await _front(url, wire, count)
    ready = answers(service)
    say(ready=service)
    while True:
        batch = await wire.receive()
        said = [ready[got.routing_key] for got in batch if got.routing_key in ready]
        if said:
            await wire.publish(said)
        await wire.ack(batch[-1].tag)


async def _front(url: str, wire: Wire, count: int) -> None:
    go = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, go.set)
    first = outgoing(message(FIRST))
    say(ready=FRONT)
    while True:
        await go.wait()
        go.clear()
        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_hear(wire, count))
            for at in range(0, count, BATCH_LIMIT):
                await wire.publish([first] * min(BATCH_LIMIT, count - at))
        say(seconds=time.perf_counter() - started)


async def _hear(wire: Wire, count: int) -> None:
    """Return when so many are registered."""
    while count > 0:
        batch = await wire.receive()
        await wire.ack(batch[-1].tag)
        count -= sum(got.routing_key == LAST for got in batch)


def main() -> None:
    _, service, count, how = sys.argv
    assert service in SERVICES
    url = os.environ["ZOCO_RABBITMQ_URL"]
    uvloop.run(relay(url, service, int(count), batched=how == "batched"))


if __name__ == "__main__":
    main()
