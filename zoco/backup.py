"""The command `zoco backup`: the four books as of one moment, in one file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from broker.services import Service
from ops.cluster import NAMESPACE
from ops.console import Speaker, table
from ops.errors import UserError
from ops.running import DATA
from zoco.books import Books, reached
from zoco.options import DataOption, JsonOption, KubeOption, NamespaceOption, one_or_more

FILE: Final = "zoco-%Y-%m-%dT%H%M%SZ.tar"
FILES: Final = "zoco-*Z.tar"
out = Speaker()

SettingsOption = Annotated[
    bool, typer.Option("--settings", help="The shop that ZOCO_COMPRAS_URL … and ZOCO_BOOKS_TOKEN name, as in a pod.")
]


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a shop is. Called, it leads there."""

    data: Path
    kube: str | None
    settings: bool

    def __call__(self) -> AbstractContextManager[Books]:
        return reached(self.data, self.kube, settings=self.settings)


def backup(
    file: Annotated[Path, typer.Argument(help="The new file; or a folder, in which it is named by the time.")],
    keep: Annotated[
        int | None, typer.Option(parser=one_or_more, help="In a folder: delete all but the newest so many.")
    ] = None,
    data: DataOption = DATA,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    settings: SettingsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make one file of the four books, as of one moment, while the shop goes on. It is audited before it counts.

    Exit code 1 when a promise is broken in it: then there is no file.
    """
    folder = file if file.is_dir() else None
    if folder is not None:
        from ops.backup import sweep

        sweep(folder)
        file = folder / datetime.now(UTC).strftime(FILE)
    elif keep is not None:
        raise UserError("--keep deletes older files: name a folder, not a file")
    with Reach(data, namespace if kube else None, settings)() as books:
        if doubts := [state["doubt"] for state in books.states().values() if state["doubt"]]:
            raise UserError("a backup of books that do not fit together is none: {why}", doubts[0])
        made = make(books, file, quiet=as_json)
    later = delete_older(file, keep) if keep else []
    if as_json:
        out.json({"file": str(file), **made})
        return
    shown = table("book", "records")
    for name, member in made["books"].items():
        shown.add_row(name, f"{member['records']:,}")
    out.print(shown)
    out.say("{file}: {bytes:,} bytes, audited: every promise holds", file, file.stat().st_size)
    if later:
        out.say("{file} is dated later than now, so it is kept, and not counted: was a clock wrong?", later[-1])


def delete_older(file: Path, keep: int) -> list[Path]:
    """Of those beside this new one all but the newest, so many with it. Returns those that are dated later than it:
    they are none of them."""
    found = sorted(file.parent.glob(FILES))
    until = found.index(file) + 1
    for old in found[:until][:-keep]:
        old.unlink()
    return found[until:]


def newest(folder: Path) -> Path:
    """The newest in it. Raises UserError where there is none, or one that is dated later than now."""
    found = sorted(folder.glob(FILES))
    if not found:
        raise UserError("{folder} holds no backup that `zoco backup` has named by the time: name a file", folder)
    if found[-1].name > datetime.now(UTC).strftime(FILE):
        says = "{file} is dated later than now, so which one is the newest is not known: name the file that you mean"
        raise UserError(says, found[-1])
    return found[-1]


def make(books: Books, file: Path, *, quiet: bool) -> dict[str, Any]:
    """Returns what it says of itself. Raises UserError, Unreadable, and typer.Exit when it does not pass the audit."""
    import msgspec

    from ops import backup as backups

    def progress(what: str, records: Mapping[Service, int]) -> None:
        if not quiet:
            text = ", ".join(f"{name} {count:,}" for name, count in records.items())
            if what == "read":
                out.say("records read: {text}", text)
            else:
                out.say("records up to where all agree: {text}", text)

    with backups.made(file, books.identities, books.records, progress) as (whole, manifest):
        _audit(whole)
        return dict(msgspec.to_builtins(manifest))


def _audit(file: Path) -> None:
    from loadgen.drill.reconcile import reconcile_backup
    from zoco.audit import print_breaches

    verdict = asyncio.run(reconcile_backup(file))
    if not verdict.holds:
        print_breaches(verdict)
        out.say("there is no backup: these books break a promise")
        raise typer.Exit(1)
