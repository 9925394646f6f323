"""What a message costs in a store by itself: one process that decides batches of a size, with no broker and no HTTP.

`python -m loadgen.bench.stores SERVICE COUNT`, with ZOCO_DATA or ZOCO_STORE, and in BENCH_POSTGRES the pid of the
database's first process. It prints one line of JSON: for each size of a batch the CPU of a message, by process, in µs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import count, islice
from typing import Final
from uuid import uuid4

from broker.messages import CompraMessage, Message
from broker.services import SERVICES, Service
from loadgen.bench.place import cpu_seconds
from loadgen.bench.sample import FIRST, NEXT, message, publicado, registrado
from ops.running import POSTGRES
from services.shared.clock import utc_now
from services.shared.http.app import open_store_of
from services.shared.metrics import Metrics
from services.shared.settings import read_settings
from services.shared.store import BatchStore

SIZES: Final = (300, 10, 1)
# Purchases that are on their way together: a batch of each size carries what a shop's would.
TOGETHER: Final = 60
USERS: Final = 100
# What a service is told of each purchase, in the order of its way.
HEARS: Final[Mapping[Service, Sequence[str]]] = {
    "compras": (FIRST, *NEXT.values()),
    "tokens": (FIRST, "saldo.reservado"),
    "usuarios": ("token.reservado",),
    "transacciones": ("compra.confirmada",),
}


def heard(service: Service) -> Iterator[Message]:
    """All that it hears of one purchase after another, no two of one token, without an end."""
    # No two runs on one book ask for the same.
    run = uuid4().hex[:8]
    numbers = count(int(run, 16))
    while True:
        together = list(islice(numbers, TOGETHER))
        for kind in HEARS[service]:
            for number in together:
                yield message(kind, f"{run}-{number}", number, number % USERS + 1).received(utc_now())


def entries(service: Service, messages: Sequence[Message]) -> Iterator[Message]:
    """What has to be there before it hears these."""
    if service == "tokens":
        yield from map(publicado, dict.fromkeys(one.token_id for one in messages if isinstance(one, CompraMessage)))
    if service == "usuarios":
        yield from (registrado(user, 10**9) for user in range(1, USERS + 1))


async def decided(store: BatchStore, messages: Sequence[Message], size: int) -> None:
    for at in range(0, len(messages), size):
        answers = await store.process_batch(messages[at : at + size])
        assert not any(answer.failure for answer in answers), answers
        store.told([word for answer in answers for word in answer.messages])


async def main(service: Service, each: int) -> None:
    """Decide so many messages with each size of a batch."""
    domain = import_module(f"services.{service}.domain").DOMAIN
    store = open_store_of(domain, read_settings(), Metrics(service), utc_now)
    database = os.environ.get("BENCH_POSTGRES")
    await store.open()
    await store.until_leading("http://127.0.0.1:1")
    tending = asyncio.create_task(store.tend())
    messages = heard(service)
    found: dict[int, dict[str, float]] = {}
    for size in SIZES:
        measured = list(islice(messages, each))
        await decided(store, list(entries(service, measured)), 300)
        before = time.process_time(), cpu_seconds(int(database)) if database else 0.0
        await decided(store, measured, size)
        after = time.process_time(), cpu_seconds(int(database)) if database else 0.0
        names = (service, POSTGRES) if database else (service,)
        found[size] = {name: (now - then) * 1e6 / each for name, now, then in zip(names, after, before, strict=False)}
    tending.cancel()
    await asyncio.gather(tending, return_exceptions=True)
    await store.close()
    print(json.dumps({"cpu": found}), flush=True)


if __name__ == "__main__":
    import structlog
    import uvloop

    # What a store has to say is no figure, and who reads the figures reads both outputs.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    name = next(one for one in SERVICES if one == sys.argv[1])
    uvloop.run(main(name, int(sys.argv[2])))
