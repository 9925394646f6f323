"""The command `zoco audit`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from loadgen.audit.verdict import LISTED, PROMISES, Verdict
from loadgen.drill.reconcile import reconcile, reconcile_cluster
from loadgen.terminal import out
from services.kube import NAMESPACE, Cluster
from services.options import DATA, DataOption, JsonOption, KubeOption, NamespaceOption
from services.words import say, table


def audit(
    data: DataOption = DATA,
    client: Annotated[Path | None, typer.Option(help="What a client was told: its journal.")] = None,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    as_json: JsonOption = False,
) -> None:
    """Check the thirteen promises of the design by the books. Exit code 1 when one is broken."""
    verdict = reconcile_cluster(Cluster(namespace), client) if kube else asyncio.run(reconcile(data, client))
    if as_json:
        out.print_json(json.dumps(verdict.as_json(), ensure_ascii=False))
    else:
        _print_verdict(verdict)
    if not verdict.holds:
        raise typer.Exit(1)


def _print_verdict(verdict: Verdict) -> None:
    shown = table("", "promise", "breaches")
    for number, text in PROMISES.items():
        if reason := verdict.unchecked.get(number):
            shown.add_row(str(number), say(text), say(f"not checked: {reason}"))
        else:
            shown.add_row(str(number), say(text), str(verdict.counts[number]))
    out.print(shown)
    print_breaches(verdict)
    out.print(f"accepted {verdict.accepted}, sold {verdict.sold}, refused {verdict.refused}")
    out.print(f"lost {verdict.lost}, doubled {verdict.doubled}, oversold {verdict.oversold}")


def print_breaches(verdict: Verdict, most: int = LISTED) -> None:
    """At most so many of each promise."""
    printed: Counter[int] = Counter()
    for breach in verdict.breaches:
        printed[breach.promise] += 1
        if printed[breach.promise] <= most:
            out.print(f"promise {breach.promise}: {breach.about}: {breach.says}", markup=False)
    for promise, count in sorted(verdict.counts.items()):
        if count > most:
            out.print(f"promise {promise}: {count - most:,} more", markup=False)
