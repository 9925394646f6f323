"""What a drill found, so that a person can read it and a program can judge it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Table

from loadgen.audit.verdict import PROMISES, Verdict
from loadgen.drill.faults import BROKER, Happened
from loadgen.drill.footprint import Footprint
from loadgen.load.meter import Meter
from services.words import say


@dataclass(frozen=True, slots=True)
class Certificate:
    """One drill. `left` says what was still on its way when the drill gave up waiting; None: all was quiet."""

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

    @property
    def recoveries(self) -> list[tuple[Happened, float | None]]:
        """Each kill and wipe, and the seconds to the end of the first sale that was accepted after it (None: none)."""
        kills = [found for found in self.faults if found.fault.kind in ("kill", "wipe") and not found.trouble]
        return list(zip(kills, self.meter.recoveries([kill.began for kill in kills]), strict=True))

    @property
    def reasons(self) -> list[str]:
        """Why the drill failed; nothing when it did not."""
        verdict, meter = self.verdict, self.meter
        broken = [f"promise {number} is broken: {PROMISES[number]}" for number in sorted(verdict.counts)]
        unchecked = [f"promise {number} was not checked: {why}" for number, why in sorted(verdict.unchecked.items())]
        missing = [f"{happened.fault}: {happened.trouble}" for happened in self.faults if happened.trouble]
        wrong = [f"{what} ({count} times)" for what, count in Counter(meter.wrong).most_common()]
        found = broken + unchecked + missing + wrong
        if self.left is not None:
            found.append(self.left)
        if not meter.sold:
            found.append("nothing was sold, so nothing was proved")
        return found

    @property
    def holds(self) -> bool:
        return not self.reasons

    @property
    def missed(self) -> bool | None:
        """Whether the guarantee that was taken away was missed, by one of the promises that rest on it."""
        return bool(self.must_break & self.verdict.counts.keys()) if self.without else None

    def as_json(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "reasons": self.reasons,
            "scenario": self.scenario,
            "mix": self.mix,
            "seed": self.seed,
            "rate": self.rate,
            "without": self.without,
            "missed": self.missed,
            "faults": [
                {
                    "atSeconds": round(happened.fault.at_seconds, 3),
                    "kind": happened.fault.kind,
                    "victim": happened.fault.victim,
                    "seconds": happened.fault.seconds,
                    "began": happened.began,
                    "trouble": happened.trouble,
                }
                for happened in self.faults
            ],
            "recoverySeconds": [
                {"victim": kill.fault.victim, "seconds": None if seconds is None else round(seconds, 3)}
                for kill, seconds in self.recoveries
            ],
            "footprint": self.footprint.as_json(),
            "atMost": upper_bound(self.verdict.accepted),
            "load": self.meter.as_json(),
            "audit": self.verdict.as_json(),
        }

    def shown(self) -> Panel:
        """For a terminal."""
        rows = Table.grid(padding=(0, 2))
        for name, value in self.rows():
            rows.add_row(say(name), say(value))
        title = f"zoco drill {self.scenario}: {say('all promises hold' if self.holds else 'FAILED')}"
        found = Group(rows, *(f"- {say(reason)}" for reason in self.reasons))
        return Panel(found, title=title, border_style="green" if self.holds else "red")

    def rows(self) -> list[tuple[str, str]]:
        """What a person reads, by name."""
        verdict, meter = self.verdict, self.meter
        money = "exact" if not verdict.counts[1] else f"wrong for {verdict.counts[1]} users"
        return [
            ("load", f"{meter.arrived:,} requests, {self.rate:g} a second, mix {self.mix}, seed {self.seed}"),
            *self._control_rows(),
            ("faults", counted(self.faults)),
            ("accepted", f"{verdict.accepted:,}: sold {verdict.sold:,}, refused {verdict.refused:,}"),
            ("lost", f"{verdict.lost:,}"),
            ("doubled", f"{verdict.doubled:,}"),
            ("oversold", f"{verdict.oversold:,}"),
            ("money", money),
            *self._recovery_rows(),
            ("backlog", f"at most {meter.backlog_peak:,}, drained {meter.drain_seconds:.1f} s after the last request"),
            ("POST to 202", spread(meter.accept.summary())),
            ("POST to end", spread(meter.end.summary())),
            *self.footprint.rows(),
            *([("what 0 means", meaning(verdict.accepted))] if self.holds else []),
        ]

    def _control_rows(self) -> list[tuple[str, str]]:
        if self.without is None:
            return []
        expected = " or ".join(map(str, sorted(self.must_break)))
        told = "it was missed" if self.missed else "IT WAS NOT MISSED: the audit is blind, or nothing went wrong"
        return [("without", f"{self.without}: promise {expected} must be broken; {told}")]

    def _recovery_rows(self) -> list[tuple[str, str]]:
        """Services and broker apart: the broker takes seconds to start."""
        found = []
        for name, broker in (("services", False), ("RabbitMQ", True)):
            seconds = [s for kill, s in self.recoveries if (kill.fault.victim == BROKER) == broker and s is not None]
            if seconds:
                found.append((f"{name} back", f"next sale after {spread(quantiles(seconds))}"))
        if (pause := self.meter.longest_pause_seconds) is not None:
            found.append(("longest pause", f"{_time(pause)} from one sale to the next"))
        return found


def counted(faults: Sequence[Happened]) -> str:
    """'kill tokens ×3, freeze usuarios', without what did not happen."""
    counts = Counter((happened.fault.kind, happened.fault.victim) for happened in faults if not happened.trouble)
    return ", ".join(
        f"{kind} {victim}" + (f" ×{count}" if count > 1 else "") for (kind, victim), count in sorted(counts.items())
    )


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and the longest of a few values."""
    ordered = sorted(values)
    return {
        "p50": ordered[(len(ordered) - 1) // 2],
        "p99": ordered[-(-len(ordered) * 99 // 100) - 1],
        "max": ordered[-1],
    }


def spread(seconds: dict[str, float]) -> str:
    """'p50 12 ms, p99 1.20 s, max 2.00 s'."""
    if not seconds:
        return "nothing to measure"
    return ", ".join(f"{name} {_time(seconds[name])}" for name in ("p50", "p99", "max"))


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def upper_bound(trials: int) -> float | None:
    """What none in so many trials says of the next one, at 95 %: at most 3 in that many (the rule of three)."""
    return min(1.0, 3 / trials) if trials else None


def meaning(trials: int) -> str:
    bound = upper_bound(trials)
    if bound is None:
        return "nothing: no purchase was accepted"
    return f"none of {trials:,} purchases: under faults like these, at most {bound:.3%} at 95 % confidence"
