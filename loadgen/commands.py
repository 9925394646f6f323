"""The commands `zoco load`, `zoco drill` and `zoco audit`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.live import Live

from loadgen.audit.verdict import LISTED, PROMISES, Verdict
from loadgen.drill.certificate import spread
from loadgen.drill.controls import CONTROLS
from loadgen.drill.drill import JOURNAL, Order, prepared
from loadgen.drill.drill import drill as run_drill
from loadgen.drill.faults import SCENARIOS
from loadgen.drill.reconcile import reconcile, reconcile_cluster
from loadgen.drill.report import html
from loadgen.load.client import Client
from loadgen.load.load import Load
from loadgen.load.meter import Meter
from loadgen.load.mixes import MIXES, Stock, asks
from services.kube import NAMESPACE, Cluster
from services.local import Running
from services.options import DATA, DataOption, JsonOption, KubeOption, NamespaceOption
from services.words import Speaker, say, table

FOLDER: Final = Path(".drill")
REPORT: Final = "report.html"
LINE_SECONDS: Final = 5.0
# Breaches of each promise that a drill prints; `zoco audit` on its books has more.
EXAMPLES: Final = 3

out = Speaker()
# Progress: whoever reads stdout as JSON does not see it.
err = Speaker(stderr=True)

MixOption = Annotated[str, typer.Option(help="; ".join(f"{name}: {say(mix.says)}" for name, mix in MIXES.items()))]
SeedOption = Annotated[int, typer.Option(help="The same seed: the same requests and the same faults.")]
RateOption = Annotated[float, typer.Option(min=0.1, help="Requests a second, whatever the answers do.")]
BuyersOption = Annotated[int | None, typer.Option(min=1, help="Buyers to register; unless told, as the mix needs.")]
TokensOption = Annotated[int | None, typer.Option(min=1, help="Tokens to put up for sale; as the mix needs.")]
FolderOption = Annotated[Path | None, typer.Option("--out", help="Where journal and report go; unless told, .drill/…")]


class Unusable(Exception):
    """What was asked for cannot be done. One sentence: why, and what to do."""


def load(  # noqa: PLR0913, PLR0917 - each is an option of the command
    rate: RateOption = 100.0,
    seconds: Annotated[float, typer.Option("--for", min=0.1, help="Seconds of load.")] = 30.0,
    mix: MixOption = "normal",
    buyers: BuyersOption = None,
    tokens: TokensOption = None,
    seed: SeedOption = 0,
    data: DataOption = DATA,
    url: Annotated[str | None, typer.Option(help="The front door; unless told, the one that runs here.")] = None,
    token: Annotated[
        str | None, typer.Option("--operator-token", envvar="ZOCO_OPERATOR_TOKEN", help="For --url: registers buyers.")
    ] = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Buy at a fixed rate, and write down what was asked and what was told. Exit code 1 when an answer was wrong."""
    _one_of("mix", mix, MIXES)
    if url is None:
        running = Running.read(data)
        url, token = running.urls["compras"], running.operator_token
    if not token:
        raise Unusable("buyers and tokens are registered by the operator: give --operator-token with --url")
    _many_connections()
    folder = folder or FOLDER / f"{_now()}-load"
    folder.mkdir(parents=True, exist_ok=True)
    count = max(1, round(rate * seconds))
    usual = MIXES[mix].stock(count)
    stock = Stock.of(buyers or len(usual.buyers), tokens or len(usual.tokens), usual.saldo)
    meter = Meter()
    with _Progress(as_json) as progress:
        quiet = asyncio.run(_load(Client(url, folder / JOURNAL, token), mix, stock, seed, count, rate, meter, progress))
    (folder / REPORT).write_text(html(f"zoco load: {mix}", meter, [], _load_rows(meter)), encoding="utf-8")
    if as_json:
        out.print_json(json.dumps(meter.as_json()))
    else:
        for name, value in _load_rows(meter):
            out.print(f"{say(name):<12} {say(value)}", markup=False)
        out.print(f"journal and report: {folder / JOURNAL} {folder / REPORT}", markup=False)
    if meter.wrong or not quiet:
        raise typer.Exit(1)


async def _load(  # noqa: PLR0913, PLR0917
    client: Client, mix: str, stock: Stock, seed: int, count: int, rate: float, meter: Meter, progress: _Progress
) -> bool:
    async with client:
        progress.tell("registering buyers and tokens ...", None)
        requests = asks(mix, await prepared(client, stock), seed, count)
        load = Load(client, meter)
        async with load.measured(), asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(progress.watch(meter))
            await load.send(requests, rate)
            quiet = await load.finish(120)
            watching.cancel()
    return quiet


def _load_rows(meter: Meter) -> list[tuple[str, str]]:
    rows = [
        ("requests", f"{meter.arrived:,}: accepted {meter.accepted:,}, rejected {meter.rejected:,}"),
        ("finished", f"sold {meter.sold:,}, refused {meter.refused:,}, not finished {meter.unfinished:,}"),
        ("POST to 202", spread(meter.accept.summary())),
        ("POST to end", spread(meter.end.summary())),
        ("backlog", f"at most {meter.backlog_peak:,}, drained {meter.drain_seconds:.1f} s after the last request"),
    ]
    if meter.abandoned:
        rows.append(("given up", f"{meter.abandoned:,}"))
    return rows + [("wrong", wrong) for wrong in sorted(set(meter.wrong))]


def drill(  # noqa: PLR0913, PLR0917
    scenario: Annotated[
        str, typer.Argument(help="; ".join(f"{name}: {say(found.says)}" for name, found in SCENARIOS.items()))
    ] = "",
    here: Annotated[bool, typer.Option("--here", help="Harm the shop that runs in --data.")] = False,
    kube: Annotated[bool, typer.Option("--kube", help="Harm the shop in the cluster that kubectl points at.")] = False,
    without: Annotated[
        str | None, typer.Option(help=f"Take a guarantee away, to see it missed: {', '.join(CONTROLS)}.")
    ] = None,
    seed: SeedOption = 0,
    purchases: Annotated[int, typer.Option(min=1, help="Requests in all.")] = 10_000,
    rate: RateOption = 250.0,
    mix: MixOption = "normal",
    buyers: BuyersOption = None,
    tokens: TokensOption = None,
    down: Annotated[float, typer.Option(min=0, help="Seconds that a killed process stays down.")] = 0.0,
    every: Annotated[float, typer.Option(min=0.1, help="storm: seconds from one killed service to the next.")] = 1.0,
    patience: Annotated[
        float | None, typer.Option(min=1, help="Seconds to wait for quiet in the end: 120; with --without 30.")
    ] = None,
    data: DataOption = DATA,
    namespace: NamespaceOption = NAMESPACE,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load, faults, quiet, audit: a verdict. Exit code 1 when a promise was broken, or when nothing was proved."""
    control = None
    if without is not None:
        _one_of("control", without, CONTROLS)
        control = CONTROLS[without]
        scenario = scenario or control.scenario
        if here or kube:
            raise Unusable(
                "a guarantee can be taken away only from a shop of the drill's own: leave out --here and --kube"
            )
    scenario = scenario or "transacciones"
    _one_of("scenario", scenario, SCENARIOS)
    _one_of("mix", mix, MIXES)
    if here and kube:
        raise Unusable("--here is a shop on this machine and --kube one in a cluster: leave one of them out")
    if kube and not SCENARIOS[scenario].kube:
        able = ", ".join(name for name, found in SCENARIOS.items() if found.kube)
        raise Unusable(f"{scenario} cannot be done to pods: with --kube it is one of {able}")
    if every != 1 and scenario != "storm":
        raise Unusable(f"--every is for the scenario storm: {scenario} has its own times")
    if here:
        Running.read(data)
    _many_connections()
    order = Order(
        scenario=scenario,
        folder=(folder or FOLDER / f"{_now()}-{scenario}").absolute(),
        here=data if here else None,
        kube=Cluster(namespace) if kube else None,
        mix=mix,
        seed=seed,
        purchases=purchases,
        rate=rate,
        down_seconds=down,
        every_seconds=every,
        buyers=buyers,
        tokens=tokens,
        patience_seconds=patience or (30 if control else 120),
        without=without,
        must_break=control.promises if control else frozenset(),
    )
    with _Progress(as_json) as progress:
        certificate = asyncio.run(run_drill(order, progress.tell))
    report = order.folder / REPORT
    report.write_text(
        html(f"zoco drill {scenario}", certificate.meter, certificate.faults, certificate.rows()), encoding="utf-8"
    )
    if as_json:
        out.print_json(json.dumps(certificate.as_json(), ensure_ascii=False))
    else:
        out.print(certificate.shown())
        _print_breaches(certificate.verdict, EXAMPLES)
        out.print(f"books, journal and report: {order.folder}", markup=False)
    if not certificate.holds:
        raise typer.Exit(1)


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
    _print_breaches(verdict)
    out.print(f"accepted {verdict.accepted}, sold {verdict.sold}, refused {verdict.refused}")
    out.print(f"lost {verdict.lost}, doubled {verdict.doubled}, oversold {verdict.oversold}")


def _print_breaches(verdict: Verdict, most: int = LISTED) -> None:
    """At most so many of each promise."""
    printed: Counter[int] = Counter()
    for breach in verdict.breaches:
        printed[breach.promise] += 1
        if printed[breach.promise] <= most:
            out.print(f"promise {breach.promise}: {breach.about}: {breach.says}", markup=False)
    for promise, count in sorted(verdict.counts.items()):
        if count > most:
            out.print(f"promise {promise}: {count - most:,} more", markup=False)


class _Progress:
    """One line that changes, on a terminal; elsewhere a line now and then; nothing beside JSON on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._live = Live(console=err, refresh_per_second=5, transient=True) if err.is_terminal and not quiet else None
        self._next = 0.0

    def __enter__(self) -> _Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def tell(self, text: str, meter: Meter | None) -> None:
        if self._live:
            self._live.update(say(_line(meter) if meter else text))
        elif meter is None or time.monotonic() > self._next:
            self._next = time.monotonic() + LINE_SECONDS
            err.print(_line(meter) if meter else text, markup=False)

    async def watch(self, meter: Meter) -> None:
        while True:
            await asyncio.sleep(1)
            self.tell("", meter)


def _line(meter: Meter) -> str:
    last = meter.points[-1] if meter.points else None
    latency = f"{last.accept[1] * 1000:,.0f} ms to 202 (p99)" if last and last.accept else "no answers"
    rate = last.arrived if last else 0
    return (
        f"{meter.arrived:,} requests, {rate}/s; accepted {meter.accepted:,}, finished {meter.sold + meter.refused:,}, "
        f"backlog {meter.backlog:,}; {latency}"
    )


def _one_of(what: str, name: str, known: dict[str, Any]) -> None:
    if name not in known:
        raise Unusable(f"there is no {what} {name}: it is one of {', '.join(known)}")


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def _many_connections() -> None:
    """While a service stands still, its callers wait: each has a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
