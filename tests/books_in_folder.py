"""What the audit finds in all that it looks at, where a test has written it into one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadgen.audit.audit import Books, audit
from loadgen.audit.books import from_folder
from loadgen.audit.clients import client_journal
from loadgen.audit.model import SERVICES
from loadgen.audit.verdict import Verdict


def verdict_of(folder: Path, live: Any, dead_letters: Mapping[str, int], line: int) -> Verdict:
    """Of the four books of this folder and its `client.jsonl`; so many may wait for one token. Raises Unreadable."""
    books = Books(
        **{name: from_folder(folder, name) for name in SERVICES},
        clients=[client_journal(folder / "client.jsonl")],
        live=live,
        dead_letters=dead_letters,
        line=line,
    )
    return audit(books)
