"""Child processes that do not outlive the one who started them, and the free ports they listen on."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import psutil

POLL_SECONDS: Final = 0.02
# Below the range that Linux and macOS take a client's own port from. A port in that range may be lent to a client
# while its server is down, and a client that keeps trying such a port can end up connected to itself.
FREE_PORTS: Final = range(20_000, 32_000)
# The variable that says where programs side by side take theirs from, as FIRST-LAST: a port whose server is down for a
# while looks free to the others.
RANGE: Final = "FREE_PORTS"


class Process:
    """A child in a session of its own (a Ctrl-C does not reach it), seen from any event loop.

    Linux kills it when the thread that started it ends, whatever ended that. macOS cannot: see `is_ours`.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        output: int | IO[bytes] = subprocess.DEVNULL,
        cwd: Path | None = None,
        *,
        waits: bool = False,
    ) -> None:
        """Start it. Its stdout and stderr go to `output`. `waits`: it reads a line, see `go`. Raises OSError."""
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        self._child = subprocess.Popen(
            [*guard, *command],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def go(self) -> None:
        """Give the line to a process that `waits` for it. Does nothing when it has ended."""
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.write(b"\n")
            self._child.stdin.close()

    @property
    def output(self) -> IO[bytes] | None:
        """What it prints, when it was started with `subprocess.PIPE`."""
        return self._child.stdout

    @property
    def code(self) -> int | None:
        """None while it lives, then its exit code, or minus the signal that ended it."""
        return self._child.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal. Does nothing once it has ended."""
        self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait the moment that the kernel takes for it."""
        self._child.kill()
        self._child.wait()

    async def wait(self) -> int:
        """Wait for its end. Returns `code`."""
        if self.code is None:
            await _until_ended(self.pid)
        while (code := self.code) is None:  # noqa: ASYNC110 - an Event would tie it to one event loop
            await asyncio.sleep(POLL_SECONDS)
        return code

    async def stop(self, timeout_seconds: float, number: signal.Signals = signal.SIGTERM) -> int:
        """This signal, and SIGKILL once the time is over. Returns `code`."""
        self.send(number)
        # A frozen process hears nothing until it goes on.
        self.send(signal.SIGCONT)
        with suppress(TimeoutError):
            return await asyncio.wait_for(self.wait(), timeout_seconds)
        self.kill()
        return await self.wait()


async def _until_ended(pid: int) -> None:
    """Linux says when a process ends. Where that cannot be asked, this returns at once."""
    if sys.platform != "linux":
        return
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def is_ours(pid: int, mark: str) -> bool:
    """Whether this process lives and has `mark` in its command line: a pid alone may be anyone's by now."""
    try:
        return mark in " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def is_free(port: int) -> bool:
    """Whether we could listen on this port of 127.0.0.1."""
    try:
        listen_once(port)
    except OSError:
        return False
    return True


def listen_once(port: int) -> None:
    """Listen on this port of 127.0.0.1, and at once no more. Raises OSError when another does, PermissionError when it
    is for root."""
    with socket.socket() as probe:
        # As servers do: connections that have just ended do not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        probe.listen()


def _range() -> range:
    first, _, last = os.environ.get(RANGE, "").partition("-")
    return range(int(first), int(last) + 1) if last else FREE_PORTS


# What `free_port` has given away may not be listened on yet.
_given: set[int] = set()


def free_port(first: int = 0) -> int:
    """`first` or the next port that is free; with 0 any, and none twice in one process. It is not held: start its
    server soon."""
    candidates = range(first, first + 1000) if first else random.sample(ours := _range(), len(ours))
    port = next(port for port in candidates if (first or port not in _given) and is_free(port))
    _given.add(port)
    return port


def write_durably(file: Path, text: str, aside: Path) -> None:
    """All of it or nothing, and on the disk when this returns: after a power cut, too. `aside` is in the same folder.
    Raises OSError."""
    with aside.open("w", encoding="utf-8") as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    aside.replace(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """The names in it are on the disk when this returns. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def make_private(folder: Path) -> None:
    """Make a folder that nobody else looks into; one that is there and is ours becomes one. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(0o700)


def lock_holder(file: Path) -> int | None:
    """The process that holds this file by flock. None: nobody, or one that cannot be seen from here (or on macOS)."""
    try:
        held, locks = file.stat(), Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    place = f"{os.major(held.st_dev):02x}:{os.minor(held.st_dev):02x}:{held.st_ino}"
    pids = [int(line.split()[4]) for line in locks.splitlines() if line.split()[1] == "FLOCK" and place in line.split()]
    return next((pid for pid in pids if pid > 0), None)
