"""All of Zoco on this machine: starts it, watches it, starts again what dies, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import aiohttp

from broker.lines import Lines, plain
from broker.services import SERVICES
from ops.console import Speaker
from ops.process import Process, free_port, is_free, make_private
from ops.rabbitmq import Node, NodeError
from ops.running import BROKER, HOLDS, LOCK, POLL_SECONDS, REPLICA_SECRET, STATE, Keys, LocalError, Running
from ops.secret import secret
from ops.welcome import welcome

# The front door first: the others are seldom called by hand.
PORTS: Final = {"compras": 0, "usuarios": 1, "tokens": 2, "transacciones": 3}
AMQP_PORT: Final = 5672
MANAGEMENT_PORT: Final = 15672
METRICS_PORT: Final = 15692
COLOURS: Final = {"compras": 36, "usuarios": 33, "tokens": 35, "transacciones": 32, BROKER: 34}

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0
# A service that lived so long had no trouble with its start.
HEALTHY_SECONDS: Final = 30.0
# It did not end by itself: whoever does this often wants to see it come back as often.
KILLED: Final = -signal.SIGKILL
# sysexits.h: it will not start until somebody mends something.
EX_CONFIG: Final = 78
# Together under 10: how long a service may take, how long the broker waits for them, and how long it may take then.
STOP_SECONDS: Final = 6.0
SERVICES_FIRST_SECONDS: Final = 1.5
BROKER_STOP_SECONDS: Final = 7.5
READY_SECONDS: Final = 180.0
# A service that was just started has the machine for itself for so long; then its next process gets ready.
SPARE_SECONDS: Final = 2.0
CODE: Final = (Path(__file__).parents[1] / "services", Path(__file__).parents[1] / "broker")


# How uvicorn runs a service. The bench runs what it compares with in the same way, but for the guard.
SERVER_OPTIONS: Final = (
    *("--no-access-log", "--no-proxy-headers", "--log-level", "warning"),
    *("--timeout-graceful-shutdown", "5"),
)
# Our protocol, and no websockets.
GUARDED: Final = ("--http", "services.shared.http.guard:GuardedProtocol", "--ws", "none")


@dataclass(slots=True)
class Child:
    """One service: how it is started, and how it has been."""

    name: str
    env: dict[str, str]
    port: int
    process: Process | None = None
    started: float = 0.0
    pause_seconds: float = FIRST_PAUSE_SECONDS
    # The next one: it has imported everything, and waits.
    spare: Process | None = None
    spared: float = 0.0


class Local:
    """One `zoco up`. `run` until SIGINT or SIGTERM."""

    def __init__(
        self,
        data: Path,
        first_port: int,
        *,
        broker_url: str | None = None,
        token: str | None = None,
        program: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """`program` says what else Python runs for a service: the drill's negative controls run another."""
        self.data = data.resolve()
        self._program = program
        self._console = Speaker(stderr=True)
        self._stop = asyncio.Event()
        self._node: Node | None = None
        self._broker_url, self.token = broker_url, token or ""
        self._lock: IO[str] | None = None
        self._keys = Keys("", "")
        self._first_port = first_port
        self._children: dict[str, Child] = {}
        self._logs: list[threading.Thread] = []

    async def run(self) -> None:
        """Raises LocalError, NodeError. What is said meanwhile waits for no reader."""
        stderr = sys.stderr
        sys.stderr = lines = Lines(stderr)
        try:
            await self._run()
        finally:
            await asyncio.to_thread(lines.drain, 1)
            sys.stderr = stderr

    async def _run(self) -> None:
        self._hold_folder()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        watchers: list[asyncio.Task[None]] = []
        try:
            await self._until_stopped(self._start(watchers))
            if not self._stop.is_set():
                welcome(Running.read(self.data), self._console)
                await self._stop.wait()
        finally:
            for watcher in watchers:
                watcher.cancel()
            await self._end()

    async def _until_stopped(self, work: Any) -> None:
        """Do this, unless we are told to stop first. Raises what it raises."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            task.result()
        else:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _hold_folder(self) -> None:
        try:
            make_private(self.data)
            lock = (self.data / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            says = "cannot write in {data} ({error}): take another folder with --data"
            raise LocalError(says, self.data, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            says = "{data} is in use by `zoco up` (pid {holder}): stop that one, or take another folder with --data"
            raise LocalError(says, self.data, holder) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        for hold in (self.data / HOLDS).glob("*"):
            hold.unlink()

    def _ports(self) -> dict[str, int]:
        """Where the services listen. Raises LocalError when somebody else does: never move quietly, 8000 is written
        in too many places."""
        if not self._first_port:
            return {name: free_port() for name in PORTS}
        ports = {name: self._first_port + offset for name, offset in PORTS.items()}
        for name, port in ports.items():
            if not is_free(port):
                says = "port {port} ({name}) is taken: stop what listens there, or choose others with --port (0: any)"
                raise LocalError(says, port, name)
        return ports

    async def _start(self, watchers: list[asyncio.Task[None]]) -> None:
        keys = Keys.of(self.data)
        self._keys = Keys(self.token or keys.operator, keys.books)
        ports = self._ports()
        if self._broker_url is None:
            self._say("starting RabbitMQ and the services ...")
            ports_of_broker = (AMQP_PORT, MANAGEMENT_PORT, METRICS_PORT)
            self._node = Node(
                self.data / BROKER, *(free_port(port if self._first_port else 0) for port in ports_of_broker)
            )
            self._broker_url = self._node.url()
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        for name in PORTS:
            self._children[name] = Child(name, self._environment(name, urls), ports[name])
            self._launch(self._children[name])
        if self._node is not None:
            # The services wait for it, as they do for any broker: both take seconds to start.
            await self._node.start()
            watchers.append(asyncio.create_task(self._watch_broker(self._node)))
        self._write_state()
        watchers += [asyncio.create_task(self._watch(child)) for child in self._children.values()]
        await self._until_ready(urls)
        watchers += [asyncio.create_task(self._keep_spare(child)) for child in self._children.values()]

    def _environment(self, name: str, urls: Mapping[str, str]) -> dict[str, str]:
        # Settings for `zoco` itself are none for a service.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("ZOCO_")}
        tuning = {key: os.environ[key] for name in TUNING if (key := f"ZOCO_{name}") in os.environ}
        others = {f"ZOCO_{other.upper()}_URL": url for other, url in urls.items()}
        assert self._broker_url is not None
        return {
            **inherited,
            **tuning,
            **others,
            "ZOCO_RABBITMQ_URL": self._broker_url,
            "ZOCO_DATA": str(self.data / name),
            "ZOCO_PUBLIC_URL": urls[name],
            "ZOCO_BOOKS_TOKEN": self._keys.books,
            "ZOCO_LOG": "console",
            **(self._front_door() if name == "compras" else {}),
        }

    def _front_door(self) -> dict[str, str]:
        """By what its replicas know each other, what the page shows of this machine, and may do to it."""
        own = {
            "ZOCO_OPERATOR_TOKEN": self._keys.operator,
            "ZOCO_KNOCK_DOWN": f"local:{self.data}",
            "ZOCO_REPLICA_SECRET": secret(self.data / REPLICA_SECRET),
        }
        return own | ({"ZOCO_MANAGEMENT_URL": self._node.management_url} if self._node else {})

    def _launch(self, child: Child) -> None:
        spare, child.spare = child.spare, None
        if spare is not None and (spare.code is not None or _edited_since(child.spared)):
            spare.kill()
            spare = None
        child.process = spare or self._process(child)
        if self._program is None:
            child.process.go()
        child.started = time.monotonic()

    def _process(self, child: Child) -> Process:
        """A new process of a service. It waits for its turn, unless it is another program."""
        app = f"services.{child.name}.main:app"
        program = ("-m", "ops.warm_standby", app) if self._program is None else self._program(child.name)
        command = [
            sys.executable,
            *program,
            "--host",
            "127.0.0.1",
            "--port",
            str(child.port),
            *SERVER_OPTIONS,
            *GUARDED,
        ]
        process = Process(command, child.env, subprocess.PIPE, waits=self._program is None)
        log = threading.Thread(target=self._relay, args=(child.name, process), daemon=True)
        log.start()
        self._logs = [*(one for one in self._logs if one.is_alive()), log]
        return process

    async def _keep_spare(self, child: Child) -> None:
        """Have the next process of a service ready, once the last one is at work."""
        while self._program is None:
            if child.spare is None and time.monotonic() - child.started > SPARE_SECONDS:
                child.spared = time.time()
                child.spare = self._process(child)
            await asyncio.sleep(SPARE_SECONDS / 4)

    def _relay(self, name: str, process: Process) -> None:
        assert process.output is not None
        for line in process.output:
            self._print(name, line.decode(errors="replace").rstrip())

    async def _watch(self, child: Child) -> None:
        """Start a service again whenever it ends, after a pause that grows while it keeps ending."""
        while True:
            assert child.process is not None
            code = await child.process.wait()
            if time.monotonic() - child.started > HEALTHY_SECONDS or code == KILLED:
                child.pause_seconds = FIRST_PAUSE_SECONDS
            if code == EX_CONFIG and await self._mended_broker():
                self._say("RabbitMQ refused our user, and lets it in again")
                code = KILLED
            pause = LONGEST_PAUSE_SECONDS if code == EX_CONFIG else child.pause_seconds
            child.pause_seconds = min(2 * child.pause_seconds, LONGEST_PAUSE_SECONDS)
            self._say(f"{child.name} {_ended(code)}; it is started again in {pause:.1f} s")
            await asyncio.sleep(pause)
            await self._held(child.name)
            self._launch(child)
            self._write_state()

    async def _mended_broker(self) -> bool:
        """Whether it was our own broker's fault: somebody changed its user."""
        return self._node is not None and self._node.pid is not None and await self._node.mend_user()

    async def _watch_broker(self, node: Node) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            code = await node.wait()
            if time.monotonic() - started > HEALTHY_SECONDS or code == KILLED:
                pause = FIRST_PAUSE_SECONDS
            self._say(f"RabbitMQ {_ended(code)}; it is started again in {pause:.1f} s")
            await asyncio.sleep(pause)
            await self._held(BROKER)
            while node.pid is None:
                try:
                    await node.start()
                except NodeError as error:
                    # Killed while it starts, it may start well the next time.
                    self._say(f"RabbitMQ does not start: {error}")
                    await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            self._write_state()
            self._say("RabbitMQ is back")

    async def _held(self, name: str) -> None:
        """Wait as long as `zoco kill --for` wants it down."""
        hold = self.data / HOLDS / name
        with contextlib.suppress(OSError, ValueError):
            while time.time() < float(hold.read_text(encoding="utf-8")):  # noqa: ASYNC110 - the file may change
                await asyncio.sleep(POLL_SECONDS)
            hold.unlink()

    async def _until_ready(self, urls: Mapping[str, str]) -> None:
        waiting = list(SERVICES)
        deadline = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            while waiting:
                for name in list(waiting):
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                        async with http.get(f"{urls[name]}/readyz") as answer:
                            if answer.status == 200:
                                waiting.remove(name)
                                self._say(f"{name} is ready")
                if time.monotonic() > deadline:
                    says = "{names} not ready after {seconds:.0f} s: the lines above say why"
                    raise LocalError(says, ", ".join(waiting), READY_SECONDS)
                await asyncio.sleep(POLL_SECONDS)

    async def _end(self) -> None:
        self._say("stopping ...")
        for child in self._children.values():
            if child.spare is not None:
                child.spare.kill()
        processes = [child.process for child in self._children.values() if child.process is not None]
        stopping = [asyncio.create_task(process.stop(STOP_SECONDS)) for process in processes]
        if stopping:
            # The broker takes 6 s to end, and all of it should be over in 10: it does not wait for a slow buyer.
            await asyncio.wait(stopping, timeout=SERVICES_FIRST_SECONDS)
        if self._node is not None:
            await self._node.stop(BROKER_STOP_SECONDS)
        await asyncio.gather(*stopping)
        for log in self._logs:
            await asyncio.to_thread(log.join, 1)
        (self.data / STATE).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
        self._say("stopped; what was bought is in " + str(self.data))

    def _write_state(self) -> None:
        node = self._node
        pids = {name: child.process.pid for name, child in self._children.items() if child.process}
        if node is not None and node.pid is not None:
            pids[BROKER] = node.pid
        state = {
            "pid": os.getpid(),
            "urls": {name: f"http://127.0.0.1:{child.port}" for name, child in self._children.items()},
            "pids": pids,
            "broker_url": self._broker_url,
            "management_url": node.management_url if node else None,
            "management_user": node.user if node else None,
            "management_password": node.password if node else None,
            "broker_metrics_url": node.metrics_url if node else None,
            "operator_token": self._keys.operator,
            "books_token": self._keys.books,
        }
        new = self.data / f".{STATE}"
        new.touch(mode=0o600)
        new.write_text(json.dumps(state, indent=1), encoding="utf-8")
        new.replace(self.data / STATE)

    def _say(self, text: str) -> None:
        self._print("zoco", text)

    def _print(self, name: str, text: str) -> None:
        colour = COLOURS.get(name)
        prefix = f"{name:<13}"
        if colour and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        sys.stderr.write(f"{prefix} {plain(text)}\n")


# What may be tuned from outside for all services of one `zoco up`.
TUNING: Final = ("BACKLOG_LIMIT", "NUDGE_SECONDS", "PREFETCH", "BATCH", "SNAPSHOT_BYTES", "DISK_RESERVE")


def _edited_since(moment: float) -> bool:
    """Whether the code is newer than a process that was started then: whoever edits it wants to see it run."""
    files = (file for folder in CODE for file in folder.rglob("*.py"))
    return any(file.stat().st_mtime > moment for file in files)


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
