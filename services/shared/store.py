"""The store port: how a service remembers what it decided. `journal/store.py` is the one that needs no database, and
`postgres/store.py` the one for any number of processes.

Whoever needs only a part of it names that part: the processor `BatchStore`, the streams and the reads `RowReader`,
who asks the others of their books `RecordReader`; compras' writer needs all. What a database would have to be asked for
is awaited.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from broker.messages import Message
from services.shared.decision import Domain
from services.shared.heights import BookHeights
from services.shared.room import Room

if TYPE_CHECKING:
    from services.shared.metrics import Metrics
    from services.shared.settings import Settings

Row = TypeVar("Row", bound=Struct)
Row_co = TypeVar("Row_co", bound=Struct, covariant=True)


class Answer(Struct, frozen=True):
    """What came of one message: the facts to tell, or why deciding failed (then nothing changed)."""

    messages: tuple[Message, ...] = ()
    failure: str | None = None
    # The row that it was decided about, as it is now; None also where it was not decided.
    row: Struct | None = None
    # The message was seen before, and these are the last words that were said.
    repeated: bool = False


class Change(Struct, Generic[Row], frozen=True):
    """What one record did, for whoever watches the store: the message's type, whom it is about, and the row now."""

    type: str
    subject: str
    row: Row | None
    # Another process has decided it, beside this one.
    elsewhere: bool = False


class BatchStore(Protocol):
    """Rows by key, changed by messages and by nothing else."""

    async def process_batch(self, batch: Sequence[Message]) -> Sequence[Answer]:
        """Decide each message, in order, once per message id, durably.

        Returns what to publish for each, or why it failed: a message that was seen before changes nothing and is
        answered with the last word about its subject; one of a book that was written again since, with nothing. Each
        word has this book's heights. When this returns, all of it outlives a power cut; until it returns, no reader
        sees any of it. Raises Doubted, with nothing decided, when the messages say that this book, or one of theirs, is
        not what it was. Raises StoreBroken when the disk cannot be believed, Fenced when somebody else decides now: in
        both cases end the process and publish nothing.
        """

    def speaks(self, publish: Callable[[Sequence[Message]], Awaitable[None]]) -> None:
        """By this it publishes, now that this process decides, what those that died have decided and not told."""

    def told(self, messages: Sequence[Message]) -> None:
        """The broker has these, which this store's answers said and did not repeat, and all that they said before."""


class RecordReader(Protocol):
    """The records in their order, as JSON lines: docs/journal.md says what stands in one."""

    @property
    def seq(self) -> int:
        """The sequence number of the last record that this process knows of: 1, 2, 3… without gaps."""

    @property
    def heights(self) -> BookHeights:
        """Which book this is, and what it has heard of the others."""

    async def latest(self) -> int:
        """The number of the last record that there is, whoever wrote it."""

    async def records(self, after: int, size_bytes: int) -> Sequence[bytes]:
        """The next of them behind record `after`: no more than `size_bytes` unless one is longer; none at the end."""


# The most of a list that is shown at once: about a megabyte.
MAX_LINES: Final = 10_000


class RowReader(RecordReader, Protocol[Row_co]):
    """The rows as they are now, and the lists that the domain says they make."""

    @property
    def leads(self) -> bool:
        """Whether this process decides: then what it reads is all there is. Else it may be some moments behind."""

    @property
    def lags(self) -> bool:
        """Whether others write, too, so that what this process knows of may be some moments old. `row` never is, where
        it decides."""

    @property
    def health(self) -> Mapping[str, float] | None:
        """How what lies beneath is, some seconds ago at the most: services/shared/postgres/health.py. None where that
        is no database, while it is away, and for a service that does not ask; empty where nobody can tell."""

    def now(self) -> str:
        """The clock by which records are dated: RFC 3339, in UTC."""

    async def moment(self) -> str | None:
        """A date that nobody else is given, where several processes decide; None: this one alone gives them."""

    @property
    def time(self) -> str:
        """When the last record was written, as its writer's clock had it: "" before there is one."""

    @property
    def full(self) -> bool:
        """There is no room, and a batch waits for it."""

    @property
    def trouble(self) -> str | None:
        """Why a batch waits, if it is for something else."""

    @property
    def room(self) -> Room:
        """What the disk has room for."""

    @property
    def unfinished(self) -> int:
        """How many rows are not finished, as far as this process has heard."""

    def unfinished_of(self, kind: type[Struct]) -> int:
        """How many of them are of this class. Asked for with every purchase."""

    async def durable(self) -> None:
        """Return once all that was read here until now outlives a power cut, and the loss of a machine: for whoever
        acts on it without a batch. Raises Fenced when it is gone."""

    async def row(self, key: str) -> Row_co | None: ...

    async def rows_of(self, keys: Iterable[str]) -> Mapping[str, Row_co]:
        """Those that there are, and can be read: while they are unfinished, no newer than the records up to `seq`."""

    async def unfinished_rows(self) -> Mapping[str, Row_co]:
        """By their keys, oldest first."""

    async def public_list(self, limit: int = MAX_LINES, after: int = 0) -> tuple[bytes, int | None]:
        """What the public sees of so many rows with numbers above `after`, as a JSON array; and the last of these
        numbers, where there are more. In the order of the numbers, or, if these are all, as they came."""

    async def listed(
        self, limit: int, *, after: int = 0, where: Mapping[str, int | None]
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """The messages that are the lines of `domain.listing`, in order, each with its number, which is above `after`.

        `where` has the value wanted of some of the listing's fields (None: any).
        """


class Store(BatchStore, RowReader[Row], Protocol[Row]):
    """All of it, and its life: `open`, `until_leading`, then `process_batch` with `tend` beside it, `close`."""

    def watch(self, heard: Callable[[Change[Row]], None]) -> None:
        """Call this for each record from now on, once it is durable, whoever decided it."""

    async def open(self) -> None:
        """Read what there is, if it can be read now. Raises Damaged, OSError, WrongSetting."""

    @property
    def opened(self) -> bool:
        """Whether it was read."""

    async def until_leading(self, url: str) -> None:
        """Return once this process decides, and others can read (`leader_url`) that it answers at this URL. Until then
        take in what others decide. Raises Damaged, Fenced, StoreBroken."""

    async def tend(self) -> None:
        """What is to be done for as long as this process leads. Raises Fenced when somebody else does."""

    async def alone(self) -> None:
        """Return once no other process does what one alone has to."""

    async def begin_again(self, heights: BookHeights, batches: AsyncIterator[Sequence[Message]]) -> None:
        """Decide all this in a new book, with these heights, and put it in the place of this one: whole, or not at all.

        The process has to end then, and to read it. Raises Fenced, StoreBroken, OSError.
        """

    async def put_back(
        self, heights: BookHeights, records: AsyncIterator[Sequence[bytes]], told: int | None = None
    ) -> None:
        """Put a book of these records, from the first on, in the place of this one: whole, or not at all.

        It goes on with these heights; what records behind `told` say, the process that decides next says. The process
        has to end then, and to read it. Raises Damaged when they are not records as they were written, Fenced,
        StoreBroken, OSError.
        """

    async def told_upto(self) -> int:
        """Up to which record the broker has all words, as far as is known, while nothing is decided."""

    def leader_url(self) -> str | None:
        """Where the process that leads answers, if it ever said."""

    async def close(self) -> None:
        """Give everything back; another process may lead from now on."""


# What opens the store of a service. The last is its clock: RFC 3339, in UTC.
OpenStore: TypeAlias = Callable[["Domain[Any]", "Settings", "Metrics", Callable[[], str]], Store[Any]]


# The errors of a disk, or of a quota or a limit on one file (`prlimit --fsize`), that has no room.
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreBroken(Exception):
    """The disk cannot be believed any more: a failed sync, a file that went away. Start anew and read again."""


class Away(Exception):
    """What keeps the books does not answer now. Says what to do."""


class Fenced(Exception):
    """Somebody else decides now."""


class Damaged(Exception):
    """The journal is not what was written. Says the file, the offset in bytes, and what to do."""
