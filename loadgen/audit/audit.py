"""The audit: whether the books keep the thirteen promises of the design. It reads journals, queues, what the services
answer and what clients were told; it decides all of it again by rules of its own, and is to be run when all is quiet.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from loadgen.audit import model
from loadgen.audit.books import SERVICES, Journal, Record
from loadgen.audit.clients import ClientJournal, Clients
from loadgen.audit.judge import Judge
from loadgen.audit.live import check_live
from loadgen.audit.verdict import UNSET, Verdict

BELIEVED: Final = "what the seed gave is believed: name its files with --seed"


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


def audit(books: Books) -> Verdict:
    """Check all promises that there is something to check by. Raises Unreadable."""
    verdict = Verdict()
    journals = {name: getattr(books, name) for name in SERVICES}
    try:
        with _no_collections():
            judge = Judge(journals, verdict, books.line)
            judge.run()
            _seeds(verdict, books.seeds, judge)
            check_live(verdict, books.live, judge)
            Clients(verdict, judge, _first(books.compras)).check(books.clients or ())
    finally:
        for journal in journals.values():
            journal.close()
    if books.dead_letters is None:
        verdict.unchecked[11] = "the queues were not looked at"
    for queue, count in (books.dead_letters or {}).items():
        if count:
            why = "there are dead letters: `zoco dead-letters list` shows why"
            verdict.breach(11, queue, why, book=queue, field="messages", stands=count, rules=0)
    return verdict


def _first(journal: Journal) -> Record | None:
    return next((record for _, record in journal.records()), None)


def _seeds(verdict: Verdict, seeds: Mapping[str, list[dict[str, Any]]] | None, judge: Judge) -> None:
    """What the seed brought is in no other book: only its own file can tell."""
    if seeds is None:
        if any(judge.seeded.values()):
            verdict.in_part(1, BELIEVED)
        return
    for service, entries in judge.seeded.items():
        due = {str(row["id"]): row for row in seeds.get(service, ())}
        for key, entry in entries.items():
            for name in ("nombre", "saldo", "imagen", "precio"):
                stands, rules = entry.get(name, UNSET), due.get(key, {}).get(name, UNSET)
                if stands != rules:
                    verdict.breach(1 if name == "saldo" else 7, str(entry["altaId"]), "the seed has something else",
                                   book=service, field=name, stands=stands, rules=rules)  # fmt: skip


@contextmanager
def _no_collections() -> Iterator[None]:
    """Millions of objects, none of them garbage: looking for it again and again takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
