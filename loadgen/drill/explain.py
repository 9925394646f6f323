"""The audit explains itself: what it did to come to its verdict, and each breach in full."""

from __future__ import annotations

from loadgen.audit.verdict import PROMISES, Breach, Verdict
from loadgen.audit.verdict import text as as_text
from ops.i18n import say


def work_rows(verdict: Verdict) -> list[tuple[str, str]]:
    """What was done to come to it."""
    work = verdict.work
    records = ", ".join(f"{name} {count:,}" for name, count in work.records.items())
    reasons = ", ".join(f"{name} {count:,}" for name, count in sorted(work.reasons.items()))
    return [
        (say("records decided again"), f"{sum(work.records.values()):,} ({records})"),
        (say("fields compared"), f"{work.fields:,}"),
        (say("reasons proved"), f"{sum(work.reasons.values()):,} ({reasons})" if reasons else "0"),
        (say("answers compared"), f"{work.answers:,}"),
        (say("rows compared"), f"{work.shown:,}"),
    ]


def block(breach: Breach) -> list[tuple[str, str]]:
    """One breach, for reading: which promise, whose book, where, what stands there and what the rules say."""
    rows = [
        (say("promise"), f"{breach.promise}: {say(PROMISES[breach.promise])}"),
        (say("about"), say(breach.about)),
        (say("why"), say(breach.why)),
        (say("book"), breach.book),
        (say("where"), breach.where),
        (say("field"), breach.field),
    ]
    if breach.field:
        rows += [(say("stands"), as_text(breach.stands)), (say("rules"), as_text(breach.rules))]
    return [row for row in rows if row[1]]
