"""The same purchase by others: the raw relay, and FastStream with a ledger or with SQLAlchemy and an outbox."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Final

from broker.services import SERVICES, Service
from loadgen.bench.place import BROKER, Place, Program, Sample, Served, Watch
from loadgen.bench.relay import FRONT
from loadgen.bench.sides import OPENAPI, Chain
from ops.i18n import Text
from ops.postgres import Database
from ops.running import POSTGRES

MISSING: Final = Text("FastStream is not installed: `make bench` does it")


def fast_stream_is_there() -> bool:
    return find_spec("faststream") is not None


class Relay:
    """The raw relay: four processes, fed by one of them."""

    def __init__(self, programs: Mapping[str, Program], pids: Mapping[str, int], count: int) -> None:
        self._programs = programs
        self._pids = pids
        self._count = count

    async def measure(self, count: int) -> Sample:
        """Purchases a second. `count` is what it was started with."""
        assert count == self._count
        watch = Watch(self._pids)
        self._programs[FRONT].process.send(signal.SIGUSR1)
        seconds: float = await self._programs[FRONT].says("seconds")
        return Sample(count / seconds, watch.per(count))


@asynccontextmanager
async def relay(place: Place, count: int, how: str) -> AsyncIterator[Relay]:
    """Start one, `public` or `batched`."""
    env = {"ZOCO_RABBITMQ_URL": await place.url(f"relay-{how}")}
    programs: dict[str, Program] = {}
    try:
        for name in SERVICES:
            programs[name] = Program("loadgen.bench.relay", (name, str(count), how), env)
        for program in programs.values():
            await program.says("ready")
        pids = {BROKER: place.broker_pid, **{name: program.process.pid for name, program in programs.items()}}
        yield Relay(programs, pids, count)
    finally:
        for program in programs.values():
            await program.stop()


@asynccontextmanager
async def fast_stream(place: Place, tokens: int, database: Database | None = None) -> AsyncIterator[Chain]:
    """Start one with so many tokens for sale; with a database: SQLAlchemy and an outbox."""
    name = "fast-stream" if database is None else "outbox"
    shared = {"ZOCO_RABBITMQ_URL": await place.url(name), "BENCH_TOKENS": str(tokens)}
    async with AsyncExitStack() as stack:

        async def started(service: Service) -> Served:
            env = {**shared, "ZOCO_DATA": str(place.folder / name / service)}
            if database is not None:
                env["BENCH_STORE"] = database.url(service).replace("postgresql:", "postgresql+asyncpg:", 1)
            words = ("--factory", f"loadgen.bench.fast_stream_apps:{service}")
            return await stack.enter_async_context(place.served(f"{name}-{service}", words, env, OPENAPI))

        services = dict(zip(SERVICES, await asyncio.gather(*map(started, SERVICES)), strict=True))
        pids: dict[str, int] = {name: served.process.pid for name, served in services.items()}
        pids[BROKER] = place.broker_pid
        if database is not None:
            assert database.pid is not None
            pids[POSTGRES] = database.pid

        async def ended() -> int:
            return int(await place.get(f"{services[FRONT].url}/ended"))

        yield Chain(services[FRONT].url, pids, ended)
