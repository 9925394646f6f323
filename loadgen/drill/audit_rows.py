"""What a drill says of its audit, in a few rows."""

from __future__ import annotations

from loadgen.audit.verdict import Verdict
from loadgen.load.rows import Row, row
from ops.i18n import Text


def audit_rows(verdict: Verdict) -> list[Row]:
    """Of all that is in the shop's books, other loads' purchases too."""
    money = Text("wrong for {users} users", verdict.counts[1]) if verdict.counts[1] else Text("exact")
    return [
        Row("lost", f"{verdict.lost:,}"),
        Row("doubled", f"{verdict.doubled:,}"),
        Row("oversold", f"{verdict.oversold:,}"),
        Row("money", money),
        *(
            row("in part", "promise {number}: {why}", number, why)
            for number, reasons in sorted(verdict.partly.items())
            for why in reasons
        ),
    ]
