"""All of Zoco on this machine: starts it, watches it, starts again what dies, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import aiohttp

from broker.lines import Lines, plain
from broker.services import SERVICES, Service
from ops.child import USUAL, Child, Processes, Supervisor
from ops.console import Speaker
from ops.folder import Kind, hold, keep_kind
from ops.places import Place, by_service, places
from ops.postgres import Database
from ops.postgres_pair import Pair, Postgres, database_of
from ops.process import free_port
from ops.rabbitmq import Node
from ops.restarts import FIRST_PAUSE_SECONDS, until_done
from ops.running import BROKER, ENGINES, POLL_SECONDS, POSTGRES, STANDBY, STATE, Keys, LocalError, Running, service_of
from ops.watching import Engine, Watchers, watch_engine
from ops.welcome import welcome
from ops.wiring import Wiring

AMQP_PORT: Final = 5672
MANAGEMENT_PORT: Final = 15672
METRICS_PORT: Final = 15692
POSTGRES_PORT: Final = 5432
COLOURS: Final = {"compras": 36, "usuarios": 33, "tokens": 35, "transacciones": 32, **dict.fromkeys(ENGINES, 34)}

TITLES: Final = {BROKER: "RabbitMQ", POSTGRES: "PostgreSQL", STANDBY: "PostgreSQL's standby"}

# Together under 10: how long a service may take, how long the broker waits for them, and how long it may take then.
STOP_SECONDS: Final = 6.0
SERVICES_FIRST_SECONDS: Final = 1.5
BROKER_STOP_SECONDS: Final = 7.5
# The database is there until the last of them has ended, and has nothing to wait for then.
DATABASE_STOP_SECONDS: Final = 2.5
READY_SECONDS: Final = 180.0
# A process has three to its database, those of one that was killed may still be there, and others look into it.
CONNECTIONS_OF_A_PROCESS: Final = 6
CONNECTIONS_OF_OTHERS: Final = 20


class Local:
    """One `zoco up`. `run` until SIGINT, SIGTERM, or its terminal closes."""

    def __init__(
        self,
        data: Path,
        first_port: int,
        *,
        broker_url: str | None = None,
        token: str | None = None,
        replicas: Mapping[Service, int] | None = None,
        postgres: Postgres | None = None,
        processes: Processes = USUAL,
    ) -> None:
        self.data = data.resolve()
        self._console = Speaker(stderr=True)
        self._stop = asyncio.Event()
        # Something runs as another process than was written down.
        self._changed = asyncio.Event()
        self._node: Node | None = None
        self._database: Database | Pair | None = None
        self._engines: dict[str, Engine] = {}
        self._postgres = postgres
        self._broker_url, self.token = broker_url, token or ""
        self._replicas: Mapping[Service, int] = replicas or {}
        self._kind: Kind = "postgresql" if postgres else "files"
        self._lock: IO[str] | None = None
        self._keys = Keys("", "")
        self._first_port = first_port
        self._children: list[Child] = []
        self._supervisor = Supervisor(self.data, processes, self._print, self._changed.set, self._mended_broker)

    async def run(self) -> None:
        """Raises LocalError, NodeError, DatabaseError, OSError. What is said meanwhile waits for no reader."""
        stderr = sys.stderr
        sys.stderr = lines = Lines(stderr)
        try:
            await self._run()
        finally:
            await asyncio.to_thread(lines.drain, 1)
            sys.stderr = stderr

    async def _run(self) -> None:
        self._lock = hold(self.data, self._kind)
        loop = asyncio.get_running_loop()
        # Its terminal closes: who started it by nohup wants it to go on.
        closes = (signal.SIGHUP,) if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL else ()
        for number in (signal.SIGINT, signal.SIGTERM, *closes):
            loop.add_signal_handler(number, self._stop.set)
        watchers = Watchers(self._stop)
        try:
            await unless(self._stop, self._start(watchers))
            if not self._stop.is_set():
                welcome(Running.read(self.data), self._console)
                await self._stop.wait()
        finally:
            watchers.cancel()
            await self._end()
        watchers.check()

    async def _start(self, watchers: Watchers) -> None:
        keys = Keys.of(self.data)
        self._keys = Keys(self.token or keys.operator, keys.books)
        there = places(self._first_port, self._replicas)
        await self._start_database(len(there))
        for name in self._engines:
            watchers.add(self._watch_engine(name))
        self._make_broker()
        self._start_services(there)
        if self._node is not None:
            # The services wait for it, as they do for any broker: both take seconds to start.
            await self._node.start()
            self._engines[BROKER] = self._node
            watchers.add(self._watch_engine(BROKER))
        self._write_state()
        watchers.add(self._keep_state())
        for child in self._children:
            watchers.add(child.watch())
        await until_ready(there, self._say)
        for child in self._children:
            watchers.add(child.keep_spare())

    async def _start_database(self, processes: int) -> None:
        """Before the services, which end when it has no role for them."""
        if self._postgres:
            self._say("starting PostgreSQL ...")
            connections = CONNECTIONS_OF_OTHERS + CONNECTIONS_OF_A_PROCESS * processes
            port = free_port(POSTGRES_PORT if self._first_port else 0)
            self._database = database_of(self._postgres, self.data / POSTGRES, port, connections)
            self._engines[POSTGRES] = self._database
            if isinstance(self._database, Pair):
                self._engines[STANDBY] = self._database.standby
            for engine in self._engines.values():
                await engine.start()
        keep_kind(self.data, self._kind)

    def _make_broker(self) -> None:
        if self._broker_url is None:
            self._say("starting RabbitMQ and the services ...")
            ports = (AMQP_PORT, MANAGEMENT_PORT, METRICS_PORT)
            self._node = Node(self.data / BROKER, *(free_port(port if self._first_port else 0) for port in ports))
            self._broker_url = self._node.url()

    def _start_services(self, there: list[Place]) -> None:
        assert self._broker_url is not None
        management = self._node.management_url if self._node else None
        wiring = Wiring(self.data, self._broker_url, management, self._keys, by_service(there), self._stores)
        for place in there:
            alone = self._replicas.get(place.service, 1) == 1
            self._children.append(Child(place, wiring.of(place), self._supervisor, alone=alone))
            self._children[-1].start()

    @property
    def _stores(self) -> dict[Service, str]:
        return {name: self._database.url(name) for name in SERVICES} if self._database else {}

    async def _mended_broker(self) -> bool:
        """Whether it was our own broker's fault: somebody changed its user. Raises NodeError, OSError."""
        mended = self._node is not None and self._node.pid is not None and await self._node.mend_user()
        if mended:
            self._say("RabbitMQ refused our user, and lets it in again")
        return mended

    def _watch_engine(self, name: str) -> Awaitable[None]:
        return watch_engine(name, TITLES[name], self._engines[name], self.data, self._say, self._changed.set)

    async def _keep_state(self) -> None:
        """Write down who runs. Nobody is watched less while the disk is full."""

        async def write() -> None:
            self._changed.clear()
            self._write_state()

        while await self._changed.wait():
            await until_done(f"{STATE} is not written", write, self._say, FIRST_PAUSE_SECONDS)

    async def _end(self) -> None:
        self._say("stopping ...")
        stopping = [asyncio.create_task(child.stop(STOP_SECONDS)) for child in self._children]
        if stopping:
            # The broker takes 6 s to end, and all of it should be over in 10: it does not wait for a slow buyer.
            await asyncio.wait(stopping, timeout=SERVICES_FIRST_SECONDS)
        if self._node is not None:
            stopping.append(asyncio.create_task(self._node.stop(BROKER_STOP_SECONDS)))
        await asyncio.gather(*stopping)
        if self._database is not None:
            await self._database.stop(DATABASE_STOP_SECONDS)
        for child in self._children:
            await child.drain()
        (self.data / STATE).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
        self._say("stopped; what was bought is in " + str(self.data))

    def _write_state(self) -> None:
        node, database = self._node, self._database
        pids = {child.place.label: child.process.pid for child in self._children if child.process}
        pids |= {name: engine.pid for name, engine in self._engines.items() if engine.pid is not None}
        state = {
            "pid": os.getpid(),
            "places": {child.place.label: child.place.url for child in self._children},
            "pids": pids,
            "broker_url": self._broker_url,
            "management_url": node.management_url if node else None,
            "management_user": node.user if node else None,
            "management_password": node.password if node else None,
            "broker_metrics_url": node.metrics_url if node else None,
            "operator_token": self._keys.operator,
            "books_token": self._keys.books,
            "stores": self._stores,
            "database_url": database.url() if database else None,
        }
        new = self.data / f".{STATE}"
        new.touch(mode=0o600)
        new.write_text(json.dumps(state, indent=1), encoding="utf-8")
        new.replace(self.data / STATE)

    def _say(self, text: str) -> None:
        self._print("zoco", text)

    def _print(self, name: str, text: str) -> None:
        colour = COLOURS.get(service_of(name))
        prefix = f"{name:<15}"
        if colour and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        sys.stderr.write(f"{prefix} {plain(text)}\n")


async def unless(stopped: asyncio.Event, work: Awaitable[None]) -> None:
    """Do this, unless we are told to stop first. Raises what it raises."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopped.wait())
    await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        task.result()
    else:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_ready(there: Sequence[Place], note: Callable[[str], None]) -> None:
    """Return once each of them is. Raises LocalError."""
    waiting = list(there)
    deadline = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
        while waiting:
            for place in list(waiting):
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    async with http.get(f"{place.url}/readyz") as answer:
                        if answer.status == 200:
                            waiting.remove(place)
                            note(f"{place.label} is ready")
            if time.monotonic() > deadline:
                says = "{names} not ready after {seconds:.0f} s: the lines above say why"
                raise LocalError(says, ", ".join(place.label for place in waiting), READY_SECONDS)
            await asyncio.sleep(POLL_SECONDS)
