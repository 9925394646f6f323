"""What more pods bring: purchases a second by how many processes of a service there are, each with its own share of a
processor, as a pod has by its limit. The machine is not what they wait for, and nor is each other, unless it is ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from broker.services import Service
from loadgen.bench.figures import Findings
from loadgen.bench.on_postgres import shop_on_postgres
from loadgen.bench.place import Place, Sample
from loadgen.bench.plan import Plan, Tell, money
from ops.i18n import Text

# Each process of the service gets 20 thousandths of a processor: `limits: {cpu: 20m}`. With four of 30 two cores had no
# more to give to the others.
QUOTA_US, PERIOD_US = 2_000, 100_000
# How many there are, the first of which is what the others are compared with. transacciones numbers what it records:
# its processes follow each other, and more of them bring nothing but that one may die.
COUNTS: Final[Mapping[Service, Sequence[int]]] = {"tokens": (1, 2, 4), "usuarios": (1, 2, 4), "transacciones": (1, 4)}
# One buyer's balance is one row, and whoever decides on it has it alone until the end of the batch.
BUYERS: Final = 1_000
CGROUPS: Final = Path("/sys/fs/cgroup")


def missing() -> str | None:
    """Why no share can be given here, or None."""
    if os.access(_parent(), os.W_OK):
        return None
    return Text("a share of a processor is given by a cgroup: run this as root on Linux")


async def pods(plan: Plan, place: Place, findings: Findings, tell: Tell) -> None:
    """A shop for each number of processes, in turn. Raises BenchFailed."""
    for service, counts in COUNTS.items():
        found: dict[int, list[Sample]] = {count: [] for count in counts}
        for turn in range(plan.pods):
            for count, samples in found.items():
                name = f"{service}-{count}-{turn}"
                async with shop_on_postgres(place, name, f"{service}={count}", BUYERS) as shop:
                    await shop.stock(plan.limited, money(plan.limited))
                    with limited(name, [pid for label, pid in shop.pids.items() if label.startswith(service)]):
                        samples.append(await shop.measure(plan.limited))
                tell(Text("{count} of {service}: {rate:,.0f}/s", count, service, samples[-1].value))
        for count in counts[1:]:
            findings.compare(f"pods-{service}-{count}", found[count], found[counts[0]])


@contextmanager
def limited(name: str, pids: Sequence[int]) -> Iterator[None]:
    """Each of these processes gets its share, and no more, until the block ends."""
    groups = []
    try:
        for pid in pids:
            groups.append(_group(f"zoco-bench-{name}-{pid}"))
            (groups[-1] / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for group in groups:
            for left in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    (group.parent / "cgroup.procs").write_text(left)
            group.rmdir()


def _parent() -> Path:
    """Where the groups of this machine stand that share processors: one tree of all kinds, or one of its own."""
    return CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "cpu"


def _group(name: str) -> Path:
    group = _parent() / name
    group.mkdir()
    if _parent() == CGROUPS:
        (CGROUPS / "cgroup.subtree_control").write_text("+cpu")
        (group / "cpu.max").write_text(f"{QUOTA_US} {PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
    return group
