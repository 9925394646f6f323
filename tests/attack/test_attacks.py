"""Each attack of attackers.py beside an honest buyer: what the buyer, the memory and the log notice of it.

`pytest -m long tests/attack` measures it longer, by way of one replica and of two, and writes the table of SECURITY.md.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import psutil
import pytest
from attackers import ATTACKS
from shop_builders import ZOCO, Shop, replica, start

from ops.running import Running

ATTACKERS = Path(__file__).with_name("attackers.py")
SECURITY = Path(__file__).parents[2] / "SECURITY.md"
LIMITED = ("prlimit", "--nofile=1024:1024")
# A stranger has a machine of their own: what is measured is what the shop does with its. Not on every commit: beside
# much else a stranger who is so modest does nothing.
ASIDE = ("nice", "-n", "19")
MIB = 1024 * 1024
# What an honest buyer asks for.
A_SECOND = 20
# So many at least; and where other work was in each of them, so many until one is as it should be.
ROUNDS, MOST_ROUNDS = 3, 15
LONG_SECONDS = 2
# This much slower an honest buyer may be; and on a machine that does much else, this slow.
TIMES, PATIENCE_SECONDS = 3, 0.5
# A log line that a stranger may cause.
LOG_BYTES = 10_000
# A pod has 512 MiB. What 150 unread answers hold, and a heap that was larger once, are not given back at once.
MEMORY = 64 * MIB
# So often is looked how much that is.
WATCH_SECONDS = 0.2
SENT = re.compile(r"skmem:\(.*?,w(\d+),")


@dataclass(frozen=True)
class Seen:
    """p99 in seconds, bytes."""

    idle: float
    attacked: float
    memory: int
    log: int
    done: int

    @property
    def served(self) -> bool:
        return self.attacked < max(TIMES * self.idle, PATIENCE_SECONDS)

    def row(self) -> str:
        slower = f"{1000 * self.idle:.0f} | {1000 * self.attacked:.0f}"
        return f"{self.done:,} | {slower} | {max(0, self.memory) / MIB:.0f} | {self.log:,}"


# The others are long tests.
FEW = ("long-heads", "half-heads", "unread", "pipelining", "reading-all", "searching", "listening", "buying-nothing")
# So much has happened before that there is something to read and to search through.
PURCHASES = 3_000


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = start(tmp_path_factory.mktemp("besieged"), command=(*LIMITED, str(ZOCO), "up"))
    asyncio.run(filled(shop.front))
    yield shop
    shop.stop()


async def filled(url: str) -> None:
    """With purchases by nobody of nothing."""

    async def buys(http: aiohttp.ClientSession, number: int) -> None:
        async with http.post(f"{url}/compras", json={"usuarioId": number, "tokenId": number}) as answer:
            await answer.read()

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(buys(http, 900_000 + number) for number in range(PURCHASES)))


async def p99(url: str, seconds: float) -> float:
    """Of an honest buyer's purchases, each until it is on the disk; who is told to come again does, under its key."""
    took: list[float] = []

    async def buys(http: aiohttp.ClientSession) -> None:
        began, key = time.monotonic(), str(uuid4())
        status = 0
        while status not in (200, 202):
            body = {"usuarioId": 1, "tokenId": 101}
            async with http.post(f"{url}/compras", json=body, headers={"Idempotency-Key": key}) as answer:
                status = answer.status
                await answer.read()
            if status not in (200, 202):
                await asyncio.sleep(0.2)
        took.append(time.monotonic() - began)

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        for _ in range(round(seconds * A_SECOND)):
            tasks.create_task(buys(http))
            await asyncio.sleep(1 / A_SECOND)
    return sorted(took)[int(len(took) * 0.99) - 1]


async def measured(shop: Shop, url: str, name: str, seconds: float, aside: Sequence[str] = ()) -> Seen:
    """In turn with and without, and the best of each: what else the machine does is in all of them. What an attack can
    do is in each round, too: one round in which the buyer was served shows that it was the machine. `aside`: by what
    command the stranger is started."""
    port = url.rpartition(":")[2]
    doors = [psutil.Process(pid) for pid in {Running.read(shop.data).pids["compras"], listens(int(port))}]
    logs = list(shop.data.parent.glob("*.log"))
    idle, attacked, done = [], [], 0
    memory, log = [held(door) for door in doors], sum(one.stat().st_size for one in logs)
    most = 0

    async def watched() -> None:
        # Once it is over nothing is held any more.
        nonlocal most
        while True:
            most = max(most, *(held(door) - before for door, before in zip(doors, memory, strict=True)))
            await asyncio.sleep(WATCH_SECONDS)

    def seen() -> Seen:
        return Seen(min(idle), min(attacked), most, sum(one.stat().st_size for one in logs) - log, done)

    while len(idle) < ROUNDS or (len(idle) < MOST_ROUNDS and not seen().served):
        idle.append(await p99(url, seconds))
        attack = await asyncio.create_subprocess_exec(
            *(*aside, sys.executable, str(ATTACKERS), name, port, str(seconds + 1)), stdout=asyncio.subprocess.PIPE
        )
        watching = asyncio.create_task(watched())
        await asyncio.sleep(0.5)
        attacked.append(await p99(url, seconds))
        watching.cancel()
        said, _ = await attack.communicate()
        assert attack.returncode == 0
        done += int(said)
    assert all(door.is_running() for door in doors), "a front door was started anew"
    return seen()


def held(door: psutil.Process) -> int:
    """Bytes of its own, and of its answers that lie in the kernel: a pod is charged for both."""
    said = subprocess.run(["ss", "-HtmnpO"], capture_output=True, text=True, check=True).stdout
    theirs = [line for line in said.splitlines() if f"pid={door.pid}," in line]
    return int(door.memory_info().rss) + sum(int(size) for line in theirs for size in SENT.findall(line))


def listens(port: int) -> int:
    """Whose port of this machine it is, by pid."""
    (found,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid
    }
    return found


def holds(name: str, seen: Seen) -> None:
    print(f"\n{name}: {seen.row()}")
    assert seen.done, f"{name} did nothing"
    assert seen.served, f"{name}: {seen}"
    assert seen.memory < MEMORY, f"{name}: {seen}"
    assert seen.log < LOG_BYTES, f"{name}: {seen}"


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.long) for name in ATTACKS]
)
async def test_an_honest_buyer_is_served_while_a_stranger_does_this(besieged: Shop, name: str) -> None:
    holds(name, await measured(besieged, besieged.front, name, 1.5))


async def test_nothing_was_lost_meanwhile(besieged: Shop) -> None:
    await audited(besieged)


async def audited(shop: Shop) -> None:
    """With something to compare: whoever measured noted nothing down."""
    async with shop.client() as client:
        await client.prepare(users=[7], tokens=[7], saldo=10, precio=10)
        await client.buy(7, 7)
    await shop.audited()


@pytest.mark.long
async def test_the_table_of_attacks(tmp_path: Path) -> None:
    lines = [
        "| a stranger does, from one address | replicas | times | p99 idle, ms | under it | more MiB | log bytes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    shop = start(tmp_path, command=(*LIMITED, str(ZOCO), "up"))
    await filled(shop.front)
    for replicas in (1, 2):
        with ExitStack() as others:
            url = shop.front if replicas == 1 else others.enter_context(replica(shop, LIMITED))
            for name, attack in ATTACKS.items():
                seen = await measured(shop, url, name, LONG_SECONDS, ASIDE)
                lines.append(f"| {attack.__doc__} | {replicas} | {seen.row()} |")
                print(lines[-1], flush=True)
                holds(name, seen)
    await audited(shop)
    shop.stop()
    table = re.sub(
        r"(<!-- attacks[^\n]*-->\n).*?(<!-- end of attacks -->)",
        lambda found: found[1] + "\n".join(lines) + "\n" + found[2],
        SECURITY.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    SECURITY.write_text(table, encoding="utf-8")
