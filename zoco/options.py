"""Options that several commands have."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from loadgen.load.workloads import WORKLOADS
from ops.i18n import say


def whole(told: str | int) -> int:
    """A number as the front door takes it: what Python reads as one, too (1_0, 1.0, +1), is another's."""
    if not re.fullmatch(r"0|[1-9][0-9]*", str(told)):
        raise typer.BadParameter(say("must be a whole number, in digits alone: 101"))
    return int(told)


def one_or_more(told: str | int) -> int:
    if not whole(told):
        raise typer.BadParameter(say("must be 1 or more"))
    return int(told)


def decimal(told: str | float, least: float = 0) -> float:
    """Seconds or a rate. What Python reads as a number, too (1e9, inf, nan), is none that anybody waits for."""
    if not re.fullmatch(r"(0|[1-9][0-9]{0,11})(\.[0-9]+)?", str(told)):
        raise typer.BadParameter(say("must be a number, in digits and at most one point: 2.5"))
    if float(told) < least:
        raise typer.BadParameter(say("must be {least} or more", least))
    return float(told)


def front_door(told: str) -> str:
    """What is below takes a port modulo 65536, and would ask whoever is there. Of the rest, who asks it says more."""
    try:
        wrong = urlsplit(told).port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise typer.BadParameter(say("a port is a number from 1 to 65535"))
    return told


DataOption = Annotated[Path, typer.Option("--data", help="The folder that `zoco up` keeps everything in.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", parser=front_door, metavar="TEXT", help="The front door; unless told, the one that runs here."
    ),
]
KubeOption = Annotated[bool, typer.Option("--kube", help="In the cluster that kubectl points at.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="With --kube: where Zoco is.")]
PostgresOption = Annotated[
    bool, typer.Option("--postgres", help="Keep the books in a PostgreSQL of its own: each process decides.")
]
StandbyOption = Annotated[
    bool, typer.Option("--standby", help="With --postgres: a second one has each commit, and takes over.")
]
SparesOption = Annotated[
    bool,
    typer.Option("--spares/--no-spares", help="Keep each service's next process ready, for when one dies."),
]
ReplicasOption = Annotated[
    str, typer.Option(help="Processes of a service, as tokens=3,usuarios=2. Of files one writes, the others read.")
]
MixOption = Annotated[str, typer.Option(help="; ".join(f"{name}: {say(mix.says)}" for name, mix in WORKLOADS.items()))]
SeedOption = Annotated[int, typer.Option(help="The same seed: the same requests and the same faults.", parser=whole)]
a_little = partial(decimal, least=0.1)
RateOption = Annotated[float, typer.Option(parser=a_little, help="Requests a second, whatever the answers do.")]
BuyersOption = Annotated[
    int | None, typer.Option(parser=one_or_more, help="Buyers to register; unless told, as the mix needs.")
]
TokensOption = Annotated[
    int | None, typer.Option(parser=one_or_more, help="Tokens to put up for sale; as the mix needs.")
]
WorkersOption = Annotated[
    int,
    typer.Option(
        parser=one_or_more, help="Processes that send the load, each with a journal: client.jsonl, client-2.jsonl, …"
    ),
]
FolderOption = Annotated[Path | None, typer.Option("--out", help="Where journal and report go; unless told, .drill/…")]
