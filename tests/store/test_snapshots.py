"""Snapshots of many rows: what they cost whoever waits meanwhile, and the disk."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from store_builders import publicado, reader, state, writer

from services.shared.journal import snapshot
from services.shared.journal.disk import LocalDisk
from services.shared.records import RowCodec
from services.tokens.domain import DOMAIN as TOKENS
from services.usuarios.domain import DOMAIN as USUARIOS

KEPT = Path(__file__).with_name("kept")
# Some five of them.
SEGMENT_BYTES = 250_000
MANY = 3_000


async def published(folder: Path, kind: type[LocalDisk] = LocalDisk) -> tuple[Any, ...]:
    """So many tokens that are all for sale, and a packer that has done what it can. Returns the store's state."""
    async with writer(folder, TOKENS, kind=kind, snapshot_bytes=SEGMENT_BYTES) as store:
        for first in range(0, MANY, 100):
            await store.process_batch([publicado(token) for token in range(first + 1, first + 101)])
        with contextlib.suppress(OSError):
            await store.packer.pack()
        return state(store)


def sizes_of_rows(folder: Path) -> list[int]:
    """Bytes of the rows in each snapshot, oldest first."""
    files = sorted(folder.glob("*.snapshot"))
    return [json.loads(file.read_bytes().partition(b"\n")[0])["sizes"][0] for file in files]


async def test_only_the_newest_snapshot_holds_the_live_rows(tmp_path: Path) -> None:
    written = await published(tmp_path)
    *superseded, newest = sizes_of_rows(tmp_path)
    assert len(superseded) >= 2 and set(superseded) == {0}
    assert 0 < newest < 20 * MANY
    with reader(tmp_path, TOKENS) as store:
        assert state(store) == written and store._snapshot is not None
    # Without it there is no other way than to read all.
    sorted(tmp_path.glob("*.snapshot"))[-1].unlink()
    with reader(tmp_path, TOKENS) as store:
        assert state(store) == written


async def test_those_of_a_version_before_forget_their_rows_too(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(KEPT / "tokens", tmp_path / "tokens"))
    with reader(folder, TOKENS) as store:
        before = state(store)
    was = sizes_of_rows(folder)
    async with writer(folder, TOKENS, snapshot_bytes=9_000) as store:
        await store.packer.pack()
    assert sizes_of_rows(folder) == [*[0] * (len(was) - 1), was[-1]] and len(was) >= 3
    with reader(folder, TOKENS) as store:
        assert state(store) == before and store._snapshot is not None


async def test_a_disk_that_fails_then_leaves_them_as_they_are(tmp_path: Path) -> None:
    class FailingDisk(LocalDisk):
        def replace_aside(self, name: str, data: bytes) -> None:
            if name.endswith(".snapshot") and data.find(b'"sizes":[0,') > 0:
                raise OSError(errno.EIO, "the disk failed")
            super().replace_aside(name, data)

    written = await published(tmp_path, FailingDisk)
    assert all(sizes_of_rows(tmp_path))
    with reader(tmp_path, TOKENS) as store:
        assert state(store) == written
    # The next one who packs finds them.
    async with writer(tmp_path, TOKENS, snapshot_bytes=SEGMENT_BYTES) as store:
        await store.packer.pack()
    *superseded, newest = sizes_of_rows(tmp_path)
    assert newest and not any(superseded)


async def test_while_a_snapshot_is_made_of_many_rows_everything_else_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "AT_ONCE", 100)
    turns, made = 0, []
    once = snapshot.packed_rows

    async def counted(rows: Any, text: Any) -> bytes:
        before = turns
        packed = await once(rows, text)
        made.append((len(rows), turns - before))
        return packed

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr("services.shared.journal.writer.packed_rows", counted)
    ticking = asyncio.create_task(tick())
    await published(tmp_path)
    ticking.cancel()
    assert len(made) >= 3
    assert all(others >= rows // 100 - 1 for rows, others in made), made


def test_a_row_of_a_snapshot_is_the_same_row_whatever_stands_in_its_line() -> None:
    for domain in (TOKENS, USUARIOS):
        codec: RowCodec[Any] = RowCodec(domain.rows)
        rows = list(rows_of(domain, KEPT / domain.name))
        assert len(rows) > 1
        for row in rows:
            read = codec.changed(None, json.loads(codec.text(row)))
            assert read == row and codec.change(None, read) == codec.change(None, row)


def rows_of(domain: Any, folder: Path) -> list[Any]:
    """All the rows that there were after any record of this folder."""
    with reader(folder, domain) as store:
        codec, rows, seen = store._codec, dict[str, Any](), []
        for raw in store.some_records(0, 1 << 30):
            record = json.loads(raw)
            if record["change"] is not None:
                row = rows[record["row"]] = codec.changed(rows.get(record["row"]), record["change"])
                seen.append(row)
        return seen
