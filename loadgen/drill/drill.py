"""The drill: load, faults, quiet, audit, verdict."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp

from loadgen.audit.books import Unreadable
from loadgen.audit.verdict import Verdict
from loadgen.drill import faults
from loadgen.drill.certificate import Certificate
from loadgen.drill.faults import SCENARIOS, Fault, Happened, Target
from loadgen.drill.footprint import Footprint
from loadgen.drill.pods import KubeTarget, front_door
from loadgen.drill.reconcile import reconcile, reconcile_cluster
from loadgen.drill.shop import own_shop
from loadgen.drill.target import LocalTarget
from loadgen.load.client import Client
from loadgen.load.load import Load
from loadgen.load.meter import Meter
from loadgen.load.mixes import MIXES, Ask, Stock, asks
from services.kube import Cluster
from services.local import Running

POLL_SECONDS: Final = 0.2
JOURNAL: Final = "client.jsonl"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done. `folder` is for all that the drill writes.

    `here`: harm the shop that runs in this folder; `kube`: the one in this cluster; neither: one of the drill's own.
    """

    scenario: str
    folder: Path
    here: Path | None = None
    kube: Cluster | None = None
    mix: str = "normal"
    seed: int = 0
    purchases: int = 10_000
    rate: float = 250.0
    down_seconds: float = 0.0
    # How often a storm kills a service.
    every_seconds: float = 1.0
    buyers: int | None = None
    tokens: int | None = None
    # How long to wait for quiet after the last request and the last fault.
    patience_seconds: float = 120.0
    # The guarantee that is taken away, and the promises of which at least one must then be broken.
    without: str | None = None
    must_break: frozenset[int] = frozenset()

    @property
    def load_seconds(self) -> float:
        return self.purchases / self.rate

    def stock(self) -> Stock:
        """What the load needs, with ids from 1 on."""
        usual = MIXES[self.mix].stock(self.purchases)
        return Stock.of(self.buyers or len(usual.buyers), self.tokens or len(usual.tokens), usual.saldo)

    def asks(self, stock: Stock) -> list[Ask]:
        return list(asks(self.mix, stock, self.seed, self.purchases))

    def faults(self) -> list[Fault]:
        planned = faults.plan(self.scenario, self.seed, self.load_seconds, self.down_seconds, self.every_seconds)
        # A pod is deleted, which takes its process away a moment later: nobody can say when.
        return [replace(fault, kind="delete") for fault in planned] if self.kube else planned


@dataclass(frozen=True, slots=True)
class Drilled:
    """A shop under a drill: its front door, how it is harmed, and how its books are read, with the client's journal.

    `data` is its folder, when its processes are on this machine.
    """

    url: str
    operator_token: str
    target: Target
    audit: Callable[[Path], Awaitable[Verdict]]
    data: Path | None = None


async def drill(order: Order, tell: Callable[[str, Meter | None], None]) -> Certificate:
    """Do it. `tell` hears what happens, and then the meter of the load under way.

    Raises LocalError and NodeError when there is no shop to drill, NotQuiet when it cannot be prepared.
    """
    order.folder.mkdir(parents=True, exist_ok=True)
    async with _shop(order, tell) as shop:
        journal = order.folder / JOURNAL
        async with Client(shop.url, journal, shop.operator_token) as client:
            tell("registering buyers and tokens ...", None)
            stock = await prepared(client, order.stock())
            meter, footprint = Meter(), Footprint()
            happened, left = await _under_load(order, client, stock, shop, (meter, footprint), tell)
            tell("auditing ...", None)
            try:
                verdict = await shop.audit(journal)
            except Unreadable as error:
                verdict = Verdict()
                left = f"the books cannot be read: {error}"
            return Certificate(
                scenario=order.scenario,
                mix=order.mix,
                seed=order.seed,
                rate=order.rate,
                without=order.without,
                must_break=order.must_break,
                meter=meter,
                faults=happened,
                verdict=verdict,
                left=left,
                footprint=footprint,
            )


@asynccontextmanager
async def _shop(order: Order, tell: Callable[[str, Meter | None], None]) -> AsyncIterator[Drilled]:
    if order.kube is not None:
        cluster = order.kube
        async with front_door(cluster) as url:
            yield Drilled(
                url,
                cluster.operator_token(),
                KubeTarget(cluster),
                lambda journal: asyncio.to_thread(reconcile_cluster, cluster, journal),
            )
    elif order.here is not None:
        yield _of_this_machine(order.here, LocalTarget(order.here))
    else:
        tell("starting a shop of its own ...", None)
        proxied = SCENARIOS[order.scenario].proxied
        async with own_shop(order.folder, without=order.without, proxied=proxied) as proxy:
            data = order.folder / "data"
            yield _of_this_machine(data, LocalTarget(data, proxy))


def _of_this_machine(data: Path, target: Target) -> Drilled:
    running = Running.read(data)
    return Drilled(
        running.urls["compras"], running.operator_token, target, lambda journal: reconcile(data, journal), data
    )


async def prepared(client: Client, stock: Stock) -> Stock:
    """Register buyers and tokens with ids that nobody has yet. Raises NotQuiet."""
    users, tokens = await client.get("/usuarios"), await client.get("/tokens")
    stock = stock.behind(max((user["id"] for user in users), default=0), max((t["id"] for t in tokens), default=0))
    await client.prepare(users=stock.buyers, tokens=stock.tokens, saldo=stock.saldo, precio=stock.precio)
    return stock


async def _under_load(
    order: Order,
    client: Client,
    stock: Stock,
    shop: Drilled,
    measures: tuple[Meter, Footprint],
    tell: Callable[[str, Meter | None], None],
) -> tuple[Sequence[Happened], str | None]:
    meter, footprint = measures
    load = Load(client, meter)
    requests = order.asks(stock)
    async with load.measured(), asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(_progress(meter, tell)), tasks.create_task(footprint.follow(shop.data))]
        harm = tasks.create_task(faults.carry_out(order.faults(), shop.target))
        await load.send(requests, order.rate)
        happened = await harm
        left = await _quiet(client, load, order.patience_seconds)
        for task in watching:
            task.cancel()
    return happened, left


async def _progress(meter: Meter, tell: Callable[[str, Meter | None], None]) -> None:
    while True:
        await asyncio.sleep(POLL_SECONDS)
        tell("", meter)


async def _quiet(client: Client, load: Load, seconds: float) -> str | None:
    """Wait until all purchases have ended and all queues are empty. Returns what is left when that takes too long."""
    deadline = time.monotonic() + seconds
    await load.finish(seconds)
    left: dict[str, Any] | None = None
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            left = state = await client.get("/estado")
            if _is_quiet(state):
                return None
        if time.monotonic() > deadline:
            return f"not quiet after {seconds:g} s: {_left(left)}"
        await asyncio.sleep(POLL_SECONDS)


def _left(state: dict[str, Any] | None) -> str:
    if state is None:
        return "the front door does not answer"
    queues = state["colas"] or {}
    waiting = {name: depth["messages"] for name, depth in queues.items() if depth["messages"]}
    away = [name for name, service in state["servicios"].items() if not service["ready"]]
    return (
        f"{state['sinTerminar']} purchases and entries on their way; messages waiting: {waiting or 'none'}; "
        f"not ready: {', '.join(away) or 'none'}"
    )


def _is_quiet(state: dict[str, Any]) -> bool:
    return (
        state["sinTerminar"] == 0
        and all(service["ready"] for service in state["servicios"].values())
        and state["colas"] is not None
        and all(state["colas"][name]["messages"] == 0 for name in faults.SERVICES)
    )
