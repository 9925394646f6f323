"""The command `zoco bench`."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from ops.console import Speaker
from ops.errors import UserError
from ops.i18n import say
from zoco.options import JsonOption

FOLDER: Final = Path(".bench")

out = Speaker()
err = Speaker(stderr=True)


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="A minute and a half; rough.")] = False,
    long: Annotated[bool, typer.Option("--long", help="With 1,000,000 purchases behind it.")] = False,
    write: Annotated[Path | None, typer.Option(help="Put the tables into this file, and a plot beside it.")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where books and logs go; emptied first.")] = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Measure Zoco beside the least that could do the same, in turn. Exit code 1 when the audit finds a breach."""
    import structlog
    import uvloop

    from loadgen.bench import table
    from loadgen.bench.place import BenchFailed
    from loadgen.bench.plan import LONG, QUICK, Plan
    from loadgen.bench.run import bench as run_bench

    if quick and long:
        raise UserError("--quick and --long are two lengths of the same: give one")
    # What the bus has to say of each new virtual host is no news, and stdout is for the findings.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    plan = QUICK if quick else LONG if long else Plan()
    _emptied(folder)
    try:
        findings, verdict = uvloop.run(run_bench(plan, folder.absolute(), err.say))
        if write is not None:
            table.write(findings, write)
    except (BenchFailed, ValueError) as error:
        raise UserError(str(error)) from error
    if as_json:
        out.json({**findings.as_json(), "audit": verdict.as_json()})
    else:
        out.print(table.markdown(findings, say))
        says = "audit: lost {lost}, doubled {doubled}, oversold {oversold}"
        out.say(says, verdict.lost, verdict.doubled, verdict.oversold)
    if not verdict.holds:
        raise typer.Exit(1)


def _emptied(folder: Path) -> None:
    """Raises UserError when something else is in it."""
    if folder.exists() and not (folder / "rabbitmq").exists() and any(folder.iterdir()):
        raise UserError("{folder} is no bench's folder: take another one with --out", folder)
    shutil.rmtree(folder, ignore_errors=True)
