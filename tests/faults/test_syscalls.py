"""A process that the kernel ends, or tells of a broken or full disk, at its first, second, third ... call of a kind.

Counted from the moment before a purchase, until a whole purchase passes. By strace; nothing in a service knows of it.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_builders import FaultyShop, faulty
from patience import PATIENCE_SECONDS

from loadgen.load.client import Client

pytestmark = pytest.mark.long

SERVICES = ("tokens", "transacciones")
# A purchase makes fewer of them than this in any one thread.
MOST = 60
# uvloop sends by `write`, too. A rename puts a snapshot, or the readable view, in its place.
CALLS = ("write", "pwrite64", "fdatasync", "rename")
FAULTS = [(fault, call) for fault in ("signal=SIGKILL", "error=EIO", "error=ENOSPC") for call in CALLS]
VIEW_SECONDS = 1.5
# So many sales are more than a snapshot's worth of journal in each service.
FOR_A_SNAPSHOT = 5


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[FaultyShop]:
    """Nobody gives its services an order: what is started again soon is all that is wanted of it."""
    env = {"ZOCO_RABBITMQ_URL": broker_url, "ZOCO_NUDGE_SECONDS": "1", "ZOCO_SNAPSHOT_BYTES": "1024"}
    with faulty(tmp_path_factory.mktemp("syscalls"), "crash_program.py", **env) as shop:
        yield shop


def traced(pid: int) -> bool:
    """Whether somebody traces every thread of it."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all("TracerPid:\t0\n" not in (thread / "status").read_text() for thread in threads)


@contextmanager
def injected(pid: int, call: str, fault: str, number: int, saw: Path, file: Path | None) -> Iterator[None]:
    """This process meets the fault at its N-th call from now on, in each of its threads."""
    command = ["strace", "-f", "-qq", "-o", str(saw), "-p", str(pid), "-e", f"trace={call}"]
    command += [f"--inject={call}:{fault}:when={number}", *(["-P", str(file)] if file else [])]
    strace = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not traced(pid):
            assert strace.poll() is None and time.monotonic() < deadline, "strace cannot attach: may it trace here?"
            time.sleep(0.01)
        yield
    finally:
        strace.terminate()
        strace.wait(PATIENCE_SECONDS)


async def until_writer(client: Client, shop: FaultyShop, service: str) -> int:
    """Its process's id, once it takes messages."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            # Once it has ended, it takes a moment until that is known.
            await asyncio.sleep(0.3)
            state = await client.get("/estado")
            queues = state["colas"] or {service: {"consumers": 0}}
            if state["servicios"][service]["ready"] and queues[service]["consumers"] == 1:
                return shop.running.pids[service]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(("fault", "call"), FAULTS, ids=[" at ".join(one) for one in FAULTS])
async def test_the_nth_call_of_a_kind_fails_and_the_books_are_whole(
    shop: FaultyShop, numbers: Iterator[int], tmp_path: Path, fault: str, call: str, service: str
) -> None:
    met = 0
    for number in range(1, MOST):
        first, saw = next(numbers), tmp_path / f"strace-{number}"
        async with shop.client() as client:
            things = range(first, first + (FOR_A_SNAPSHOT if call == "rename" else 1))
            await client.prepare(users=[first], tokens=things, saldo=100, precio=10)
            pid = await until_writer(client, shop, service)
            # An error is for the book alone: one at a socket, or at the loop's own pipes, is another story.
            book = max((shop.data / service).glob("journal-*.jsonl"))
            file = book if fault.startswith("error") and call in ("write", "fdatasync") else None
            with injected(pid, call, fault, number, saw, file):
                told = [await client.buy(first, thing, wait_seconds=5) for thing in things]
                await client.quiet()
                if call == "rename":
                    await asyncio.sleep(VIEW_SECONDS)
            ends = {(await client.get(f"/compras/{one['id']}"))["estado"] for one in told}
            assert ends == {"registrada"}
            # What ended it may have come after the purchase.
            await until_writer(client, shop, service)
        await shop.audited()
        if not any(word in saw.read_text() for word in ("INJECTED", "SIGKILL")):
            break
        met += 1
    else:
        raise AssertionError(f"the {MOST}th {call} of one purchase")
    assert met
