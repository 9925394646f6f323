"""The drill: load, faults, quiet, audit, verdict."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from broker.services import SERVICES
from loadgen.audit.text import Unreadable
from loadgen.audit.verdict import Verdict
from loadgen.drill import faults
from loadgen.drill.config import DrillConfig
from loadgen.drill.drill_report import DrillReport
from loadgen.drill.faults import SCENARIOS, Happened, Target
from loadgen.drill.footprint import Footprint
from loadgen.drill.pods import KubeTarget, front_door
from loadgen.drill.quiet import disturbed
from loadgen.drill.reconcile import SEEDS, reconcile, reconcile_cluster, settled
from loadgen.drill.shop import ShopKind, own_shop
from loadgen.drill.target import LocalTarget
from loadgen.load.client import Client
from loadgen.load.crew import Crew, crew
from loadgen.load.journal import journal_of
from loadgen.load.load import Load
from loadgen.load.meter import Meter
from loadgen.load.onlooker import Onlooker
from loadgen.load.plan import prepared
from loadgen.load.top_ups import topping_up
from ops.cluster import KubeError
from ops.i18n import Text
from ops.running import Keys, Running

POLL_SECONDS: Final = 0.2
# From the end of all patience, or of the first try, until each service must answer the audit.
ANSWER_SECONDS: Final = 60.0

# What the front door shows at /estado.
State = dict[str, Any]
# Of a shop, with what its clients were told.
Audit = Callable[[Sequence[Path]], Awaitable[Verdict]]


@dataclass(frozen=True, slots=True)
class Drilled:
    """A shop under a drill: its front door, how it is harmed, and how its books are read, with the clients' journals.

    `data` is its folder, when its processes are on this machine.
    """

    url: str
    keys: Keys
    target: Target
    audit: Audit
    data: Path | None = None


async def drill(config: DrillConfig, tell: Callable[[str, Meter | None], None]) -> DrillReport:
    """Do it. `tell` hears what happens, and then the meter of the load under way.

    Raises LocalError and NodeError when there is no shop to drill, NotQuiet when it cannot be prepared, WorkerDied.
    """
    config.folder.mkdir(parents=True, exist_ok=True)
    async with _shop(config, tell) as shop:
        meter, footprint = Meter(), Footprint()
        journals = [journal_of(config.folder, number) for number in range(1, config.workers + 1)]
        async with Client(shop.url, journals[0], shop.keys) as client:
            tell("registering buyers and tokens ...", None)
            plan = config.plan(await prepared(client, config.fixture()))
            async with crew(plan, config.folder, shop.url, shop.keys) as workers:
                happened, left = await _under_load(config, client, workers, shop, (meter, footprint), tell)
            why = None if left is None or config.without is None else await _restless(client)
        tell("auditing ...", None)
        verdict, unread = await _audited(shop, journals)
        if why is not None and shop.data is not None and unread is None:
            # What it has not ended by then may still be on its way, and shows nothing of what was taken away.
            verdict.proven = (await reconcile(shop.data, journals, SEEDS, whole=False, not_quiet=why)).counts
        return DrillReport(
            scenario=config.scenario,
            mix=config.mix,
            seed=config.seed,
            rate=config.rate,
            without=config.without,
            must_break=config.must_break,
            meter=meter,
            faults=happened,
            verdict=verdict,
            left=left,
            footprint=footprint,
            unread=unread,
            judged=[await judge(journals) for judge in config.judges],
        )


async def _audited(shop: Drilled, journals: Sequence[Path]) -> tuple[Verdict, str | None]:
    """What the audit says, or why it could not say anything."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return await shop.audit(journals), None
        except (Unreadable, aiohttp.ClientError, KubeError, TimeoutError, OSError) as error:
            # One of a service's processes may be starting while another answers for it.
            if isinstance(error, aiohttp.ClientError) and time.monotonic() < deadline:
                await asyncio.sleep(POLL_SECONDS)
                continue
            return Verdict(), Text("the books cannot be read: {why}", str(error) or type(error).__name__)


@asynccontextmanager
async def _shop(config: DrillConfig, tell: Callable[[str, Meter | None], None]) -> AsyncIterator[Drilled]:
    if config.kube is not None:
        cluster = config.kube
        async with front_door(cluster) as url:
            yield Drilled(
                url,
                cluster.keys(),
                KubeTarget(cluster),
                lambda journals: asyncio.to_thread(reconcile_cluster, cluster, journals),
            )
    elif config.here is not None:
        yield _of_this_machine(config.here, LocalTarget(config.here), _while_others_buy(config.here))
    else:
        tell("starting a shop of its own ...", None)
        scenario = SCENARIOS[config.scenario]
        kind = ShopKind(config.postgres, scenario.standby, config.replicas)
        async with own_shop(config.folder, without=config.without, proxied=scenario.proxied, kind=kind) as proxy:
            data = config.folder / "data"
            yield _of_this_machine(data, LocalTarget(data, proxy), _alone(data))


def _of_this_machine(data: Path, target: Target, audit: Audit) -> Drilled:
    running = Running.read(data)
    return Drilled(running.urls["compras"], running.keys, target, audit, data)


def _alone(data: Path) -> Audit:
    """Nobody buys there but the drill."""
    return lambda journals: reconcile(data, journals, SEEDS, alone=True)


def _while_others_buy(data: Path) -> Audit:
    """As strict, once no book goes on while they are read."""
    return lambda journals: settled(Running.read(data).urls, lambda: reconcile(data, journals))


async def _under_load(
    config: DrillConfig,
    client: Client,
    workers: Crew,
    shop: Drilled,
    measures: tuple[Meter, Footprint],
    tell: Callable[[str, Meter | None], None],
) -> tuple[Sequence[Happened], str | None]:
    meter, footprint = measures
    onlooker = Onlooker(client)
    load = Load(client, meter, onlooker.accepted)
    async with load.measured(), onlooker.watching(), _beside(_progress(meter, tell), footprint.follow(shop.data)):
        harm = asyncio.create_task(_harm(config, workers, shop.target))
        try:
            async with topping_up(load, workers.plan.fixture.buyers, config.seed):
                await workers.send(load)
            happened = await harm
        finally:
            harm.cancel()
        left = await _quiet(client, load, config.patience_seconds)
    return happened, left


async def _harm(config: DrillConfig, workers: Crew, target: Target) -> Sequence[Happened]:
    """Carry out the faults. The load goes on until they are done, and a little longer."""
    happened = await faults.carry_out(config.faults(), target)
    after = max((one.over for one in happened), default=0.0) + config.after_seconds
    workers.stop_at(min(config.most, max(config.purchases, workers.due_by(after))))
    return happened


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Both of them go on for as long as this lasts."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _progress(meter: Meter, tell: Callable[[str, Meter | None], None]) -> None:
    while True:
        await asyncio.sleep(POLL_SECONDS)
        tell("", meter)


async def _quiet(client: Client, load: Load, seconds: float) -> str | None:
    """Wait until all purchases have ended and all queues are empty. Returns what is left when that takes too long.

    Then it waits for the services alone, which have to answer the audit: who was killed last may not be back yet.
    """
    deadline = time.monotonic() + seconds
    await load.finish(seconds)
    if (state := await _reached(client, _is_quiet, deadline)) is None:
        return None
    await _reached(client, _all_ready, deadline + ANSWER_SECONDS)
    return Text("not quiet after {seconds:g} s: {left}", seconds, _left(state))


async def _restless(client: Client) -> str | None:
    """What keeps purchases from their ends; None: nothing does, and those that are left never end."""
    deadline = time.monotonic() + ANSWER_SECONDS
    state = await _reached(client, lambda state: disturbed(state) is None, deadline)
    return None if state is None else disturbed(state)


async def _reached(client: Client, wanted: Callable[[State], bool], deadline: float) -> State | None:
    """Look until the shop is as it is wanted: None. Else what was seen of it last, nothing if it never answered."""
    state: State = {}
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            state = await client.get("/estado")
            if wanted(state):
                return None
        if time.monotonic() > deadline:
            return state
        await asyncio.sleep(POLL_SECONDS)


def _left(state: State) -> str:
    if not state:
        return Text("the front door does not answer")
    queues = state["colas"] or {}
    waiting = {name: depth["messages"] for name, depth in queues.items() if depth["messages"]}
    away = [name for name, service in state["servicios"].items() if not service["ready"]]
    return Text(
        "{under_way} purchases and entries on their way; messages waiting: {waiting}; not ready: {away}",
        state["sinTerminar"],
        waiting or Text("none"),
        ", ".join(away) or Text("none"),
    )


def _all_ready(state: State) -> bool:
    return all(service["ready"] for service in state["servicios"].values())


def _is_quiet(state: State) -> bool:
    return (
        state["sinTerminar"] == 0
        and _all_ready(state)
        and state["colas"] is not None
        and all(state["colas"][name]["messages"] == 0 for name in SERVICES)
    )
