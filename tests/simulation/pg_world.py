"""A state of the model, the rules that it keeps, and what may go wrong in it. `pg_model.py` says what follows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple, TypeVar

from pg_business import Book, Diario, Rows, key

T = TypeVar("T")

# The rules of the store, and what each is there for; `pg_code.py` has who keeps each. A model without one of them must
# break.
RULES: Final = {
    "row lock": "S1 locks the rows that it reads: else an update is lost",
    "rows in order": "S1 locks them in the order of their keys: else a deadlock",
    "absent rows in order": "S4 inserts them in the order of their keys: else a deadlock",
    "do nothing": "S4 does not lock a row that is there already (ON CONFLICT DO UPDATE): else a deadlock",
    "count": "S4 counts what it inserted, and decides anew: else something is decided twice",
    "empty row": "a decision that leaves no row inserts an empty one: else it races with the row's first one",
    "recuerdo": "what was decided once is not decided again",
    "silence": "what said nothing has nothing to say again: else two services ask each other for ever",
    "second statement": "S2 is a statement of its own: in S1's snapshot a rival's decision is missing",
    "advisory lock": "numbers are given under a lock: with a SEQUENCE readers skip what commits late",
    "held to the commit": "that lock is held until the commit is visible",
    "base under the lock": "max(seq) is read once the lock is there, in a new statement",
    "one place for it": "that lock is taken in the same place by all: else a deadlock",
    "WAL record": "a batch of repeats writes one, and so waits for what it has seen",
    "synchronous": "a commit waits for its standby",
    "no timeout": "a commit whose wait was cancelled is not believed",
    "unknown is done again": "a commit whose answer was lost: the same batch again, not taken for done",
    "commit first": "nothing is said before the commit",
    "ack last": "acked when all is said",
    "accept by writing": "a front door answers by what a batch of its own says, not by what it reads",
    "voces": "the words of a dead front door are said by another",
    "voces wait": "… once a WAL record of its own is on the standby",
    "dicho last": "… and `dicho` moves when they are said",
    "writing lock": "… whose lock is its connection's for writing: it is dead once its last COMMIT has ended",
    "asking waits": "the resender writes a WAL record before it asks by what it has read",
    "resender": "what is not at its end is asked for again",
    "rows forgotten": "the rows that a process keeps go with its connection: a failover makes their versions anew",
    "readers wait": "whoever shows records waits until the standby has them: in the code, by a new connection only",
}
# What may be otherwise, and no promise breaks.
CHOICES: Final = {
    "advisory lock last": "the advisory lock may be the first of all: then one batch of a service goes on at a time",
    "not given up": "a COMMIT whose answer was lost may be given up: the connection's death has others say its words",
}

FAULTS: Final = {
    "crash": "a process dies",
    "failover": "the primary is gone, the standby goes on",
    "restart": "the primary dies and comes back: what waited for the standby is visible",
    "cancel": "a COMMIT's wait is cancelled, and it returns success with a warning",
    "cut": "a connection breaks while its COMMIT's answer is under way",
    "again": "the broker hands out a message, and keeps a copy",
    "early": "the resender asks though nothing is late",
}

_FAULTS: Final = tuple(FAULTS)
ADVISORY: Final = "!"
# Where a process is when it has no transaction.
Kept = tuple[tuple[str, tuple[int, int]], ...]
OUTSIDE: Final = ("idle", "publish", "ack")


class Proc(NamedTuple):
    """A consumer, or a front door: what it does next, and what it has in its hands."""

    service: int
    at: str = "idle"
    batch: tuple[str, ...] = ()
    todo: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    rows: Rows = ()
    snapshot: Diario = ()
    new: Rows = ()
    records: Diario = ()
    # The number before its first record's, where that was read too early; -1.
    base: int = -1
    words: tuple[str, ...] = ()
    # A front door's number, as long as there is a record that it may not have said the words of.
    instance: int = 0
    # Whose words it says.
    speaks_for: int = 0
    # The rows that it has seen, and their versions: only where they are not forgotten.
    kept: Kept = ()


class Commit(NamedTuple):
    """In the primary's WAL, and not on the standby."""

    # Which process waits for it; -1: none, any more.
    by: int
    service: int
    rows: Rows
    records: Diario
    held: tuple[str, ...]
    visible: bool = False


class Other(NamedTuple):
    """A service that decides at once: its rows, what it has seen, and its last word about each."""

    rows: Rows = ()
    seen: tuple[str, ...] = ()
    known: tuple[tuple[str, tuple[str, ...]], ...] = ()


class World(NamedTuple):
    sees: tuple[Book, ...]
    standby: tuple[Book, ...]
    procs: tuple[Proc, ...]
    queues: tuple[tuple[str, ...], ...]
    others: tuple[Other, ...]
    faults: tuple[int, ...]
    wal: tuple[Commit, ...] = ()
    # POSTs that nobody has answered.
    posts: tuple[str, ...] = ()
    # Front doors that are no more, and may have words that nobody has said.
    dead: tuple[int, ...] = ()
    # A message that became a dead letter elsewhere.
    broken: str = ""
    # So many COMMITs the new connections still wait for.
    awaited: int = 0
    # Of the SEQUENCE that must not be.
    sequence: int = 0


class Step(NamedTuple):
    name: str
    # The breach, if it is one.
    to: World | str
    fault: bool = False


@dataclass(frozen=True)
class Setup:
    """A small shop."""

    # Of each service that is looked at, how many.
    processes: dict[str, int]
    # How often each may happen.
    faults: dict[str, int] = field(default_factory=dict)
    # What each service has decided already, what is said next, and what is asked.
    decided: dict[str, Sequence[str]] = field(default_factory=dict)
    said: Sequence[str] = ()
    posts: Sequence[str] = ()
    batch: int = 1
    # Other purchases keep the queues from ever being empty: nobody asks again.
    busy: bool = False
    # A new connection commits a WAL record, and waits for the standby, before anything is read by it.
    connections_wait: bool = False
    without: frozenset[str] = frozenset()


NOTHING: Final[dict[str, Any]] = {
    "todo": (), "held": (), "rows": (), "snapshot": (), "new": (), "records": (), "words": (), "base": -1,
}  # fmt: skip


def wants(proc: Proc) -> str | None:
    """The lock that it takes next."""
    if proc.at in ("S6", "S6 first"):
        return ADVISORY
    return proc.todo[0] if proc.at in ("S1", "S4", "S5") else None


def is_post(name: str) -> bool:
    """At the front door, where it comes by HTTP only."""
    return name.startswith("compra.solicitada")


def applied(books: tuple[Book, ...], commit: Commit) -> tuple[Book, ...]:
    return put(books, commit.service, books[commit.service].with_(commit.rows, commit.records))


def shown(world: World, commit: Commit) -> World:
    return world._replace(sees=applied(world.sees, commit))


def said(world: World, instance: int) -> World:
    """`dicho` is behind what can be seen of this front door's."""
    if not instance:
        return world

    def of(diario: Diario) -> Diario:
        return tuple(record._replace(by=0) if record.by == instance else record for record in diario)

    return world._replace(
        sees=tuple(book._replace(diario=of(book.diario)) for book in world.sees),
        standby=tuple(book._replace(diario=of(book.diario)) for book in world.standby),
        wal=tuple(commit._replace(records=of(commit.records)) if commit.visible else commit for commit in world.wal),
    )


def free(world: World) -> int:
    """A number that no front door has whose words may not be said yet."""
    used = {proc.instance for proc in world.procs} | {*world.dead}
    used |= {record.by for book in world.sees for record in book.diario}
    used |= {record.by for commit in world.wal for record in commit.records}
    return next(number for number in count(1) if number not in used)


def is_of(commit: Commit, instance: int) -> bool:
    return any(record.by == instance for record in commit.records)


def version(book: Book, which: str, service: str) -> int:
    return sum(key(service, record.heard) == which for record in book.diario)


def keeps(kept: Kept, more: Iterable[tuple[str, tuple[int, int]]]) -> Kept:
    return tuple(sorted({**dict(kept), **dict(more)}.items()))


def last(diario: Diario) -> int:
    return diario[-1].seq if diario else 0


def left(world: World, fault: str) -> int:
    return world.faults[_FAULTS.index(fault)]


def spent(world: World, fault: str) -> World:
    at = _FAULTS.index(fault)
    return world._replace(faults=put(world.faults, at, world.faults[at] - 1))


def fault(fault: str, name: str, to: World | str) -> Step:
    """It happened, and can happen once less."""
    return Step(name, to if isinstance(to, str) else spent(to, fault), True)


def change(world: World, number: int, **to: Any) -> World:
    return world._replace(procs=put(world.procs, number, world.procs[number]._replace(**to)))


def put(items: tuple[T, ...], at: int, item: T) -> tuple[T, ...]:
    return (*items[:at], item, *items[at + 1 :])


def without(items: Iterable[T], gone: Iterable[T]) -> tuple[T, ...]:
    away = set(gone)
    return tuple(item for item in items if item not in away)
