"""The command `zoco drill`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from loadgen.drill.faults import SCENARIOS
from loadgen.drill.guarantees import GUARANTEES
from ops.cluster import NAMESPACE, Cluster
from ops.i18n import say
from ops.places import read_replicas
from ops.running import DATA, Running
from zoco.options import (
    BuyersOption,
    DataOption,
    FolderOption,
    JsonOption,
    MixOption,
    NamespaceOption,
    PostgresOption,
    RateOption,
    ReplicasOption,
    SeedOption,
    TokensOption,
    WorkersOption,
    a_little,
    decimal,
    one_or_more,
)

if TYPE_CHECKING:
    from loadgen.drill.config import DrillConfig

# Breaches of each promise that a drill prints; `zoco audit` on its books has more.
EXAMPLES: Final = 3


def drill(  # noqa: PLR0913, PLR0917
    scenario: Annotated[
        str, typer.Argument(help="; ".join(f"{name}: {say(found.says)}" for name, found in SCENARIOS.items()))
    ] = "",
    here: Annotated[bool, typer.Option("--here", help="Harm the shop that runs in --data.")] = False,
    kube: Annotated[bool, typer.Option("--kube", help="Harm the shop in the cluster that kubectl points at.")] = False,
    without: Annotated[
        str | None,
        typer.Option(help=say("Take a guarantee away, to see it missed: {guarantees}.", ", ".join(GUARANTEES))),
    ] = None,
    seed: SeedOption = 0,
    purchases: Annotated[
        int, typer.Option(parser=one_or_more, help="Requests; more if the last fault comes late.")
    ] = 10_000,
    rate: RateOption = 250.0,
    mix: MixOption = "normal",
    buyers: BuyersOption = None,
    tokens: TokensOption = None,
    down: Annotated[float, typer.Option(parser=decimal, help="Seconds that a killed process stays down.")] = 0.0,
    every: Annotated[
        float, typer.Option(parser=a_little, help="storm: seconds from one killed service to the next.")
    ] = 1.0,
    patience: Annotated[
        float | None,
        typer.Option(
            parser=partial(decimal, least=1), help="Seconds to wait for quiet in the end: 120; with --without 30."
        ),
    ] = None,
    with_porcupine: Annotated[
        bool, typer.Option("--porcupine", help="Porcupine (needs Go) judges what clients were told, too.")
    ] = False,
    postgres: PostgresOption = False,
    replicas: ReplicasOption = "",
    data: DataOption = DATA,
    namespace: NamespaceOption = NAMESPACE,
    workers: WorkersOption = 1,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load, faults, quiet, audit: a verdict. Exit code 1: it failed; 3: a guarantee was gone, and was not missed."""
    from loadgen.drill import porcupine
    from loadgen.drill.config import DrillConfig
    from loadgen.drill.drill import drill as run_drill
    from loadgen.drill.report import html
    from loadgen.load.workloads import WORKLOADS
    from loadgen.terminal import REPORT, Progress, Unusable, many_connections, new_folder, one_of, out
    from zoco.audit import print_breaches

    guarantee = None
    if without is not None:
        one_of("control", without, GUARANTEES)
        guarantee = GUARANTEES[without]
        scenario = scenario or guarantee.scenario
        if here or kube:
            raise Unusable(
                "a guarantee can be taken away only from a shop of the drill's own: leave out --here and --kube"
            )
    scenario = scenario or "transacciones"
    one_of("scenario", scenario, SCENARIOS)
    one_of("mix", mix, WORKLOADS)
    if here and kube:
        raise Unusable("--here is a shop on this machine and --kube one in a cluster: leave one of them out")
    if kube and not SCENARIOS[scenario].kube:
        able = ", ".join(name for name, found in SCENARIOS.items() if found.kube)
        raise Unusable("{scenario} cannot be done to pods: with --kube it is one of {able}", scenario, able)
    if here and SCENARIOS[scenario].loses:
        raise Unusable("{scenario} deletes books: it is for a shop of the drill's own, leave out --here", scenario)
    if every != 1 and scenario != "storm":
        raise Unusable("--every is for the scenario storm: {scenario} has its own times", scenario)
    if (postgres or replicas) and (here or kube or without):
        raise Unusable("--postgres and --replicas are for a whole shop of the drill's own: leave them out")
    read_replicas(replicas)
    if guarantee and guarantee.replicas:
        postgres, replicas = True, guarantee.replicas
    if here:
        Running.read(data)
    many_connections()
    config = DrillConfig(
        scenario=scenario,
        folder=new_folder(folder, scenario),
        here=data if here else None,
        kube=Cluster(namespace) if kube else None,
        mix=mix,
        seed=seed,
        purchases=purchases,
        rate=rate,
        down_seconds=down,
        postgres=postgres,
        replicas=replicas,
        every_seconds=every,
        buyers=buyers,
        tokens=tokens,
        patience_seconds=patience or (30 if guarantee else 120),
        without=without,
        must_break=guarantee.promises if guarantee else frozenset(),
        workers=workers,
        # Others may buy in a shop that is not the drill's own.
        judges=[porcupine.judge(alone=not (here or kube))] if with_porcupine else [],
    )
    _check_books(config)
    with Progress(as_json) as progress:
        report = asyncio.run(run_drill(config, progress.tell))
    page = config.folder / REPORT
    told = report.meter, report.faults, report.rows(), report.verdict
    page.write_text(html(f"zoco drill {scenario}", *told), encoding="utf-8")
    if as_json:
        out.json(report.as_json())
    else:
        out.print(report.shown())
        print_breaches(report.verdict, EXAMPLES)
        out.say("books, journal and report: {folder}", config.folder)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _check_books(config: DrillConfig) -> None:
    """Whether what is to happen can happen to books of this kind. Raises Unusable."""
    from loadgen.terminal import Unusable

    if config.here and SCENARIOS[config.scenario].standby:
        says = "{scenario} needs a standby: it is for a shop of the drill's own, leave out --here"
        raise Unusable(says, config.scenario)
    wanted = SCENARIOS[config.scenario].database
    if wanted and not config.has_database:
        raise Unusable("{scenario} needs books in PostgreSQL: add --postgres", config.scenario)
    if wanted is False and config.has_database:
        raise Unusable("{scenario} is of books that are files: leave out --postgres, or --here", config.scenario)
