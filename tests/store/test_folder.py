"""What is done to a service's folder while it runs, and where that folder lies."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
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
    writer,
)

from broker.messages import Message
from services.shared.decision import Domain
from services.shared.journal.disk import LocalDisk
from services.shared.journal.json_file import view_of
from services.shared.journal.store import JsonStore
from services.shared.store import StoreBroken
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

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


def saldo(store: JsonStore[Any]) -> int:
    found: int = store.rows["1"].saldo
    return found
