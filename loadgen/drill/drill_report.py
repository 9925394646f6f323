"""What a drill found, so that a person can read it and a program can judge it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table

from loadgen.audit.verdict import PROMISES, Verdict
from loadgen.drill import exposure
from loadgen.drill.audit_rows import audit_rows
from loadgen.drill.exposure import Exposed, Met
from loadgen.drill.faults import Happened
from loadgen.drill.footprint import Footprint
from loadgen.load.latency import quantiles
from loadgen.load.load import PATIENCE_SECONDS
from loadgen.load.meter import Meter
from loadgen.load.rows import Row, measured, row, spread, time
from loadgen.load.workloads import WORKLOADS
from ops.i18n import Text, say

# Exit codes: a promise was broken, or nothing was proved; without a guarantee, that it was not missed as it should be.
FAILED: Final = 1
NOT_MISSED: Final = 3
OTHER: Final = Text("IT WAS NOT MISSED BY ITS OWN PROMISE: the drill failed for another reason, which shows nothing")
RESTLESS: Final = Text("IT WAS NOT MISSED: the shop did not come to rest, which shows nothing")


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge beside the audit found: rows of the drill's report, reasons to fail, and the same for a program."""

    name: str
    rows: Sequence[Row]
    reasons: Sequence[str]
    as_json: Any = None


@dataclass(frozen=True)
class DrillReport:
    """One drill. `left` says what was still on its way when the drill gave up waiting; None: all was quiet.

    `unread` says why the books could not be audited; None: they were.
    """

    scenario: str
    mix: str
    seed: int
    rate: float
    without: str | None
    must_break: frozenset[int]
    meter: Meter
    faults: Sequence[Happened]
    verdict: Verdict
    left: str | None
    footprint: Footprint
    unread: str | None = None
    judged: Sequence[Judged] = field(default=())

    @cached_property
    def met(self) -> list[Met]:
        return exposure.meetings(self.faults, self.meter, by_sales=WORKLOADS[self.mix].sells)

    @cached_property
    def exposed(self) -> Exposed:
        return exposure.exposed(self.met, self.meter)

    @cached_property
    def kinds(self) -> dict[tuple[str, str], Exposed]:
        return exposure.by_kind(self.met, self.meter)

    @property
    def _failed(self) -> list[str]:
        """Why the drill failed, whatever was taken away from the shop."""
        verdict, meter = self.verdict, self.meter
        says = "promise {number} is broken: {promise}"
        reasons: list[str] = [Text(says, number, Text(PROMISES[number])) for number in sorted(verdict.counts)]
        reasons += [Text("promise {number} was not checked: {why}", *one) for one in sorted(verdict.unchecked.items())]
        reasons += [Text("{fault}: {trouble}", one.fault, one.trouble) for one in self.faults if one.trouble]
        reasons += [Text("{fault}: it met no purchase, and proved nothing", it.happened.fault) for it in self.met_none]
        reasons += [Text("{fault}: {awaited}", one.happened.fault, self._awaited) for one in self.not_back]
        if meter.abandoned:
            says = "{requests:,} requests were given up: not accepted in {seconds:.0f} s"
            reasons.append(Text(says, meter.abandoned, PATIENCE_SECONDS))
        reasons += [Text("{what} ({count} times)", what, count) for what, count in Counter(meter.wrong).most_common()]
        reasons += [reason for judged in self.judged for reason in judged.reasons]
        reasons += [reason for reason in (self.unread, self.left) if reason is not None]
        if not meter.sold:
            reasons.append(Text("nothing was sold, so nothing was proved"))
        return reasons

    @property
    def reasons(self) -> list[str]:
        """Why the drill failed. Without a guarantee it always does, by its own promise or because that held."""
        control = Text("without {guarantee}: {outcome}", self.without, self.outcome)
        return [*self._failed, *([control] if self.missed is False else [])]

    @property
    def met_none(self) -> list[Met]:
        return [one for one in self.met if not one.purchases]

    @property
    def not_back(self) -> list[Met]:
        """Faults after which nothing was sold any more."""
        return [one for one in self.met if one.back is None]

    @property
    def _awaited(self) -> str:
        return Text("nothing was sold after it" if WORKLOADS[self.mix].sells else "no purchase ended after it")

    @property
    def holds(self) -> bool:
        return not self.reasons

    @property
    def missed(self) -> bool | None:
        """Whether the guarantee that was taken away was missed, by one of the promises that rest on it."""
        return bool(self.must_break & self.verdict.evidence.keys()) if self.without else None

    @property
    def outcome(self) -> str | None:
        """What taking a guarantee away has shown, as a sentence; None: none was taken away."""
        if self.without is None:
            return None
        if self.missed:
            return Text("it was missed by its own promise: the drill fails, as it should")
        if self.verdict.proven is not None:
            return RESTLESS
        return OTHER if self._failed else Text("IT WAS NOT MISSED: the audit is blind, or nothing went wrong")

    @property
    def exit_code(self) -> int:
        if self.without is not None:
            return FAILED if self.missed else NOT_MISSED
        return 0 if self.holds else FAILED

    def as_json(self) -> dict[str, Any]:
        met = {id(one.happened): one for one in self.met}
        claims = not self.meter.limits
        return {
            "holds": self.holds,
            "reasons": self.reasons,
            "scenario": self.scenario,
            "mix": self.mix,
            "seed": self.seed,
            "rate": self.rate,
            "without": self.without,
            "missed": self.missed,
            "outcome": self.outcome,
            "purchases": {
                "accepted": len(self.meter.purchases),
                "sold": self.meter.sold,
                "refused": self.meter.refused,
                "exposed": self.exposed.purchases,
            },
            "faults": [_fault_json(happened, met.get(id(happened)), claims=claims) for happened in self.faults],
            "kinds": {
                f"{kind} {who}": {
                    "faults": found.faults,
                    "purchases": found.purchases,
                    "atMost": upper_bound(found.purchases) if self.holds else None,
                }
                for (kind, who), found in self.kinds.items()
            },
            "recoverySeconds": [
                {
                    "victim": one.happened.fault.victim,
                    "back": one.back is not None,
                    "seconds": _rounded(one.seconds) if claims else None,
                }
                for one in self.met
            ],
            "footprint": self.footprint.as_json(),
            "atMost": upper_bound(self.exposed.purchases) if self.holds else None,
            "load": self.meter.as_json(),
            "audit": self.verdict.as_json(),
            **{judged.name: judged.as_json for judged in self.judged},
        }

    def shown(self) -> Panel:
        """For a terminal."""
        rows = Table.grid(padding=(0, 2))
        for name, value in self.rows():
            rows.add_row(say(name), say(value))
        title = f"zoco drill {self.scenario}: {say('all promises hold' if self.holds else 'FAILED')}"
        found = Group(rows, *(f"- {say(reason)}" for reason in self.reasons))
        return Panel(found, title=title, border_style="green" if self.holds else "red")

    def rows(self) -> list[Row]:
        """What a person reads, by name."""
        meter = self.meter
        asked = "{requests:,} requests, {rate:g} a second, mix {mix}, seed {seed}"
        bought = "{purchases:,}: sold {sold:,}, refused {refused:,}"
        return [
            row("load", asked, meter.arrived, self.rate, self.mix, self.seed),
            *self._control_rows(),
            Row("faults", counted(self.faults)),
            row("accepted", bought, len(meter.purchases), meter.sold, meter.refused),
            *([Row("given up", f"{meter.abandoned:,}")] if meter.abandoned else []),
            *([Row("audit", self.unread)] if self.unread is not None else audit_rows(self.verdict)),
            *self._met_rows(),
            *([] if meter.limits else self._recovery_rows()),
            *measured(meter),
            *self.footprint.rows(),
            *(one for judged in self.judged for one in judged.rows),
            *([Row("what 0 means", meaning(self.exposed.purchases))] if self.holds else []),
        ]

    def _control_rows(self) -> list[Row]:
        if self.without is None:
            return []
        expected = " or ".join(map(str, sorted(self.must_break)))
        says = "{guarantee}: promise {expected} must be broken; {outcome}"
        return [row("without", says, self.without, expected, self.outcome)]

    def _met_rows(self) -> list[Row]:
        """What the faults met."""
        says = "{purchases:,} purchases, while a fault lasted or until the shop was back"
        rows = [row("under way", says, self.exposed.purchases)]
        for (kind, who), found in self.kinds.items():
            bound = upper_bound(found.purchases) if self.holds else None
            most = "" if bound is None else Text(", so at most {bound:.3%}", bound)
            says = "{kind}, {who}, {faults:,} times: {purchases:,} purchases under way{most}"
            rows.append(row("of these", says, kind, who, found.faults, found.purchases, most))
        if self.met_none:
            rows.append(row("proved nothing", "{faults:,} faults met no purchase", len(self.met_none)))
        if self.not_back:
            rows.append(row("not back", "{faults:,} faults: {why}", len(self.not_back), self._awaited))
        return rows

    def _recovery_rows(self) -> list[Row]:
        """Services, broker and network apart: the broker takes seconds to start."""
        found: list[Row] = []
        for who in dict.fromkeys(one.who for one in self.met):
            seconds = [one.seconds for one in self.met if one.who == who and one.seconds is not None]
            if seconds:
                found.append(row(Text("{who} back", who), "after {spread}", spread(quantiles(seconds))))
        if (pause := self.meter.longest_pause_seconds) is not None:
            found.append(row("longest pause", "{pause} from one sale to the next", time(pause)))
        return found


def _fault_json(happened: Happened, met: Met | None, *, claims: bool) -> dict[str, Any]:
    fault = happened.fault
    return {
        "atSeconds": round(fault.at_seconds, 3),
        "kind": fault.kind,
        "victim": fault.victim,
        "seconds": fault.seconds,
        "began": happened.began,
        "over": happened.over,
        "trouble": happened.trouble,
        "back": None if met is None else met.back is not None,
        "backSeconds": _rounded(met.seconds) if met and claims else None,
        "underWay": None if met is None else met.purchases,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def counted(faults: Sequence[Happened]) -> str:
    """'kill tokens ×3, freeze usuarios', without what did not happen."""
    counts = Counter((happened.fault.kind, happened.fault.victim) for happened in faults if not happened.trouble)
    return ", ".join(
        f"{kind} {victim}" + (f" ×{count}" if count > 1 else "") for (kind, victim), count in sorted(counts.items())
    )


def upper_bound(trials: int) -> float | None:
    """What none in so many trials says of the next one, at 95 %: at most 3 in that many (the rule of three)."""
    return min(1.0, 3 / trials) if trials else None


def meaning(trials: int) -> str:
    """`trials`: purchases that were under way while something went wrong."""
    bound = upper_bound(trials)
    if bound is None:
        return Text("nothing: no purchase was under way during a fault")
    says = "none of {purchases:,} purchases under way: under faults like these, at most {bound:.3%} at 95 % confidence"
    return Text(says, trials, bound)
