"""Where nobody but these clients bought: every purchase in the book is one that they asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from loadgen.audit.books import Journal
from loadgen.audit.clients import ClientJournal
from loadgen.audit.findings import subject
from loadgen.audit.keys import asked
from loadgen.audit.verdict import Verdict


def none_unasked(verdict: Verdict, compras: Journal, clients: Sequence[ClientJournal]) -> None:
    """Promise 10: who asks once is not sold twice, and who is refused is not sold anything. A client notes each request
    before it sends it. Raises Unreadable."""
    known = {asked(note)[0] for journal in clients for _, note in journal.notes() if note.get("asks")}
    for place, saying in compras.sayings(silent=True):
        if saying.id.endswith(":compra.solicitada") and (about := subject(saying.id)) not in known:
            why = "nobody asked for this purchase"
            where = partial(compras.where, place)
            verdict.breach(10, about, why, book="compras", where=where, field="id", stands=about)
