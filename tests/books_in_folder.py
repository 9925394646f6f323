"""All that the audit looks at, where a test has written it into one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadgen.audit.audit import Books
from loadgen.audit.books import SERVICES, client_journal, from_folder


def books_in(folder: Path, live: Any, dead_letters: Mapping[str, int], line: int) -> Books:
    """The four books of this folder and its `client.jsonl`, where so many may wait for one token. Raises Unreadable."""
    return Books(
        **{name: from_folder(folder, name) for name in SERVICES},
        clients=client_journal(folder / "client.jsonl"),
        live=live,
        dead_letters=dead_letters,
    )
