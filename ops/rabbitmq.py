"""A private RabbitMQ on this machine, for `zoco up` and for the tests: no root, no Docker, nothing in /etc.

Everything it opens is bound to 127.0.0.1, all it writes lies in one folder, and it ends with the process that
started it. Tried on Debian with RabbitMQ 3.10; the Homebrew paths are untested.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from typing_extensions import override

from ops.errors import UserError
from ops.process import POLL_SECONDS, Process, free_port, is_ours, make_private
from ops.rabbitmq_user import lets_in, make_user, put
from ops.secret import new_cookie, secret
from ops.server import Server

HOMES: Final = (
    "/usr/lib/rabbitmq/bin",  # Debian, Ubuntu. Not /usr/sbin: that wrapper changes the user.
    "/opt/homebrew/opt/rabbitmq/sbin",  # Homebrew on Apple silicon
    "/usr/local/opt/rabbitmq/sbin",  # Homebrew on Intel
    "/usr/local/lib/rabbitmq/sbin",
    "/opt/rabbitmq/sbin",  # the official image
)
USER: Final = "zoco"
PLUGINS: Final = "[rabbitmq_management,rabbitmq_prometheus]."
# A quorum queue's log in memory and on disk; RabbitMQ's own 512 MiB is meant for a server.
WAL_BYTES: Final = 64 * 1024 * 1024
CONSOLE_LINES: Final = 15
# It takes 5 s, and 30 to 40 beside four busy loops on two cores. One that died is not waited for.
START_SECONDS: Final = 180.0
# Half of the cores: those who use it need the others, and on two cores a second scheduler cost a fifth more CPU.
SCHEDULERS: Final = max(1, (os.cpu_count() or 2) // 2)
# The first keeps the distribution from listening on all interfaces, those of +sbwt from spinning while idle.
ERL_ARGS: Final = (
    "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none "
    f"+S {SCHEDULERS}:{SCHEDULERS}"
)


class NodeError(UserError):
    """The node does not run. Its text says why and what to do."""


def find_rabbitmq() -> Path:
    """The program that starts an installed RabbitMQ. Raises NodeError with what to install."""
    for home in HOMES:
        server = Path(home, "rabbitmq-server")
        if server.exists() and os.access(server, os.X_OK):
            return server
    raise NodeError(
        "RabbitMQ is not installed: run `apt-get install rabbitmq-server` (Debian, Ubuntu) or `brew install rabbitmq`"
        " (macOS), or set ZOCO_RABBITMQ_URL to a running one."
    )


def find_epmd(server: Path) -> Path:
    """Erlang's port mapper, which RabbitMQ cannot do without. Raises NodeError."""
    # Homebrew's folder of programs may be missing in the PATH of a service; Erlang is linked there.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin", "/opt/homebrew/bin", "/usr/local/bin"])
    found = shutil.which("epmd", path=path)
    if found is None:
        raise NodeError("{server} needs Erlang's `epmd`, which is not in the PATH: install Erlang.", server)
    return Path(found)


class Node(Server):
    """One RabbitMQ. Ports keep their number when it is started again; 0 is any free port."""

    title = "RabbitMQ"
    error = NodeError

    def __init__(self, folder: Path, amqp_port: int = 0, management_port: int = 0, prometheus_port: int = 0) -> None:
        super().__init__(folder)
        self.amqp_port = amqp_port or free_port()
        self.management_port = management_port or free_port()
        self.prometheus_port = prometheus_port or free_port()
        self.user = USER
        self._distribution_port = free_port()
        self._epmd_port = free_port()
        self._epmd: Process | None = None

    @property
    def password(self) -> str:
        """Random, made on first use, and the same as long as the folder exists."""
        return secret(self.folder / "password")

    @property
    def management_url(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus reads them."""
        return f"http://127.0.0.1:{self.prometheus_port}/metrics"

    def url(self, vhost: str = "/") -> str:
        """The AMQP URL of a virtual host, with user and password."""
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{self.amqp_port}/{quote(vhost, safe='')}"

    async def start(self, timeout_seconds: float = START_SECONDS) -> None:
        """Start it and wait until it takes connections. Raises NodeError when it dies or takes too long."""
        self._check_stopped()
        server = find_rabbitmq()
        self._end_stale()
        self._check_free(self.amqp_port, self.management_port, self.prometheus_port)
        self._configure()
        await self._start_epmd(server)
        with (self.folder / "console.log").open("wb") as console:
            # The last two arguments do nothing but say whose process this is: see `_end_stale`.
            self._process = Process([str(server), "-zoco_folder", str(self.folder)], self._environment(server), console)
        try:
            self._remember()
            await self._until_ready(self._takes_connections, timeout_seconds)
            await self.mend_user()
        except BaseException:
            await self.stop(0)
            raise

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody is told. When it returns the broker is gone."""
        self._running().kill()

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): connections stay open and nothing answers."""
        self._running().send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self._running().send(signal.SIGCONT)

    @override
    async def stop(self, timeout_seconds: float = 10) -> None:
        if self._process:
            await self._process.stop(timeout_seconds)
        if self._epmd:
            self._epmd.kill()
        self._process = self._epmd = None
        self._pids.unlink(missing_ok=True)

    async def wipe(self) -> None:
        """Delete the disk of a broker that does not run: messages, queues, virtual hosts. The password stays."""
        if self.pid is not None:
            says = "RabbitMQ in {folder} runs (pid {pid}): stop or kill it before its disk."
            raise NodeError(says, self.folder, self.pid)
        await asyncio.to_thread(shutil.rmtree, self.folder / "data", ignore_errors=True)

    async def mend_user(self) -> bool:
        """Make our user anew, if somebody changed its password or rights: the broker is ours. Returns whether that was
        so."""
        if await lets_in(self.management_url, self.user, self.password):
            return False
        server = find_rabbitmq()
        await make_user(server.with_name("rabbitmqctl"), self._environment(server), self.user, self.password)
        return True

    async def add_vhost(self, name: str) -> None:
        """Make a virtual host that our user owns. One that exists stays as it is."""
        vhost = quote(name, safe="")
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        for path, body in ((f"vhosts/{vhost}", {}), (f"permissions/{vhost}/{self.user}", rights)):
            await put(self.management_url, self.user, self.password, path, body)

    def _takes_connections(self) -> bool:
        return _accepts(self.amqp_port) and _accepts(self.management_port)

    async def _start_epmd(self, server: Path) -> None:
        # RabbitMQ would start one itself, but as a daemon that nobody ends.
        if self._epmd and self._epmd.code is None:
            return
        environment = {"ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(self._epmd_port)}
        self._epmd = Process([str(find_epmd(server)), *self._epmd_arguments], environment)
        while not _accepts(self._epmd_port):
            if self._epmd.code is not None:
                says = "epmd ended while it started (code {code}); is {port} taken?"
                raise NodeError(says, self._epmd.code, self._epmd_port)
            await asyncio.sleep(POLL_SECONDS)

    @property
    def _epmd_arguments(self) -> list[str]:
        return ["-port", str(self._epmd_port), "-address", "127.0.0.1"]

    def _configure(self) -> None:
        make_private(self.folder)
        new_cookie(self.folder)
        (self.folder / "enabled_plugins").write_text(PLUGINS)
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}\n"
            f"management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self.management_port}\n"
            f"prometheus.tcp.ip = 127.0.0.1\n"
            f"prometheus.tcp.port = {self.prometheus_port}\n"
            f"raft.wal_max_size_bytes = {WAL_BYTES}\n"
        )

    def _environment(self, server: Path) -> dict[str, str]:
        """All that the broker sees: a RABBITMQ_* variable of whoever started us must not reach it."""
        folder = self.folder
        return {
            "PATH": os.pathsep.join([str(find_epmd(server).parent), os.environ.get("PATH", ""), "/usr/bin", "/bin"]),
            "LANG": "C.UTF-8",
            "HOME": str(folder),  # the Erlang cookie
            "RUNNING_UNDER_SYSTEMD": "true",  # makes the script become the broker, instead of watching it
            # Named after localhost: the data must be found again when the machine has another name tomorrow.
            "RABBITMQ_NODENAME": "zoco@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_DEFAULT_USER": self.user,
            "RABBITMQ_DEFAULT_PASS": self.password,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERL_ARGS,
        }

    @property
    def _pids(self) -> Path:
        return self.folder / "processes.json"

    def _remember(self) -> None:
        """Note who runs, with a mark from each command line."""
        if self._process is None or self._epmd is None:
            raise RuntimeError("nothing was started")
        marks = {self._process.pid: f"-zoco_folder {self.folder}", self._epmd.pid: " ".join(self._epmd_arguments)}
        self._pids.write_text(json.dumps(marks))

    def _end_stale(self) -> None:
        """End a node that outlived its starter in this folder (on macOS; Linux has seen to it)."""
        mine = {process.pid for process in (self._process, self._epmd) if process}
        with suppress(FileNotFoundError, ValueError):
            for pid, mark in json.loads(self._pids.read_text()).items():
                if int(pid) not in mine and is_ours(int(pid), mark):
                    os.kill(int(pid), signal.SIGKILL)

    @override
    def _said(self) -> str:
        console = self.folder / "console.log"
        lines = console.read_text(errors="replace").splitlines()[-CONSOLE_LINES:]
        return "\n".join([f"More in {self.folder / 'log'}; it said:", *lines])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
