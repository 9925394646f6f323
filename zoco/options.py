"""Options that several commands have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from loadgen.load.workloads import WORKLOADS
from ops.i18n import say


def whole(text: str) -> int:
    """An id or a price as the front door takes it: what Python reads as one, too (1_0, 1.0, +1), is another's."""
    if not re.fullmatch(r"0|[1-9][0-9]*", text):
        raise typer.BadParameter(say("must be a whole number, in digits alone: 101"))
    return int(text)


DataOption = Annotated[Path, typer.Option("--data", help="The folder that `zoco up` keeps everything in.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
UrlOption = Annotated[str | None, typer.Option("--url", help="The front door; unless told, the one that runs here.")]
KubeOption = Annotated[bool, typer.Option("--kube", help="In the cluster that kubectl points at.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="With --kube: where Zoco is.")]
MixOption = Annotated[str, typer.Option(help="; ".join(f"{name}: {say(mix.says)}" for name, mix in WORKLOADS.items()))]
SeedOption = Annotated[int, typer.Option(help="The same seed: the same requests and the same faults.")]
RateOption = Annotated[float, typer.Option(min=0.1, help="Requests a second, whatever the answers do.")]
BuyersOption = Annotated[int | None, typer.Option(min=1, help="Buyers to register; unless told, as the mix needs.")]
TokensOption = Annotated[int | None, typer.Option(min=1, help="Tokens to put up for sale; as the mix needs.")]
WorkersOption = Annotated[
    int, typer.Option(min=1, help="Processes that send the load, each with a journal: client.jsonl, client-2.jsonl, …")
]
FolderOption = Annotated[Path | None, typer.Option("--out", help="Where journal and report go; unless told, .drill/…")]
