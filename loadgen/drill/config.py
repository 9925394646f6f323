"""What a drill is to do: to which shop, under which load, with which faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from loadgen.drill import faults
from loadgen.drill.drill_report import Judged
from loadgen.drill.faults import SCENARIOS, Fault
from loadgen.load.plan import Plan
from loadgen.load.workloads import WORKLOADS, Fixture
from ops.cluster import Cluster
from ops.folder import kind_of

# By so many seconds each fault may make those after it late: who is down already is killed only once it is back.
LATE_SECONDS: Final = 5.0
BROKER_LATE_SECONDS: Final = 10.0
# A book is written again from some 40,000 records in this time, on two busy cores.
BOOK_LATE_SECONDS: Final = 20.0
# All of them together: so much more load there is at most, or as much again as was asked for.
ALL_LATE_SECONDS: Final = 30.0
# So much load there is after the last fault is over, so that one sees whether the shop is back: seconds, and requests.
AFTER_SECONDS: Final = 0.5
AFTER_REQUESTS: Final = 30

# Another judge than the audit. It gets the clients' journals, closed, when the audit is done.
Judge = Callable[[Sequence[Path]], Awaitable[Judged]]


@dataclass(frozen=True, slots=True)
class DrillConfig:
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
    # A shop of the drill's own: its books in PostgreSQL, and so many processes of its services (`zoco up --replicas`).
    postgres: bool = False
    replicas: str = ""
    # The guarantee that is taken away, and the promises of which at least one must then be broken.
    without: str | None = None
    must_break: frozenset[int] = frozenset()
    # Processes that send the load.
    workers: int = 1
    # Each adds its rows and reasons to the drill's report.
    judges: Sequence[Judge] = ()

    @property
    def load_seconds(self) -> float:
        return self.purchases / self.rate

    @property
    def after_seconds(self) -> float:
        """How long the load goes on after the last fault is over."""
        return max(AFTER_SECONDS, AFTER_REQUESTS / self.rate)

    @property
    def has_database(self) -> bool:
        return self.postgres if self.here is None else kind_of(self.here) == "postgresql"

    def fixture(self) -> Fixture:
        """What the load needs, however late its faults come; ids from 1 on."""
        usual = WORKLOADS[self.mix].fixture(self.most)
        return Fixture.of(self.buyers or len(usual.buyers), self.tokens or len(usual.tokens), usual.saldo)

    @property
    def most(self) -> int:
        """Requests at most. `purchases` of them are sent, and more only while faults that were late last."""
        each = [fault.seconds + self._late_seconds(fault) for fault in self.faults()]
        most = sum(each) if SCENARIOS[self.scenario].loses else max(ALL_LATE_SECONDS, self.load_seconds)
        late = min(sum(each), most) + self.after_seconds
        return self.purchases + round(late * self.rate)

    def _late_seconds(self, fault: Fault) -> float:
        if SCENARIOS[self.scenario].loses:
            return BOOK_LATE_SECONDS
        return BROKER_LATE_SECONDS if fault.victim in faults.ENGINES else LATE_SECONDS

    def plan(self, fixture: Fixture) -> Plan:
        return Plan(self.mix, fixture, self.seed, self.rate, self.most, self.workers)

    def faults(self) -> list[Fault]:
        seconds = self.load_seconds, self.down_seconds, self.every_seconds
        planned = faults.plan(self.scenario, self.seed, *seconds, database=self.has_database)
        # A pod is deleted, which takes its process away a moment later: nobody can say when.
        return [replace(fault, kind="delete") for fault in planned] if self.kube else planned
