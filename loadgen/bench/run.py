"""The bench: sides measured in turn, A B A B, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Final

from broker.services import SERVICES
from loadgen.audit.verdict import Verdict
from loadgen.bench import on_postgres, pods
from loadgen.bench.figures import Findings
from loadgen.bench.others import MISSING, fast_stream, relay
from loadgen.bench.place import BenchFailed, Place, Sample, Watch, opened, until
from loadgen.bench.plan import Plan, Side, Tell, crowd, in_turn, money, total
from loadgen.bench.relay import FRONT
from loadgen.bench.sample import USUARIO
from loadgen.bench.sides import Backlog, Shop, doors, shelves
from loadgen.drill.footprint import memory_bytes
from loadgen.drill.reconcile import reconcile
from loadgen.drill.shop import own_shop
from loadgen.load.client import Client
from loadgen.load.journal import JOURNAL
from loadgen.load.load import Load
from loadgen.load.meter import Meter
from loadgen.load.workloads import BuyRequest
from ops.i18n import Text
from ops.running import Running

SHELF_TOKENS = 1_000
# A virtual host for each side.
VHOSTS = ("door", "drain", "shop", "relay-public", "relay-batched", "fast-stream")
# Whose CPU is looked at again later.
TOP: Final = Text("zoco, at the top rate")
THIRD: Final = Text("zoco, at a third of it")


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
                await _latency(plan, folder, shop, findings, tell)
            await crowd(plan, shop, findings, tell, "crowd")
            await _behind(plan, shop, findings, tell)
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
        if find_spec("faststream"):
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


async def _latency(plan: Plan, folder: Path, shop: Shop, findings: Findings, tell: Tell) -> None:
    rate = median(findings.results["relay"].ours) / 3
    count = round(rate * plan.latency_seconds)
    tell(Text("latency at {rate:,.0f}/s ...", rate))
    await shop.stock(count, money(count))
    meter = Meter()
    running = shop.running
    async with Client(running.urls[FRONT], folder / JOURNAL, running.keys) as client:
        load = Load(client, meter)
        watch = Watch(shop.pids)
        async with load.measured():
            await load.send([BuyRequest(f"latency-{token}", USUARIO, token) for token in shop.tokens(count)], rate)
            ended = await load.finish(plan.latency_seconds + 60)
        slow = Sample(rate, watch.per(count))
    if not ended or meter.wrong:
        raise BenchFailed(f"{meter.unfinished} purchases did not end at {rate:.0f}/s: {meter.wrong[:1]}")
    if meter.limits:
        raise BenchFailed(f"no latency can be claimed at {rate:.0f}/s: {meter.limits[0]}")
    seconds = meter.end.summary()
    note = Text("{rate:,.0f}/s for {seconds:.0f} s", rate, plan.latency_seconds)
    findings.note("p50", [seconds["p50"] * 1000], note=note)
    findings.note("p99", [seconds["p99"] * 1000], note=note)
    findings.spent(THIRD, [slow])
    fast = findings.cpu[TOP]
    findings.note("cpu", [sum(fast.values())], [sum(slow.cpu.values())])


async def _behind(plan: Plan, shop: Shop, findings: Findings, tell: Tell) -> None:
    """What a purchase costs after all those before it, by the same measurement as at the beginning."""
    early = total(findings.cpu[TOP])
    first = plan.purchases * plan.rounds
    while (left := plan.behind - shop.bought) > 0:
        tell(Text("purchases so far: {bought:,}", shop.bought))
        await shop.stock(min(left, plan.step), money(plan.step))
        await shop.measure(min(left, plan.step))
    await shop.stock(plan.purchases * plan.rounds, money(first))
    late = [total((await shop.measure(plan.purchases)).cpu) for _ in range(plan.rounds)]
    behind = await shop.ended()
    note = Text("the {behind:,}th against the {first:,}th", behind, first)
    findings.note("flat", late, [early] * len(late), note)
    largest = max(memory_bytes(shop.running.pids[name]) for name in SERVICES)
    note = Text("{behind:,} purchases", behind)
    findings.note("memory", [largest / 1e6], note=note)


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
