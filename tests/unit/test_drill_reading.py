"""When a drill reads the books: once each service answers, whichever of its processes is just starting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
import pytest

from loadgen.audit.text import Unreadable
from loadgen.audit.verdict import Verdict
from loadgen.drill import drill
from loadgen.drill.drill import Drilled
from loadgen.drill.target import LocalTarget
from ops.running import Keys

REFUSED = aiohttp.ClientConnectionError("Cannot connect to host 127.0.0.1:26819")


def read_at_the(times: int, error: Exception, tmp_path: Path) -> tuple[Drilled, Callable[[], int]]:
    """A shop whose books can be read then, and not before; and how often somebody has tried."""
    tries = 0

    async def audit(journals: Sequence[Path]) -> Verdict:
        nonlocal tries
        tries += 1
        if tries < times:
            raise error
        return Verdict()

    shop = Drilled("http://here", Keys("", ""), LocalTarget(tmp_path), audit)
    return shop, lambda: tries


async def test_the_books_are_read_once_the_process_that_is_asked_has_started(tmp_path: Path) -> None:
    shop, tries = read_at_the(3, REFUSED, tmp_path)
    assert (await drill._audited(shop, []))[1] is None
    assert tries() == 3


async def test_books_that_nobody_shows_and_those_that_are_wrong_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, tries = read_at_the(3, Unreadable("{what} is damaged", "a journal"), tmp_path)
    assert "a journal is damaged" in str((await drill._audited(shop, []))[1]) and tries() == 1
    monkeypatch.setattr(drill, "ANSWER_SECONDS", 0.0)
    shop, tries = read_at_the(3, REFUSED, tmp_path)
    assert "26819" in str((await drill._audited(shop, []))[1]) and tries() == 1
