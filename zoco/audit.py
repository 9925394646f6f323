"""The command `zoco audit`."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from loadgen.audit.verdict import LISTED, PROMISES, Verdict
from loadgen.drill.explain import block, work_rows
from ops.cluster import NAMESPACE, Cluster
from ops.console import table
from ops.i18n import say
from ops.running import DATA
from zoco.options import JsonOption, KubeOption, NamespaceOption
from zoco.saying import EX_UNREADABLE, out

# Typer would refuse what cannot be read with a box of its own, as if the option were wrong.
BooksOption = Annotated[
    Path, typer.Option("--data", readable=False, help="The folder that `zoco up` keeps everything in.")
]
ClientOption = Annotated[
    list[Path] | None,
    typer.Option(readable=False, help="What a client was told: its journal. For several clients again and again."),
]
SeedsOption = Annotated[
    Path | None,
    typer.Option("--seed", readable=False, help="The folder of the seed's files: what it gave is checked, too."),
]
BackupArgument = Annotated[
    Path | None, typer.Argument(readable=False, help="A file of `zoco backup`, instead of a shop.", show_default=False)
]
ExplainOption = Annotated[bool, typer.Option("--explain", help="What was looked at, and each breach in full.")]


def audit(  # noqa: PLR0913, PLR0917 - each is an option of the command
    backup: BackupArgument = None,
    data: BooksOption = DATA,
    client: ClientOption = None,
    seeds: SeedsOption = None,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    explain: ExplainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check the thirteen promises of the design by the books: of a shop, or in a backup.

    Exit code 1 when one is broken, 2 when what was named is no shop's, 3 when the books cannot be read, or go on
    all the while, or when some purchases are still on their way.
    """
    from loadgen.drill.reconcile import reconcile_backup, reconcile_cluster, reconcile_settled

    if backup is not None:
        verdict = asyncio.run(reconcile_backup(backup, client or [], seeds))
    elif kube:
        verdict = reconcile_cluster(Cluster(namespace), client or [], seeds, whole=False)
    else:
        verdict = asyncio.run(reconcile_settled(data, client or [], seeds))
    if as_json:
        out.json(verdict.as_json())
    else:
        _print_verdict(verdict, explain=explain)
    if not verdict.holds:
        raise typer.Exit(1 if verdict.counts else EX_UNREADABLE)


def _print_verdict(verdict: Verdict, *, explain: bool) -> None:
    shown = table("", "promise", "breaches")
    for number, text in PROMISES.items():
        if reason := verdict.unchecked.get(number):
            shown.add_row(str(number), say(text), say("not checked: {reason}", reason))
        else:
            shown.add_row(str(number), say(text), str(verdict.counts[number]))
        for reason in verdict.partly.get(number, ()):
            shown.add_row("", "", say("not checked in part: {reason}", reason))
    out.print(shown)
    if explain:
        for name, value in work_rows(verdict):
            out.print(f"{name:<22} {value}")
        for breach in verdict.breaches:
            out.print("")
            for name, value in block(breach):
                out.print(f"{name:<10} {value}")
    else:
        print_breaches(verdict)
    out.say("accepted {accepted}, sold {sold}, refused {refused}", verdict.accepted, verdict.sold, verdict.refused)
    if verdict.under_way:
        out.say("under way {count}", verdict.under_way)
    if verdict.not_quiet is not None:
        out.say("not quiet: {count} on their way, {why}", verdict.under_way, verdict.not_quiet)
    out.say("lost {lost}, doubled {doubled}, oversold {oversold}", verdict.lost, verdict.doubled, verdict.oversold)


def print_breaches(verdict: Verdict, most: int = LISTED) -> None:
    """At most so many of each kind."""
    kinds: Counter[tuple[object, ...]] = Counter()
    printed: Counter[int] = Counter()
    for breach in verdict.breaches:
        kinds[breach.kind] += 1
        if kinds[breach.kind] <= most:
            printed[breach.promise] += 1
            out.say("promise {promise}: {about}: {says}", breach.promise, breach.about, breach.says)
    for promise, count in sorted((verdict.counts - printed).items()):
        out.say("promise {promise}: {count:,} more", promise, count)
