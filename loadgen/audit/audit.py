"""The audit: whether the books keep the thirteen promises of the design. It reads journals, queues, what the services
answer and what clients were told; it decides all of it again by rules of its own, and is to be run when all is quiet.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Final

from loadgen.audit import model
from loadgen.audit.asked_then import asked_then
from loadgen.audit.books import Journal
from loadgen.audit.clients import ClientJournal, Clients
from loadgen.audit.compare import same
from loadgen.audit.heights import none_ends_before
from loadgen.audit.live import purchases_are_shown, selling_is_shown
from loadgen.audit.operators import Operators
from loadgen.audit.selling import SEEDED, Selling
from loadgen.audit.showing import Showing
from loadgen.audit.text import Text, Unreadable
from loadgen.audit.unasked import none_unasked
from loadgen.audit.verdict import UNSET, Verdict

# From here on each half of the audit has a process of its own: some 50,000 purchases.
# Among so many records somebody said whose they were, or a version wrote them that does not say it.
LOOKED_AT: Final = 10_000
BIG_BYTES: Final = 100_000_000


@dataclass(slots=True)
class Books:
    """All that is looked at. What is None was not to be had."""

    compras: Journal
    tokens: Journal
    usuarios: Journal
    transacciones: Journal
    clients: Sequence[ClientJournal] | None = None
    # Messages in each dead-letter queue.
    dead_letters: Mapping[str, int] | None = None
    # What the services answer: usuarios, tokens, transacciones and compras as arrays.
    live: Mapping[str, list[Any]] | None = None
    # The seed's files: usuarios and tokens as arrays.
    seeds: Mapping[str, list[dict[str, Any]]] | None = None
    # How many may wait for one token.
    line: int = model.LINE
    # They were read while the shop went on, and cut back to where they agree: what is under way then is not lost.
    cut: bool = False
    # The shop was begun for this, by this version, and nobody bought there but these clients.
    alone: bool = False
    # Why what has no end in them may be on its way; None: it is lost.
    not_quiet: str | None = None


def audit(books: Books) -> Verdict:
    """Check all promises that there is something to check by. Raises Unreadable."""
    verdict = _halves(books)
    with _reading(books) as journals:
        none_ends_before(verdict, journals)
    return verdict


def _halves(books: Books) -> Verdict:
    if sum(journal.size_bytes for journal in _journals(books).values()) < BIG_BYTES:
        verdict = _selling(books)
        verdict.take_in(_showing(books))
        return verdict
    # Each half needs nothing of the other: where there are two processors, big books take half of the time.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    half = context.Process(target=_second_half, args=(books, sender), daemon=True)
    half.start()
    sender.close()
    try:
        verdict = _selling(books)
        other = receiver.recv()
    except EOFError:
        other = MemoryError()
    finally:
        half.kill()
        half.join()
        receiver.close()
    if isinstance(other, MemoryError):
        raise Unreadable("the process that reads compras' book was ended: it had too little memory")
    if isinstance(other, Exception):
        raise other
    verdict.take_in(other)
    return verdict


def _second_half(books: Books, sender: Connection) -> None:
    """In a process of its own."""
    # Who types Ctrl-C ends the first half, and that ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sender.send(_showing(books))
    except Exception as error:  # it is raised where somebody sees it
        error.add_note(traceback.format_exc())
        sender.send(error)


def _selling(books: Books) -> Verdict:
    """Who got what and who paid: tokens, usuarios, transacciones, their seeds and queues."""
    verdict = Verdict(cut=books.cut, alone=books.alone, not_quiet=books.not_quiet)
    with _reading(books) as journals:
        selling = Selling(journals, verdict, books.line)
        selling.run()
        _seeds(verdict, books.seeds, selling)
        selling_is_shown(verdict, books.live, selling)
    depths = books.dead_letters or {}
    if books.dead_letters is None:
        verdict.unchecked[11] = Text("the queues were not looked at")
    elif unsaid := [
        queue for queue in map("{}.muertos".format, model.SERVICES) if not isinstance(depths.get(queue), int)
    ]:
        verdict.unchecked[11] = Text("nobody says how many messages are in {queues}", ", ".join(unsaid))
    for queue, count in depths.items():
        if count:
            why = "there are dead letters: `zoco dead-letters list` shows why"
            verdict.breach(11, queue, why, book=queue, field="messages", stands=count, rules=0)
    return verdict


def _showing(books: Books) -> Verdict:
    """What a buyer was shown: compras' book, and what clients were told."""
    verdict = Verdict(cut=books.cut, alone=books.alone, not_quiet=books.not_quiet)
    with _reading(books) as journals:
        showing = Showing(journals, verdict)
        showing.run()
        purchases_are_shown(verdict, books.live, showing)
        first = next((record for _, record in books.compras.records()), None)
        book = _book(books.tokens)
        operators = Operators(verdict, showing, books.compras)
        Clients(verdict, showing.purchase, showing.rewritten, operators, first, book).check(books.clients or ())
        if books.alone:
            none_unasked(verdict, books.compras, books.clients or ())
            asked_then(verdict, books.compras, books.clients or ())
    return verdict


def _book(tokens: Journal) -> str:
    """The identity of compras' book, as tokens heard it first; "" where nobody said it."""
    heard = (record.origin.split("/") for _, record in islice(tokens.records(), LOOKED_AT))
    return next((origin[1] for origin in heard if origin[0] == "compras" and len(origin) >= 4), "")


def _journals(books: Books) -> dict[str, Journal]:
    return {name: getattr(books, name) for name in model.SERVICES}


def _seeds(verdict: Verdict, seeds: Mapping[str, list[dict[str, Any]]] | None, selling: Selling) -> None:
    """What the seed brought is in no other book: only its own file can tell."""
    if seeds is None:
        if any(selling.seeded.values()):
            verdict.in_part(1, "what the seed gave is believed: name its files with --seed")
        return
    for service, entries in selling.seeded.items():
        due = {str(row["id"]): row for row in seeds.get(service, ())}
        for key, entry in entries.items():
            for name in ("nombre", "saldo", "imagen", "precio"):
                stands, rules = entry.get(name, UNSET), due.get(key, {}).get(name, UNSET)
                if not same(stands, rules):
                    verdict.breach(1 if name == "saldo" else 7, str(entry["altaId"]), "the seed has something else",
                                   book=service, field=name, stands=stands, rules=rules)  # fmt: skip
        # In a backup of before they were written there they are not missing.
        for key in () if verdict.cut else due.keys() - selling.imported[service]:
            for promise in (7, 1) if service == "usuarios" else (7,):
                verdict.breach(promise, f"semilla:{key}", "this is in the seed, and was never imported", book=service,
                               field="id", rules=f"semilla:{key}:{SEEDED[service]}")  # fmt: skip


@contextmanager
def _reading(books: Books) -> Iterator[dict[str, Journal]]:
    """The journals, until they are let go of. Millions of objects, none of them garbage, are not looked through."""
    enabled, journals = gc.isenabled(), _journals(books)
    gc.disable()
    try:
        yield journals
    finally:
        if enabled:
            gc.enable()
        for journal in journals.values():
            journal.close()
