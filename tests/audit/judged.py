"""The books of a story, edited or not, before the audit."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from audit_shop import CLIENT, LIVE, SEEDS
from audit_stories import STORIES
from breaches import Breach
from edited_books import SERVICES, Edited

from loadgen.audit.audit import Books, audit
from loadgen.audit.books import from_folder
from loadgen.audit.clients import client_journal
from loadgen.audit.text import Unreadable
from loadgen.audit.verdict import Verdict


def judged(folder: Path, story: str, **more: Any) -> Verdict:
    """What the audit says of these books and their client. Raises Unreadable."""
    journals = {name: from_folder(folder, name) for name in SERVICES}
    if line := STORIES[story].line:
        more["line"] = line
    alone = STORIES[story].alone
    return audit(Books(**journals, clients=[client_journal(folder / CLIENT)], alone=alone, **more))


def whole(folder: Path, story: str) -> Verdict:
    """Of all that there is to look at, as it was written."""
    live = json.loads((folder / LIVE).read_text(encoding="utf-8"))
    seeds = json.loads((folder / SEEDS).read_text(encoding="utf-8"))
    return judged(folder, story, live=live, seeds=seeds, dead_letters={f"{name}.muertos": 0 for name in SERVICES})


def found(breach: Breach, story: Path, place: Path) -> tuple[bool, str]:
    """Whether the audit catches it by a promise of its own, and what it said."""
    books = Edited(story)
    breach.edit(books)
    folder = Path(tempfile.mkdtemp(dir=place))
    books.write(folder)
    try:
        verdict = judged(folder, breach.story, live=books.live, dead_letters=books.dead_letters)
    except Unreadable as error:
        return breach.refusable, f"refused: {error}"
    except Exception as error:  # what the audit falls over it does not name
        return False, f"fell: {type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder)
    if breach.promises & verdict.counts.keys():
        return True, f"promises {sorted(verdict.counts)}"
    if breach.unchecked and breach.promises & {*verdict.unchecked, *verdict.partly}:
        return True, f"unchecked {sorted(verdict.unchecked)}, in part {sorted(verdict.partly)}"
    says = "; ".join(f"{one.promise}: {one.about}: {one.says}" for one in verdict.breaches[:3])
    return False, f"promises {sorted(verdict.counts)}, unchecked {sorted(verdict.unchecked)}: {says or 'holds'}"
