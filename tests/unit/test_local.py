"""What `zoco up` refuses before it starts anything, and what `zoco kill` and `zoco reset` do to real processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from patience import END_SECONDS, PATIENCE_SECONDS, wait_until

from broker.services import SERVICES, Service
from loadgen.drill.faults import Fault, carry_out
from loadgen.drill.target import LocalTarget
from ops import child
from ops.doctor import examine
from ops.folder import Kind, keep_kind, kind_of
from ops.places import PORTS, places
from ops.process import RANGE, Process, free_port, is_free, is_ours
from ops.running import HOLDS, STATE, LocalError, Running, kill_process, reset
from ops.supervisor import Local
from services.shared import decision


def settled(*words: str) -> Process:
    """A process that sleeps, once it is past its exec: until then its command line may be read as empty."""
    process = Process(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", *words], os.environ, subprocess.PIPE
    )
    assert process.output
    process.output.readline()
    return process


@pytest.fixture
def service() -> Iterator[Process]:
    """A process that looks like a service from outside."""
    process = settled("services.tokens.main")
    yield process
    process.kill()
    assert process.output
    process.output.close()


@pytest.fixture
def up() -> Iterator[Process]:
    """A process that looks like `zoco up` from outside."""
    process = settled("zoco", "up")
    yield process
    process.kill()
    assert process.output
    process.output.close()


def running(data: Path, up: Process, urls: dict[str, str] | None = None, /, **pids: int) -> Running:
    """What that `up` with these services would have written down."""
    state = {
        "pid": up.pid,
        "places": urls or {},
        "pids": pids,
        "broker_url": "amqp://localhost",
        "management_url": None,
        "management_user": None,
        "management_password": None,
        "operator_token": "",
        "books_token": "",
    }
    (data / STATE).write_text(json.dumps(state))
    return Running.read(data)


async def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    first = next(port for port in iter(free_port, None) if all(is_free(port + more) for more in PORTS.values()))
    taken = socket.create_server(("127.0.0.1", first + PORTS["tokens"]))
    with taken, pytest.raises(LocalError, match=rf"port {first + 2} \(tokens\) is taken.*--port"):
        await Local(tmp_path, first).run()
    assert not (tmp_path / "rabbitmq").exists()


@pytest.mark.parametrize(
    ("first", "replicas", "highest"),
    [
        (99_999, {}, 65_532),
        (65_533, {}, 65_532),
        (65_454, {"tokens": 9}, 65_453),
        (65_453, {"transacciones": 9}, 65_452),
    ],
)
async def test_a_port_that_is_too_high_is_named_with_the_highest_that_is_not(
    tmp_path: Path, first: int, replicas: dict[Service, int], highest: int
) -> None:
    with pytest.raises(LocalError, match=rf"--port {first} is too high: .* above 65535\. At most {highest} "):
        await Local(tmp_path, first, replicas=replicas).run()
    there = places(highest, replicas)
    assert max(place.port for place in there) == 65_535


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="without it nobody gives up a right")
def test_a_port_that_is_for_root_is_not_said_to_be_taken() -> None:
    start = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if int(start.read_text()) < 100:
        pytest.skip("here such ports are for everybody")
    rightless = ("setpriv", "--inh-caps=-net_bind_service", "--bounding-set=-net_bind_service")
    program = "from ops.places import places; places(96, {})"
    done = subprocess.run([*rightless, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "LocalError: port 96 (compras) is for root only: choose others with --port (0: any)" in done.stderr


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match=r"cannot write in .*file/data.*--data"):
        await Local(tmp_path / "file" / "data", 0).run()


async def test_kill_returns_when_the_process_is_gone_and_says_how_long_it_stays_down(
    tmp_path: Path, up: Process, service: Process
) -> None:
    pid = kill_process(running(tmp_path, up, tokens=service.pid), "tokens", 30)
    assert pid == service.pid
    assert await service.wait() == -signal.SIGKILL
    held_seconds = float((tmp_path / HOLDS / "tokens").read_text()) - time.time()
    assert 25 < held_seconds <= 30


def test_kill_never_hits_a_stranger_with_a_recycled_pid(tmp_path: Path, up: Process, service: Process) -> None:
    with pytest.raises(LocalError, match="down already"):
        kill_process(running(tmp_path, up, usuarios=service.pid), "usuarios", None)
    assert service.code is None


def test_who_is_down_already_is_not_kept_down_for_longer(tmp_path: Path, up: Process, service: Process) -> None:
    service.kill()
    with pytest.raises(LocalError, match="down already"):
        kill_process(running(tmp_path, up, tokens=service.pid), "tokens", 30)
    assert not (tmp_path / HOLDS / "tokens").exists()


async def test_kills_of_who_is_down_do_not_pile_up(tmp_path: Path, up: Process, service: Process) -> None:
    running(tmp_path, up, tokens=service.pid)
    started = [service]

    async def start_again() -> None:
        """As `zoco up` does, but so slowly that the next kill is due long before."""
        while True:
            await started[-1].wait()
            await asyncio.sleep(1)
            started.append(settled("services.tokens.main"))
            running(tmp_path, up, tokens=started[-1].pid)

    watching = asyncio.create_task(start_again())
    due = [0, 0.1, 0.6, 2.6]
    try:
        happened = await carry_out([Fault(at, "kill", "tokens") for at in due], LocalTarget(tmp_path))
    finally:
        watching.cancel()
    for process in started[1:]:
        process.kill()
        assert process.output
        process.output.close()
    assert [one.trouble for one in happened] == [None] * 4
    lives = [after.began - before.began for before, after in pairwise(happened)]
    # Each was back before it was killed again.
    assert all(life > 1 for life in lives), lives
    # And what follows a late one is as much later.
    assert lives[-1] > 1.9, lives


async def test_who_is_still_starting_is_killed_once_it_works(tmp_path: Path, up: Process, service: Process) -> None:
    asked = 0

    async def readyz(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=503 if asked < 4 else 200)

    app = web.Application()
    app.router.add_get("/readyz", readyz)
    async with TestServer(app) as server:
        running(tmp_path, up, {"tokens": str(server.make_url(""))}, tokens=service.pid)
        (killed,) = await carry_out([Fault(0, "kill", "tokens")], LocalTarget(tmp_path))
    assert (killed.trouble, asked, await service.wait()) == (None, 4, -signal.SIGKILL)


async def test_the_doctor_says_that_nobody_writes_and_who_holds_the_lock(
    tmp_path: Path, up: Process, service: Process
) -> None:
    """tokens: a stranger holds it. usuarios: a process of its own kind does. compras: nobody. transacciones: writes."""

    async def readyz(request: web.Request) -> web.Response:
        role = "writer" if request.path.startswith("/transacciones") else "follower"
        return web.json_response({"role": role, "ready": True, "records": 3, "diskFull": False, "broker": None})

    app = web.Application()
    app.router.add_get("/{name}/readyz", readyz)
    for name in SERVICES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    strangers = [held(tmp_path / "tokens" / "lock"), held(tmp_path / "usuarios" / "lock", "services.usuarios.main")]
    try:
        async with TestServer(app) as server:
            running(tmp_path, up, {name: str(server.make_url(f"/{name}")) for name in SERVICES})
            found = {finding.what: finding for finding in await examine(tmp_path)}
    finally:
        for stranger in strangers:
            stranger.kill()
            assert stranger.output
            stranger.output.close()
    assert {name: found[name].well for name in SERVICES} == {
        "compras": False,
        "tokens": False,
        "usuarios": True,
        "transacciones": True,
    }
    assert f"process {strangers[0].pid} holds {tmp_path / 'tokens' / 'lock'}" in found["tokens"].says


def held(lock: Path, *words: str) -> Process:
    """A process that holds this file, as anybody may who can read it."""
    program = f"import fcntl, time; lock = open({str(lock)!r}); fcntl.flock(lock, fcntl.LOCK_SH)"
    process = Process(
        [sys.executable, "-c", f"{program}; print(flush=True); time.sleep(60)", *words], os.environ, subprocess.PIPE
    )
    assert process.output
    process.output.readline()
    return process


def test_a_state_file_of_an_up_that_is_gone_is_not_believed(tmp_path: Path, up: Process) -> None:
    running(tmp_path, up)
    up.kill()
    with pytest.raises(LocalError, match="is gone"):
        Running.read(tmp_path)


def test_reset_deletes_nothing_in_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    (tmp_path / "tokens").mkdir()
    with pytest.raises(LocalError, match=r"thesis\.txt"):
        reset(tmp_path)
    assert (tmp_path / "tokens").exists()
    (tmp_path / "thesis.txt").unlink()
    reset(tmp_path)
    assert not tmp_path.exists()


async def test_a_frozen_process_is_stopped_too(service: Process) -> None:
    service.send(signal.SIGSTOP)
    assert await service.stop(PATIENCE_SECONDS) == -signal.SIGTERM


async def test_a_process_that_does_not_listen_is_killed_once_the_time_is_over() -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    read, write = os.pipe()
    with os.fdopen(read, "rb") as heard, os.fdopen(write, "wb") as output:
        process = Process([sys.executable, "-c", deaf], os.environ, output)
        await asyncio.to_thread(heard.readline)
        assert await process.stop(0.1) == -signal.SIGKILL
    assert not is_ours(process.pid, "deaf")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process is looked at again and again")
async def test_who_waits_for_a_process_is_told_and_looks_at_nothing_meanwhile(
    service: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.process.POLL_SECONDS", 3600)
    before = psutil.Process().num_fds()
    waiting = [asyncio.ensure_future(service.wait()) for _ in range(3)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(service.wait(), 0.1)
    assert psutil.Process().num_fds() == before + len(waiting)
    service.send(signal.SIGKILL)
    assert await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_SECONDS) == [-signal.SIGKILL] * 3
    assert await service.wait() == -signal.SIGKILL
    assert psutil.Process().num_fds() == before


def test_no_port_is_given_twice_while_nobody_listens_on_it_yet() -> None:
    given = [free_port() for _ in range(400)]
    assert len(set(given)) == 400


def test_a_free_port_is_one_that_nobody_listens_on() -> None:
    port = free_port()
    assert is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert free_port(port) > port


def test_code_that_was_edited_is_seen_by_whoever_was_started_before() -> None:
    newest = max(file.stat().st_mtime for file in Path(decision.__file__).parents[1].rglob("*.py"))
    assert child._edited_since(newest - 1)
    assert not child._edited_since(time.time() + 1)


def test_free_ports_are_of_the_range_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RANGE, "31990-31999")
    found = {free_port() for _ in range(5)}
    assert len(found) == 5
    assert all(31_990 <= port <= 31_999 for port in found)


# Whose disk takes no byte any more, as of who is killed before the first one.
NO_BYTE = """
import resource, sys
from pathlib import Path
from ops.folder import keep_kind
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
keep_kind(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("kind", ["postgresql", "files"])
def test_of_which_kind_a_shops_books_are_is_never_half_written(tmp_path: Path, kind: Kind) -> None:
    """With old files beside a database, the shop would sell from what it sold before."""
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "journal-00000001-000001.jsonl").touch()
    keep_kind(tmp_path, "postgresql")
    again = subprocess.run([sys.executable, "-c", NO_BYTE, tmp_path, kind], capture_output=True, check=False)
    # What is so already needs no disk.
    assert (again.returncode == 0) == (kind == "postgresql")
    assert kind_of(tmp_path) == "postgresql"


# A `zoco up` without its programs.
UP = """
import asyncio, sys
from pathlib import Path
from ops.supervisor import Local
class Empty(Local):
    async def _start(self, watchers):
        self._write_state()
        await asyncio.Event().wait()
asyncio.run(Empty(Path(sys.argv[1]), 0).run())
"""


@contextmanager
def up_in_a_terminal(data: Path, *before: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """It, and the other end of its terminal, which closes by then."""
    ours, its = os.openpty()
    # Whoever runs the tests under nohup ignores it.
    command = ["env", "--default-signal=HUP", "setsid", "--ctty", *before, sys.executable, "-c", UP, str(data)]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, cwd=data) as process:
        os.close(its)
        try:
            wait_until(lambda: (data / STATE).exists() or process.poll() is not None, "it does not start")
            yield process, ours
        finally:
            process.kill()


@pytest.mark.skipif(shutil.which("setsid") is None, reason="a terminal of one's own is given by it")
def test_when_its_terminal_closes_it_ends_in_order(tmp_path: Path) -> None:
    with up_in_a_terminal(tmp_path) as (process, terminal):
        os.close(terminal)
        assert process.wait(END_SECONDS) == 0
    assert not (tmp_path / STATE).exists()


@pytest.mark.skipif(shutil.which("setsid") is None, reason="a terminal of one's own is given by it")
def test_under_nohup_it_goes_on_when_its_terminal_closes(tmp_path: Path) -> None:
    with up_in_a_terminal(tmp_path, "nohup") as (process, terminal):
        os.close(terminal)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_SECONDS) == 0
