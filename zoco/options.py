"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[Path, typer.Option("--data", help="The folder that `zoco up` keeps everything in.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
KubeOption = Annotated[bool, typer.Option("--kube", help="In the cluster that kubectl points at.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="With --kube: where Zoco is.")]
