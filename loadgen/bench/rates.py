"""What a purchase costs and how long it takes, over the rate at which they come; and what a shop costs that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

from loadgen.bench.figures import Findings, Point
from loadgen.bench.place import BROKER, BenchFailed, Sample, Watch
from loadgen.bench.plan import Plan, Side, Tell, in_turn, money, total
from loadgen.bench.relay import FRONT
from loadgen.bench.sample import USUARIO
from loadgen.bench.sides import Shop
from loadgen.load.client import Client
from loadgen.load.journal import JOURNAL
from loadgen.load.load import Load
from loadgen.load.meter import Meter
from loadgen.load.workloads import BuyRequest
from ops.i18n import Text

# So many a second come alone: each is over before the next one.
ALONE_A_SECOND: Final = 10
TOP: Final = Text("zoco, at the top rate")
THIRD: Final = Text("zoco, at a third of it")
TENTH: Final = Text("zoco, at a tenth of it")
THIRTIETH: Final = Text("zoco, at a thirtieth of it")
ALONE: Final = Text("zoco, one by one")
SHARES: Final = {THIRD: 3, TENTH: 10, THIRTIETH: 30}


class Steady:
    """Purchases that come at a rate, whatever becomes of those before."""

    def __init__(self, shop: Shop, client: Client, rate: float) -> None:
        self.rate = rate
        # From the POST to `registrada`, in seconds, of each time that it was measured.
        self.ended: list[Mapping[str, Any]] = []
        self._shop, self._client = shop, client

    async def measure(self, count: int) -> Sample:
        """Median milliseconds from the POST to `registrada`."""
        meter = Meter()
        load = Load(self._client, meter)
        watch = Watch(self._shop.pids)
        asks = [BuyRequest(f"steady-{token}", USUARIO, token) for token in self._shop.tokens(count)]
        async with load.measured():
            await load.send(asks, self.rate)
            over = await load.finish(count / self.rate + 60)
            load.question(asks)
        cpu = watch.per(count)
        if not over or meter.wrong:
            raise BenchFailed(f"{meter.unfinished} purchases did not end at {self.rate:.0f}/s: {meter.wrong[:1]}")
        if meter.limits:
            raise BenchFailed(f"no latency can be claimed at {self.rate:.0f}/s: {meter.limits[0]}")
        self.ended.append(meter.end.summary())
        return Sample(self.ended[-1]["p50"] * 1000, cpu)


async def rates(plan: Plan, folder: Path, shop: Shop, findings: Findings, tell: Tell) -> None:
    """All rates in turn, the top rate among them: what the machine does meanwhile falls on all."""
    top = median(findings.results["relay"].ours)
    wanted: dict[str, float] = {**{name: top / share for name, share in SHARES.items()}, ALONE: ALONE_A_SECOND}
    counts = {name: round(rate * plan.latency_seconds) for name, rate in wanted.items()}
    needed = (sum(counts.values()) + plan.purchases) * (plan.warming + plan.rounds)
    await shop.stock(needed, money(needed))
    async with Client(shop.running.urls[FRONT], folder / JOURNAL, shop.running.keys) as client:
        steady = {name: Steady(shop, client, rate) for name, rate in wanted.items()}
        sides: dict[str, tuple[Side, int]] = {TOP: (shop.measure, plan.purchases)}
        sides |= {Text("{side}, ms", name): (one.measure, counts[name]) for name, one in steady.items()}
        measured = (await in_turn(plan, tell, sides)).values()
    found: dict[str, list[Sample]] = dict(zip([TOP, *steady], measured, strict=True))
    took: dict[str, list[Mapping[str, Any]]] = {name: one.ended[-plan.rounds :] for name, one in steady.items()}
    _compare(plan, findings, found, took, wanted[THIRD])
    for name, samples in found.items():
        findings.spent(name, samples)
        seconds = took.get(name, [])
        findings.points.append(
            Point(
                wanted.get(name, top),
                median(total(one.cpu) for one in samples),
                median(one["p50"] for one in seconds) if seconds else None,
                median(one["p99"] for one in seconds) if seconds else None,
            )
        )


def _compare(
    plan: Plan,
    findings: Findings,
    found: Mapping[str, list[Sample]],
    took: Mapping[str, list[Mapping[str, Any]]],
    third: float,
) -> None:
    cpu = {name: [total(one.cpu) for one in samples] for name, samples in found.items()}
    findings.note("cpu", cpu[THIRD], cpu[TOP])
    findings.note("cpu-thirtieth", cpu[THIRTIETH], cpu[TOP])
    broker = {name: [one.cpu[BROKER] for one in samples] for name, samples in found.items()}
    findings.note("cpu-broker", broker[THIRD], broker[TOP])
    alone = [one["p50"] * 1000 for one in took[ALONE]]
    note = Text("{rate:,.0f}/s for {seconds:.0f} s", third, plan.latency_seconds)
    for name in ("p50", "p99"):
        each = [one[name] * 1000 for one in took[THIRD]]
        findings.note(name, each, note=note)
        findings.note(f"{name}-alone", each, alone)


async def idle(plan: Plan, shop: Shop, findings: Findings, tell: Tell) -> None:
    """Nobody buys: what all of it costs then, `zoco up` and RabbitMQ included."""
    tell("nobody buys ...")
    watch = Watch({**shop.pids, "zoco": shop.running.pid})
    await asyncio.sleep(plan.idle_seconds)
    findings.note("idle", [total(watch.per(1)) / 1e6 * 60 / plan.idle_seconds])
