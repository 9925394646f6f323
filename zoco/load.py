"""The command `zoco load`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ops.i18n import say
from ops.running import DATA, Keys, Running
from zoco.options import (
    BuyersOption,
    DataOption,
    FolderOption,
    JsonOption,
    MixOption,
    RateOption,
    SeedOption,
    TokensOption,
    UrlOption,
    WorkersOption,
    a_little,
)


def load(  # noqa: PLR0913, PLR0917 - each is an option of the command
    rate: RateOption = 100.0,
    seconds: Annotated[float, typer.Option("--for", parser=a_little, help="Seconds of load.")] = 30.0,
    mix: MixOption = "normal",
    buyers: BuyersOption = None,
    tokens: TokensOption = None,
    seed: SeedOption = 0,
    data: DataOption = DATA,
    url: UrlOption = None,
    token: Annotated[
        str | None, typer.Option("--operator-token", envvar="ZOCO_OPERATOR_TOKEN", help="For --url: registers buyers.")
    ] = None,
    books: Annotated[
        str | None, typer.Option("--books-token", envvar="ZOCO_BOOKS_TOKEN", help="For --url: sees purchases end.")
    ] = None,
    workers: WorkersOption = 1,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Buy at a fixed rate, and write down what was asked and what was told. Exit code 1 when an answer was wrong."""
    from loadgen.drill.report import html
    from loadgen.load.journal import JOURNAL
    from loadgen.load.meter import Meter
    from loadgen.load.plan import Plan
    from loadgen.load.rows import load_rows
    from loadgen.load.run import run
    from loadgen.load.workloads import WORKLOADS, Fixture
    from loadgen.terminal import REPORT, Progress, Unusable, many_connections, new_folder, one_of, out

    one_of("mix", mix, WORKLOADS)
    if url is None:
        running = Running.read(data)
        url, keys = running.urls["compras"], running.keys
    elif token and books:
        keys = Keys(token, books)
    else:
        raise Unusable("the operator registers buyers, and ends stand in the books: --url needs both tokens")
    many_connections()
    folder = new_folder(folder, "load")
    count = max(1, round(rate * seconds))
    usual = WORKLOADS[mix].fixture(count)
    fixture = Fixture.of(buyers or len(usual.buyers), tokens or len(usual.tokens), usual.saldo)
    plan = Plan(mix, fixture, seed, rate, count, workers)
    meter = Meter()
    with Progress(as_json) as progress:
        quiet = asyncio.run(run(plan, folder, url, keys, meter, progress))
    (folder / REPORT).write_text(html(f"zoco load: {mix}", meter, [], load_rows(meter)), encoding="utf-8")
    if as_json:
        out.json(meter.as_json())
    else:
        for name, value in load_rows(meter):
            out.print(f"{say(name):<12} {say(value)}")
        out.say("journal and report: {journal} {report}", folder / JOURNAL, folder / REPORT)
    if meter.wrong or meter.abandoned or not quiet:
        raise typer.Exit(1)
