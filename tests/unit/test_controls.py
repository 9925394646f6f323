"""The negative controls take away what they say, and refuse what they do not know. That the audit sees each of them is
shown by tests/drill and by `zoco drill --without`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS

from loadgen.audit.verdict import PROMISES
from loadgen.drill import controls
from loadgen.drill.controls import CONTROLS, Parts
from loadgen.drill.guarantees import GUARANTEES
from services.shared.journal.disk import LocalDisk
from services.shared.metrics import Metrics

APP = "services.tokens.main:app"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LocalDisk]:
    """One that writes later."""
    disk = CONTROLS["journal"].disk(tmp_path, Metrics("tokens"))
    disk.create("book")
    yield disk
    disk.close()


@pytest.mark.parametrize("name", GUARANTEES)
def test_each_control_takes_a_part_away_and_says_which_promise_breaks(name: str) -> None:
    parts = [(getattr(CONTROLS[name], field.name), field.default) for field in fields(Parts)]
    said = "".join(part.__doc__ or "" for part, whole in parts if part is not whole)
    assert "Shows" in said
    assert "Breaks" in said
    assert CONTROLS.keys() == GUARANTEES.keys()
    assert set(PROMISES) >= GUARANTEES[name].promises > set()


async def test_without_the_journal_what_is_written_is_read_and_is_not_on_the_disk(disk: LocalDisk) -> None:
    disk.append("book", b"0123")
    disk.append("book", b"4567")
    await disk.sync("book")
    assert (disk.folder / "book").read_bytes() == b""
    assert disk.size("book") == 8
    assert [disk.read("book"), disk.read("book", 2, 3), disk.read("book", 6, 9)] == [b"01234567", b"234", b"67"]


async def test_without_the_journal_it_is_on_the_disk_later(disk: LocalDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "LATE_SECONDS", 0.01)
    disk.append("book", b"0123")
    disk.note("mark", b"4")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (disk.folder / "mark").exists():
            await asyncio.sleep(0.01)
    assert (disk.folder / "book").read_bytes() == b"0123"
    disk.append("book", b"45")
    assert [disk.read("book"), disk.read("book", 3, 2), disk.read("book", 5, 1)] == [b"012345", b"34", b"5"]


@pytest.mark.parametrize("arguments", [[], ["dedupe"], ["none", APP], ["dedupe,journal", APP]])
def test_a_control_that_is_not_known_is_refused_and_the_known_are_named(arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "loadgen.drill.controls", *arguments], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert all(name in run.stderr for name in CONTROLS)
