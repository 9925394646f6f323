"""How much of each is measured, and how: sides in turn, A B A B, so that what else the machine does falls on all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from loadgen.bench.figures import Findings
from loadgen.bench.place import Sample
from loadgen.bench.sample import PRECIO
from loadgen.bench.sides import Shop
from ops.i18n import Text

Side = Callable[[int], Awaitable[Sample]]
Tell = Callable[[str], None]
# Buyers on each token that a crowd on one token is compared with.
FEW = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of each."""

    rounds: int = 3
    # Rounds before those, which only warm everything up.
    warming: int = 1
    purchases: int = 5_000
    # FastStream is slow: as many seconds, not as many purchases.
    fast_stream: int = 1_000
    posts: int = 10_000
    gets: int = 5_000
    backlog: int = 40_000
    buyers: int = 10_000
    # 0: no latencies.
    latency_seconds: float = 15.0
    # So long nobody buys; 0: that is not measured.
    idle_seconds: float = 60.0
    starts: bool = True
    # Messages of each service in each store, for each size of a batch.
    alone: int = 3_000
    # A crowd on PostgreSQL, too.
    crowds: bool = True
    # How often each number of pods is measured, and by how many purchases.
    pods: int = 2
    limited: int = 3_000
    # Purchases that are behind the shop when its cost is looked at again; 0: whatever the figures before it made.
    behind: int = 0
    # Tokens that are put up for sale, and bought, at a time on the way there.
    step: int = 20_000


QUICK = Plan(
    rounds=2,
    warming=0,
    purchases=1_000,
    fast_stream=200,
    posts=3_000,
    gets=2_000,
    backlog=10_000,
    buyers=1_000,
    latency_seconds=0,
    idle_seconds=0,
    starts=False,
    alone=600,
    crowds=False,
    pods=0,
)
LONG = Plan(backlog=100_000, behind=1_000_000)


async def in_turn(plan: Plan, tell: Tell, sides: Mapping[str, tuple[Side, int]]) -> dict[str, list[Sample]]:
    """Measure each side with its count, then each again."""
    found: dict[str, list[Sample]] = {name: [] for name in sides}
    for number in range(plan.warming + plan.rounds):
        for name, (measure, count) in sides.items():
            sample = await measure(count)
            if number < plan.warming:
                tell(Text("{name}: {value:,.0f} (warming up)", name, sample.value))
            else:
                tell(f"{name}: {sample.value:,.0f}")
                found[name].append(sample)
    return found


async def crowd(plan: Plan, shop: Shop, findings: Findings, tell: Tell, figure: str) -> None:
    tokens = plan.buyers // FEW
    rounds = plan.warming + plan.rounds
    await shop.stock((tokens + 1) * rounds, money((tokens + 1) * rounds))
    sides: dict[str, tuple[Side, int]] = {
        "CPU µs per buyer, one token": (lambda buyers: shop.crowd(buyers, 1), plan.buyers),
        f"{FEW} buyers on each": (lambda buyers: shop.crowd(buyers, tokens), plan.buyers),
    }
    one, few = (await in_turn(plan, tell, sides)).values()
    note = Text("{buyers:,} buyers", plan.buyers)
    findings.compare(figure, one, few, note)


def total(cpu: Mapping[str, float]) -> float:
    return sum(cpu.values())


def money(purchases: int) -> int:
    return PRECIO * purchases
