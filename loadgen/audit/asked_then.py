"""Where nobody but these clients bought, on their machine: what the book has was asked for when it says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from loadgen.audit.books import Journal
from loadgen.audit.clients import ClientJournal
from loadgen.audit.clocks import AHEAD, is_moment
from loadgen.audit.keys import asked, entry_id
from loadgen.audit.model import REQUESTS
from loadgen.audit.text import Text
from loadgen.audit.verdict import Verdict

# A date may stand still for as long as `AHEAD`; what is beyond that, two looks at one clock differ by less than.
APART_SECONDS: Final = AHEAD.total_seconds() + 1
# By a clock that was set by more than this meanwhile nothing is told.
SET_SECONDS: Final = 1.0
SET: Final = Text("the clients' clock was set meanwhile, or nobody says whether: no date is compared with theirs")
ACCEPTED: Final = (200, 202)


class Asked:
    """When each purchase and each entry was first asked for, and when last accepted, by the hash of its id."""

    def __init__(self) -> None:
        self.first: dict[int, float] = {}
        self.last: dict[int, float] = {}
        # Whether all clients say that their clock went on by itself.
        self.sure = True

    def read(self, journal: ClientJournal) -> None:
        """Raises Unreadable."""
        under_way: dict[Any, int] = {}
        sure = False
        for _, note in journal.notes():
            about = _about(note)
            if about:
                under_way[note["n"]] = which = hash(about)
                self.first[which] = min(note["t"], self.first.get(which, note["t"]))
            elif note.get("status") in ACCEPTED and note["n"] in under_way:
                which = under_way.pop(note["n"])
                self.last[which] = max(note["t"], self.last.get(which, note["t"]))
            if note.get("closed"):
                was_set = note.get("clockSet")
                sure = isinstance(was_set, int | float) and was_set <= SET_SECONDS
        self.sure = self.sure and sure


def asked_then(verdict: Verdict, compras: Journal, clients: Sequence[ClientJournal]) -> None:
    """Promise 7: the date of a purchase, or an entry, is not before it was asked for, nor after it was accepted. Raises
    Unreadable."""
    known = Asked()
    for journal in clients:
        known.read(journal)
    if not known.sure:
        verdict.in_part(7, SET)
        return
    for place, saying in compras.sayings():
        about, _, kind = saying.id.rpartition(":")
        fecha = saying.words[0].get("fecha") if kind in REQUESTS and saying.words else None
        if (which := hash(about)) not in known.first or not is_moment(fecha):
            continue
        then = datetime.fromisoformat(str(fecha)).timestamp()
        first, last = known.first[which], known.last.get(which, then)
        if not first - APART_SECONDS <= then <= last + APART_SECONDS:
            why = "no clock showed that time when its client asked for it"
            where = partial(compras.where, place)
            verdict.breach(7, about, why, book="compras", where=where, field="fecha", stands=fecha, rules=[first, last])


def _about(note: dict[str, Any]) -> str:
    """What a note says that was asked for or entered; "": nothing, or badly."""
    if note.get("asks"):
        return asked(note)[0]
    return entry_id(note["key"]) if "enters" in note else ""
