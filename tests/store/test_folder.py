"""What is done to a service's folder while it runs, and where that folder lies."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from patience import eventually
from store_builders import (
    FIRST,
    Clock,
    confirmada,
    contents,
    copied,
    disk_on,
    reader,
    recarga,
    solicitada,
    usuario,
    without_marks,
    writer,
)

from broker.messages import Message
from services.shared.decision import Domain
from services.shared.journal.disk import LocalDisk
from services.shared.journal.json_file import view_of
from services.shared.journal.store import WRITER, JsonStore
from services.shared.records import SEAL_BYTES, with_checksum
from services.shared.settings import WrongSetting, read_settings
from services.shared.store import Damaged, StoreBroken
from services.tokens.main import seed as tokens_seed
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS
from services.usuarios.main import seed as usuarios_seed

# Under a running service


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def put_back_from_a_copy(folder: Path) -> None:
    copied(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)


def out_of_sight(folder: Path) -> None:
    """Where nothing can be looked at, nobody has said that it is still there."""
    shutil.rmtree(folder)
    folder.touch()


TAKEN_AWAY = [deleted, emptied, renamed, put_back_from_a_copy, out_of_sight]


@pytest.mark.parametrize("take_away", TAKEN_AWAY, ids=lambda taken: taken.__name__)
async def test_a_writer_whose_folder_is_taken_away_answers_nothing_more(
    tmp_path: Path, take_away: Callable[[Path], None]
) -> None:
    async with writer(tmp_path / "usuarios", USUARIOS) as store:
        await store.process_batch([usuario()])
        take_away(tmp_path / "usuarios")
        with pytest.raises(StoreBroken, match=FIRST):
            await store.process_batch([recarga(1)])
        assert not store.leads and store.seq == 1


@pytest.mark.parametrize("take_away", TAKEN_AWAY, ids=lambda taken: taken.__name__)
async def test_a_writer_with_nothing_to_do_learns_it_too(tmp_path: Path, take_away: Callable[[Path], None]) -> None:
    async with writer(tmp_path / "usuarios", USUARIOS) as store:
        await store.process_batch([usuario()])
        store.check()
        take_away(tmp_path / "usuarios")
        with pytest.raises(StoreBroken, match=FIRST):
            store.check()
        assert not store.leads


async def test_who_follows_does_not_take_an_emptied_folder_for_a_shop_that_begins(tmp_path: Path) -> None:
    async with writer(tmp_path / "usuarios", USUARIOS) as store:
        await store.process_batch([usuario()])
        with reader(tmp_path / "usuarios", USUARIOS) as follower:
            emptied(tmp_path / "usuarios")
            with pytest.raises(StoreBroken, match=FIRST):
                follower.follow()
            with pytest.raises(StoreBroken, match=FIRST):
                await follower.lead()
            assert saldo(follower) == 100
            assert not list((tmp_path / "usuarios").glob("*.jsonl"))


# Who else may look


@pytest.mark.parametrize("domain", [USUARIOS, TRANSACCIONES], ids=lambda domain: domain.name)
async def test_nobody_else_may_look_into_the_folder_or_any_of_its_files(tmp_path: Path, domain: Domain[Any]) -> None:
    old = os.umask(0)
    try:
        folder = tmp_path / domain.name
        for _ in range(2):
            async with writer(folder, domain, snapshot_bytes=500) as store:
                view = view_of(store, folder / f"{domain.name}.json")
                assert view is not None
                for number in range(1, 6):
                    await store.process_batch([usuario(number)] if domain is USUARIOS else [sale(number)])
                    await view.write()
            with (folder / store.segment).open("ab") as torn:  # type: ignore[operator]
                torn.write(b'{"seq":')
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {Path(name).suffix for name in modes} == {"", ".jsonl", ".mark", ".snapshot", ".torn", ".json"}
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_anybody_could_look_into_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with disk_on(tmp_path):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def sale(number: int) -> Message:
    return confirmada(solicitada(number))


# On a volume that may only be read


class ReadOnly(LocalDisk):
    def _opened(self, name: str, flags: int = 0) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)


async def test_a_volume_that_may_only_be_read_is_read_until_that_is_mended(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as store:
        await store.process_batch([usuario()])
    before = contents(tmp_path)
    with disk_on(tmp_path, ReadOnly) as disk:
        store = JsonStore(disk, USUARIOS, Clock())
        store.load()
        assert not await store.lead()
        assert store.full and saldo(store) == 100
        assert contents(tmp_path) == before
        # It keeps nobody else from writing.
        async with writer(tmp_path, USUARIOS) as mended:
            await mended.process_batch([recarga(1)])
            store.follow()
            assert saldo(store) == 101


async def test_who_may_only_read_where_another_writes_was_given_the_wrong_volume_and_ends(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS):
        with disk_on(tmp_path, ReadOnly) as disk:
            store = JsonStore(disk, USUARIOS, Clock())
            store.load()
            with pytest.raises(OSError, match="Read-only file system"):
                await store.lead()


async def test_where_the_writer_answers_is_said_again_when_somebody_else_has_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was replaced does, which wakes up between taking over and noting its own address."""
    monkeypatch.setattr("services.shared.journal.store.CHECK_SECONDS", 0.01)
    with disk_on(tmp_path) as disk:
        store = JsonStore(disk, USUARIOS, Clock())
        store.load()
        await store.until_leading("http://here")
        assert store.leader_url() == "http://here"
        tending = asyncio.create_task(store.tend())
        (tmp_path / WRITER).write_text("http://dead")

        async def is_right() -> bool:
            return store.leader_url() == "http://here"

        await eventually(is_right, "the address of a dead one stays")
        tending.cancel()


# Copied and put back


@pytest.mark.parametrize("marks_first", [True, False])
async def test_a_copy_that_is_made_while_it_is_written_opens_if_marks_come_first_and_else_says_so(
    tmp_path: Path, marks_first: bool
) -> None:
    folder, copy = tmp_path / "usuarios", tmp_path / "copy"
    copy.mkdir()
    async with writer(folder, USUARIOS) as store:
        await store.process_batch([usuario()])
        for suffix in (".mark", ".jsonl") if marks_first else (".jsonl", ".mark"):
            for file in sorted(folder.glob(f"*{suffix}")):
                shutil.copy(file, copy)
            await store.process_batch([recarga(len(suffix))])
    if marks_first:
        async with writer(copy, USUARIOS) as copied_store:
            assert saldo(copied_store) == 101
    else:
        with pytest.raises(Damaged, match=r"copied while its service wrote, copy it again, the \.mark files first"):
            async with writer(copy, USUARIOS):
                pass


async def test_whatever_is_lost_the_advice_is_never_to_put_back_one_file(tmp_path: Path) -> None:
    """An older book beside three newer ones is worse than one that does not start."""
    whole = tmp_path / "whole"
    async with writer(whole, USUARIOS, snapshot_bytes=600) as store:
        await store.process_batch([usuario()])
        for number in range(12):
            await store.process_batch([recarga(number)])
    files = sorted(whole.glob("*.jsonl"))
    said = []
    for file in files:
        for spoil in (lambda path: path.unlink(), lambda path: flip(path, 100), lambda path: os.truncate(path, 400)):
            folder = copied(whole, tmp_path / "spoilt")
            for snapshot in folder.glob("*.snapshot"):
                snapshot.unlink()
            spoil(folder / file.name)
            with pytest.raises(Damaged) as refused:
                async with writer(folder, USUARIOS):
                    pass
            said.append(str(refused.value))
    assert len(said) == 3 * len(files) and len(files) > 3
    assert all("all four from one backup" in one and "`zoco rebuild SERVICE`" in one for one in said)
    assert not any(re.search("restore (it|the file)", one) for one in said)


def flip(file: Path, at: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[at] ^= 1
    file.write_bytes(raw)


# At the limits


async def until_ended(folder: Path, says: str) -> int:
    """Top-ups until the store ends with this. Returns how many were answered."""
    async with writer(folder, USUARIOS, snapshot_bytes=600) as store:
        await store.process_batch([usuario()])
        for number in range(100):
            try:
                await store.process_batch([recarga(number)])
            except StoreBroken as error:
                assert re.search(says, str(error)), error
                return number
    raise AssertionError("it went on past the limit")


@pytest.mark.parametrize(
    ("limit", "most", "says"),
    [
        ("segments.MAX_PART", 3, "journal-00000001-000003.jsonl was the last part"),
        ("writer.MAX_SEGMENT_BYTES", 1_100, "has no place left"),
    ],
)
async def test_a_segment_past_a_limit_is_never_written_and_the_next_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, says: str
) -> None:
    monkeypatch.setattr(f"services.shared.journal.{limit}", most)
    if limit.startswith("writer"):
        monkeypatch.setattr("services.shared.journal.writer.Writer._rotate", lambda self: asyncio.sleep(0))
    answered = await until_ended(tmp_path, says)
    assert answered > 1
    monkeypatch.undo()
    async with writer(tmp_path, USUARIOS) as store:
        assert saldo(store) in (100 + answered, 101 + answered)
        await store.process_batch([recarga(number) for number in range(answered + 5)])
        assert saldo(store) == 105 + answered
    assert all(path.stat().st_size < 2_000 for path in tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize(("limit", "most"), [("segments.MAX_EPOCH", 2), ("writer.MAX_SEGMENTS", 2)])
async def test_a_start_past_a_limit_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    for number in range(2):
        async with writer(tmp_path, USUARIOS) as store:
            await store.process_batch([usuario(number + 1)])
    before = contents(tmp_path)
    monkeypatch.setattr(f"services.shared.journal.{limit}", most)
    for _ in range(2):
        with pytest.raises(StoreBroken, match=r"last one|can be told apart"):
            async with writer(tmp_path, USUARIOS):
                pass
        assert contents(tmp_path) == before


async def test_a_record_of_a_type_that_only_a_newer_version_knows_is_named(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as store:
        await store.process_batch([usuario()])
    raw = (tmp_path / FIRST).read_bytes()
    head, record = raw.splitlines(keepends=True)
    newer = with_checksum(record[:-SEAL_BYTES].replace(b"usuario.registrado", b"usuario.bloqueado"))
    (tmp_path / FIRST).write_bytes(head + newer)
    without_marks(tmp_path)
    with pytest.raises(Damaged, match=rf"byte {len(head)} is of the type usuario.bloqueado.*use the version"):
        async with writer(tmp_path, USUARIOS):
            pass


async def test_what_a_killed_process_left_half_written_is_removed_at_the_next_start(tmp_path: Path) -> None:
    left = [".journal-00000001-000002.snapshot.4711", ".writer.12", ".usuarios.json.new"]
    async with writer(tmp_path, USUARIOS) as store:
        await store.process_batch([usuario()])
    for name in (*left, ".gitkeep", "notes.7"):
        (tmp_path / name).touch()
    async with writer(tmp_path, USUARIOS):
        pass
    there = {path.name for path in tmp_path.iterdir()}
    assert there.isdisjoint(left) and {".gitkeep", "notes.7"} < there


def test_an_id_twice_in_a_seed_is_named() -> None:
    token = {"id": 101, "nombre": "Gato", "imagen": "gato.jpg", "precio": 5, "vendido": False}
    user = {"id": 7, "nombre": "Ana", "saldo": 1}
    with pytest.raises(ValueError, match="id 101 is there twice"):
        tokens_seed(json.dumps([token, {**token, "precio": 6}]).encode())
    with pytest.raises(ValueError, match="id 7 is there twice"):
        usuarios_seed(json.dumps([user, user]).encode())


def test_more_bytes_between_snapshots_than_a_place_has_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOCO_SNAPSHOT_BYTES", str(2**32))
    with pytest.raises(WrongSetting, match="ZOCO_SNAPSHOT_BYTES is wrong"):
        read_settings()


def saldo(store: JsonStore[Any]) -> int:
    found: int = store.rows["1"].saldo
    return found
