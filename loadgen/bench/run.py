"""The bench: sides measured in turn, A B A B, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

from broker.services import SERVICES
from loadgen.audit.verdict import Verdict
from loadgen.bench import on_postgres, pods
from loadgen.bench.figures import Findings
from loadgen.bench.others import MISSING, fast_stream, fast_stream_is_there, relay
from loadgen.bench.place import Place, opened, until
from loadgen.bench.plan import Plan, Side, Tell, crowd, in_turn, money, total
from loadgen.bench.rates import TOP, idle, rates
from loadgen.bench.sides import Backlog, Shop, doors, shelves
from loadgen.drill.footprint import memory_bytes
from loadgen.drill.reconcile import reconcile
from loadgen.drill.shop import own_shop
from loadgen.load.journal import JOURNAL
from ops.i18n import Text
from ops.running import Running

SHELF_TOKENS = 1_000
# A virtual host for each side.
VHOSTS = ("door", "drain", "shop", "relay-public", "relay-batched", "fast-stream", "new")


async def bench(plan: Plan, folder: Path, tell: Tell) -> tuple[Findings, Verdict]:
    """Measure everything, and audit the shop that was measured. Raises BenchFailed, NodeError, LocalError."""
    findings = Findings()
    tell("starting RabbitMQ ...")
    async with opened(folder) as place:
        await asyncio.gather(*map(place.url, (*VHOSTS, *on_postgres.VHOSTS)))
        await _doors(plan, place, findings, tell)
        await _shelves(plan, place, findings, tell)
        await _drains(plan, place, findings, tell)
        tell("starting a shop ...")
        url = await place.url("shop")
        async with own_shop(folder / "shop", broker_url=url):
            shop = Shop(place, Running.read(folder / "shop" / "data"))
            await _purchases(plan, place, shop, findings, tell)
            await on_postgres.on_postgres(plan, place, shop, findings, tell)
            if plan.latency_seconds:
                await rates(plan, folder, shop, findings, tell)
            if plan.idle_seconds:
                await idle(plan, shop, findings, tell)
            await crowd(plan, shop, findings, tell, "crowd")
            await _behind(plan, place, shop, findings, tell)
            tell("auditing ...")
            await until(shop.quiet, "quiet")
            told = folder / JOURNAL
            verdict = await reconcile(folder / "shop" / "data", [told] if told.exists() else [])
        if plan.pods and (why := pods.missing()):
            findings.missing["pods-tokens-2"] = why
        elif plan.pods:
            await pods.pods(plan, place, findings, tell)
        if plan.starts:
            await _starts(place, shop, url, findings, tell)
    return findings, verdict


async def _doors(plan: Plan, place: Place, findings: Findings, tell: Tell) -> None:
    async with doors(place) as (ours, bare):
        sides: dict[str, tuple[Side, int]] = {
            "POST /compras/s": (ours.measure, plan.posts),
            "bare POST/s": (bare.measure, plan.posts),
        }
        found, least = (await in_turn(plan, tell, sides)).values()
    findings.compare("door", found, least)


async def _shelves(plan: Plan, place: Place, findings: Findings, tell: Tell) -> None:
    async with shelves(place, SHELF_TOKENS) as (ours, bare):
        sides: dict[str, tuple[Side, int]] = {
            "GET /tokens/s": (ours.measure, plan.gets),
            "bare GET/s": (bare.measure, plan.gets),
        }
        found, least = (await in_turn(plan, tell, sides)).values()
    findings.compare("get", found, least)


async def _drains(plan: Plan, place: Place, findings: Findings, tell: Tell) -> None:
    backlog = Backlog(place, await place.url("drain"))
    sides: dict[str, tuple[Side, int]] = {
        "drained/s": (backlog.ours, plan.backlog),
        "raw, public API": (lambda count: backlog.raw(count, "public"), plan.backlog),
        "raw, batched": (lambda count: backlog.raw(count, "batched"), plan.backlog),
    }
    ours, public, batched = (await in_turn(plan, tell, sides)).values()
    note = Text("backlog {backlog:,}", plan.backlog)
    findings.compare("drain", ours, public, note)
    findings.compare("drain-batched", ours, batched, note)


async def _purchases(plan: Plan, place: Place, shop: Shop, findings: Findings, tell: Tell) -> None:
    rounds = plan.warming + plan.rounds
    await shop.stock(plan.purchases * rounds, money(plan.purchases * rounds))
    async with AsyncExitStack() as stack:
        sides: dict[str, tuple[Side, int]] = {"purchases/s": (shop.measure, plan.purchases)}
        for how in ("public", "batched"):
            one = await stack.enter_async_context(relay(place, plan.purchases, how))
            sides[f"relay, {how}"] = (one.measure, plan.purchases)
        if fast_stream_is_there():
            other = await stack.enter_async_context(fast_stream(place, plan.fast_stream * rounds))
            sides["FastStream"] = (other.measure, plan.fast_stream)
        else:
            findings.missing["faststream"] = MISSING
        found = await in_turn(plan, tell, sides)
    ours = found["purchases/s"]
    findings.compare("relay", ours, found["relay, public"])
    findings.compare("batched", ours, found["relay, batched"])
    if "FastStream" in found:
        findings.compare("faststream", ours, found["FastStream"])
    for who, samples in found.items():
        findings.spent(TOP if samples is ours else who, samples)


async def _behind(plan: Plan, place: Place, shop: Shop, findings: Findings, tell: Tell) -> None:
    """What a purchase costs after all those before it, in turn with a shop that has none behind it."""
    while (left := plan.behind - shop.bought) > 0:
        tell(Text("purchases so far: {bought:,}", shop.bought))
        await shop.stock(min(left, plan.step), money(plan.step))
        await shop.measure(min(left, plan.step))
    behind = await shop.ended()
    tell("starting a new shop beside it ...")
    async with own_shop(place.folder / "new", broker_url=await place.url("new")):
        new = Shop(place, Running.read(place.folder / "new" / "data"))
        count = plan.purchases * (plan.warming + plan.rounds)
        for one in (shop, new):
            await one.stock(count, money(count))
        sides: dict[str, tuple[Side, int]] = {
            "late purchases/s": (shop.measure, plan.purchases),
            "early purchases/s": (new.measure, plan.purchases),
        }
        late, early = (await in_turn(plan, tell, sides)).values()
    note = Text("after {behind:,}", behind)
    findings.note("flat", [total(one.cpu) for one in late], [total(one.cpu) for one in early], note)
    largest = max(memory_bytes(shop.running.pids[name]) for name in SERVICES)
    findings.note("memory", [largest / 1e6], note=Text("{behind:,} purchases", await shop.ended()))


async def _starts(place: Place, shop: Shop, url: str, findings: Findings, tell: Tell) -> None:
    """Each service alone on the books that are there now."""
    seconds = []
    for name in SERVICES:
        env = {"ZOCO_RABBITMQ_URL": url, "ZOCO_DATA": str(shop.running.data / name)}
        started = time.perf_counter()
        async with place.served(f"start-{name}", (f"services.{name}.main:app",), env):
            seconds.append(time.perf_counter() - started)
        tell(Text("{name} started in {seconds:.1f} s", name, seconds[-1]))
    findings.note("start", [max(seconds)], note=findings.results["memory"].note)
