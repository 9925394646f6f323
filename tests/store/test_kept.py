"""Books of commit 6917442, and what today's code makes of them: what one has written, the other reads."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kept_story import SNAPSHOT_BYTES, Clock, purchase, write
from store_builders import contents, reader, writer

from services.compras.domain import DOMAIN as COMPRAS
from services.shared.journal.disk import LocalDisk
from services.shared.journal.packed import Archive
from services.shared.journal.segments import chain
from services.shared.journal.snapshot import read_snapshots
from services.shared.journal.store import JsonStore
from services.shared.records import RowCodec
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

KEPT = Path(__file__).with_name("kept")
DOMAINS: dict[str, Any] = {domain.name: domain for domain in (COMPRAS, TOKENS, USUARIOS, TRANSACCIONES)}


async def test_the_same_story_is_written_to_the_byte_as_it_was_so_that_either_reads_it(tmp_path: Path) -> None:
    # But for what books know of each other since then, which is more fields: these books have no identity; for the
    # rules that they say they are decided by; and for snapshots, which only save time: these come to the same.
    await write(tmp_path, LocalDisk, without_rules, "process_batch", new_identity=lambda: "")
    for service, domain in DOMAINS.items():
        then, now = contents(KEPT / service), contents(tmp_path / service)
        assert {name for name in then if name.endswith(".snapshot")}, service
        assert now.keys() == then.keys(), service
        assert {name for name in then if then[name] != now[name]} == {name for name in then if "snapshot" in name}
        assert saved(tmp_path / service, domain) == saved(KEPT / service, domain), service


def saved(folder: Path, domain: Any) -> tuple[Any, ...]:
    """What the snapshots of a folder come to."""
    disk = LocalDisk(folder)
    snapshot = read_snapshots(disk, chain(Archive(disk), domain.name))
    disk.close()
    assert snapshot is not None
    codec: RowCodec[Any] = RowCodec(domain.rows)
    rows = {key: codec.changed(None, row) for key, row in snapshot.rows.items()}
    return rows, snapshot.dedup, snapshot.book.parts(), snapshot.public_rows.body(), snapshot.segments


def without_rules(disk: LocalDisk, domain: Any, now: Clock, **options: Any) -> JsonStore[Any]:
    return JsonStore(disk, replace(domain, rules=lambda message: 0), now, **options)


@pytest.mark.parametrize("snapshots", [True, False])
async def test_books_of_then_are_gone_on_with(tmp_path: Path, snapshots: bool) -> None:
    shutil.copytree(KEPT, tmp_path / "books")
    if not snapshots:
        for file in (tmp_path / "books").rglob("*.snapshot"):
            file.unlink()
    for service, domain in DOMAINS.items():
        folder = tmp_path / "books" / service
        lines = [line for file in folder.glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]
        seq = max(json.loads(line)["seq"] for line in lines)
        with reader(folder, domain) as follower:
            assert follower.seq == seq
        async with writer(folder, domain, snapshot_bytes=SNAPSHOT_BYTES[service]) as store:
            if service == "compras":
                asked = purchase(0)
                (again,) = await store.process_batch([asked])
                assert again.repeated and (await store.row(asked.compra_id)).estado == "registrada"
                assert len(await store.listed(100, where={})) == 32
                assert len(await store.listed(100, where={"usuario_id": 2**33})) == 6
            if service == "usuarios":
                shown = json.loads((await store.public_list())[0])
                assert [row["nombre"] for row in shown] == ["Ñandú 1", "Ñandú 2", "Ñandú 3", f"Ñandú {2**33}"]
                sold = sum(row["saldo"] for row in shown)
            if service == "transacciones":
                assert [number for number, _ in await store.listed(100, where={})] == [*range(1, store.seq + 1)]
                # All the money there was, the top-up that waited with it, less what was sold.
                assert sold == 4 * 200 + 7 - 50 * store.seq


def test_the_story_is_told_with_its_own_clock() -> None:
    clock = Clock()
    assert (clock(), clock()) == ("2026-01-01T00:00:00.001Z", "2026-01-01T00:00:00.002Z")
