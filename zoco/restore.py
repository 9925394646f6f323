"""The command `zoco restore`: the four books as they are in a backup; what came since is listed, and thrown away."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from broker.services import SERVICES, Service
from ops.cluster import NAMESPACE
from ops.console import Speaker, table
from ops.errors import UserError
from ops.i18n import say
from ops.running import DATA
from zoco.backup import FILE, Reach, SettingsOption, make, newest
from zoco.books import Books, identity, until_back
from zoco.options import DataOption, JsonOption, KubeOption, NamespaceOption

if TYPE_CHECKING:
    from ops.backup import Manifest, Member

# So many purchases are named one by one.
LISTED: Final = 20
# About which purchases and entries, by service.
Lost: TypeAlias = dict[Service, list[str]]
out = Speaker()


def restore(  # noqa: PLR0913, PLR0917 - each is an option of the command
    file: Annotated[Path, typer.Argument(help="What `zoco backup` made; or a folder: the newest in it.")],
    check: Annotated[bool, typer.Option("--check", help="Only say what would be thrown away.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = DATA,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    settings: SettingsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put all four books back as they are in a backup. What was bought since is thrown away: it is listed first.

    The services have to run, each with any book, an empty one too. Safe to stop, and to start again: who hears from a
    book that is back decides nothing until its own is.
    """
    shop = Reach(data, namespace if kube else None, settings)
    if file.is_dir():
        file = newest(file)
    if not as_json:
        out.say("from {file}:", file)
    lost = put_all_back(shop, file, check=check, yes=yes, quiet=as_json)
    if as_json:
        out.json({"file": str(file), "thrownAway": lost})
    elif not check:
        out.say("all four books are back, as of {file}", file)


def adopt(shop: Reach, *, yes: bool, quiet: bool) -> tuple[Path, Lost]:
    """Go on from where all four books agree now: as from a backup of that, which is kept. Raises UserError."""
    file = Path(datetime.now(UTC).strftime(FILE))
    with shop() as books:
        make(books, file, quiet=quiet)
    return file, put_all_back(shop, file, check=False, yes=yes, quiet=quiet)


def put_all_back(shop: Reach, file: Path, *, check: bool, yes: bool, quiet: bool) -> Lost:
    """Returns, by service, about which purchases and entries something is thrown away. Raises UserError."""
    from ops import backup as backups

    manifest = backups.read(file)
    with shop() as books:
        lost = {name: _thrown_away(books, file, name, manifest.books[name]) for name in SERVICES}
        if not quiet:
            _list(lost)
        if check:
            return lost
        if any(lost.values()) and not yes:
            typer.confirm(say("Throw this away, and go on from {file}?", file), abort=True)
        after = _put(books, manifest, file, quiet=quiet)
    if waits := until_back(shop, after):
        raise UserError("the books are put back, and not all services went on by now: {why}", waits)
    return lost


def _put(books: Books, manifest: Manifest, file: Path, *, quiet: bool) -> dict[Service, int]:
    """Returns the generation as which each book goes on."""
    from ops import backup as backups

    states = books.states()
    # Which books are not believed where: what they have said waits in a queue.
    doubted = [(state["doubtOf"], state.get("doubtBook")) for state in states.values()]
    now = {
        name: (
            state["book"]["heights"],
            [*state["book"]["formerly"], *(book for of, book in doubted if of == name and book)],
        )
        for name, state in states.items()
    }
    heads = backups.going_on(manifest.books, now)
    after = {}
    # The front door first: what it accepts from then on stays.
    for name in SERVICES:
        found = books.put(name, itertools.chain((heads[name].line,), backups.pieces_of(file, name)))
        after[name] = found["generacion"]
        if not quiet:
            out.say("{service}: {count:,} records are back", name, found["registros"])
    return after


def _thrown_away(books: Books, file: Path, service: Service, about: Member) -> list[str]:
    """Which purchases and entries there are records of that are not in the backup."""
    from ops import backup as backups
    from ops.copies import contents, ids

    now = identity(books.state(service))
    backed_up = backups.pieces_of(file, service)
    if (now.book, now.generation) != (about.book, about.generation):
        found = dict.fromkeys(ids(books.records(service)))
        for one in ids(backed_up):
            found.pop(one, None)
    elif (behind := _behind(books.records(service), about)) is not None:
        found = dict.fromkeys(behind)
    else:
        # An older copy of the book, which went on by itself: what it decided otherwise goes, too.
        others = dict.fromkeys(contents(books.records(service)))
        for what in contents(backed_up):
            others.pop(what, None)
        found = dict.fromkeys(one for one, _ in others)
    return list(dict.fromkeys(one.rpartition(":")[0] for one in found))


def _behind(pieces: Iterable[bytes], about: Member) -> list[str] | None:
    """The ids of the records behind those of the backup. None: these begin otherwise."""
    from ops.copies import ids

    found, left = hashlib.sha256(), about.bytes
    rest = iter(pieces)
    first = b""
    while left and (piece := next(rest, b"")):
        found.update(piece[:left])
        left, first = max(0, left - len(piece)), piece[left:]
    if left or found.hexdigest() != about.sha256:
        return None
    return list(ids(itertools.chain((first,), rest)))


def _list(lost: Lost) -> None:
    shown = table("book", "thrown away")
    for name in SERVICES:
        shown.add_row(name, f"{len(lost[name]):,}")
    out.print(shown)
    for what in lost["compras"][:LISTED]:
        out.say("thrown away, or decided anew: {purchase}", what)
    if (more := len(lost["compras"]) - LISTED) > 0:
        out.say("… and {count:,} more: --json lists all", more)
