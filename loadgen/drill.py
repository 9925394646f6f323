"""The drill: load, faults, quiet, audit, verdict."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from loadgen import faults
from loadgen.books import Unreadable
from loadgen.certificate import Certificate
from loadgen.client import Client
from loadgen.faults import SCENARIOS, Fault, Happened, Target
from loadgen.footprint import Footprint
from loadgen.load import Load
from loadgen.meter import Meter
from loadgen.mixes import MIXES, Ask, Stock, asks
from loadgen.reconcile import reconcile
from loadgen.shop import own_shop
from loadgen.target import LocalTarget
from loadgen.verdict import Verdict
from services.local import Running

POLL_SECONDS: Final = 0.2
JOURNAL: Final = "client.jsonl"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done. `folder` is for all that the drill writes; `here`: harm the shop that runs in this folder."""

    scenario: str
    folder: Path
    here: Path | None = None
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
        return faults.plan(self.scenario, self.seed, self.load_seconds, self.down_seconds, self.every_seconds)


async def drill(order: Order, tell: Callable[[str, Meter | None], None]) -> Certificate:
    """Do it. `tell` hears what happens, and then the meter of the load under way.

    Raises LocalError and NodeError when there is no shop to drill, NotQuiet when it cannot be prepared.
    """
    order.folder.mkdir(parents=True, exist_ok=True)
    async with _shop(order, tell) as (data, target):
        running = Running.read(data)
        journal = order.folder / JOURNAL
        async with Client(running.urls["compras"], journal, running.operator_token) as client:
            tell("registering buyers and tokens ...", None)
            stock = await prepared(client, order.stock())
            meter, footprint = Meter(), Footprint()
            sampling = asyncio.create_task(footprint.follow(data))
            try:
                happened, left = await _under_load(order, client, stock, target, meter, tell)
            finally:
                sampling.cancel()
            tell("auditing ...", None)
            try:
                verdict = await reconcile(data, journal)
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
async def _shop(order: Order, tell: Callable[[str, Meter | None], None]) -> AsyncIterator[tuple[Path, Target]]:
    if order.here is not None:
        yield order.here, LocalTarget(order.here)
        return
    tell("starting a shop of its own ...", None)
    proxied = SCENARIOS[order.scenario].proxied
    async with own_shop(order.folder, without=order.without, proxied=proxied) as proxy:
        data = order.folder / "data"
        yield data, LocalTarget(data, proxy)


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
    target: Target,
    meter: Meter,
    tell: Callable[[str, Meter | None], None],
) -> tuple[Sequence[Happened], str | None]:
    load = Load(client, meter)
    requests = order.asks(stock)
    async with load.measured(), asyncio.TaskGroup() as tasks:
        progress = tasks.create_task(_progress(meter, tell))
        harm = tasks.create_task(faults.carry_out(order.faults(), target))
        await load.send(requests, order.rate)
        happened = await harm
        left = await _quiet(client, load, order.patience_seconds)
        progress.cancel()
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
