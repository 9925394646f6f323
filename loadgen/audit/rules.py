"""By which rules a record says that it was decided, where they have changed: there were others before."""

from __future__ import annotations

from loadgen.audit import model
from loadgen.audit.books import Record
from loadgen.audit.findings import Findings, Message, Row, subject
from loadgen.audit.verdict import UNSET


class Rules:
    """Of one audit, which hears of each record in its order."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        # By which rules the requests were decided that stand in a segment of tokens.
        self._by: dict[int, int] = {}

    def said(self, service: str, record: Record, place: int, message: Message) -> None:
        """Whether it says by which rules it was decided where it should, and they are those of the process."""
        ruled, breach = model.ruled(service, message), self._findings.breach
        segment = self._findings.journals[service].segment(place) if ruled else None
        before = record.rules if segment is None else self._by.setdefault(segment, record.rules)
        if record.rules and not ruled:
            why = "of such a record no version says by which rules it was decided"
            breach(7, subject(record.id), why, service, place, "rules", record.rules, UNSET)
        if record.rules != before:
            why = "whoever wrote this decided by other rules before"
            breach(13, subject(record.id), why, service, place, "rules", record.rules, before)
        if ruled and record.rules != model.RULES and self._findings.verdict.alone:
            why = "no process of this version decides by other rules"
            breach(13, subject(record.id), why, service, place, "rules", record.rules, model.RULES)

    def believed(self, decided: tuple[Row, list[Row]], by_ours: tuple[Row, list[Row]]) -> None:
        """By the rules of before something was decided otherwise: only the record itself says that it was by those."""
        if decided != by_ours:
            self._findings.verdict.in_part(
                13, "somebody waits in a line twice by the rules of a version before, and only their records say that"
            )
