"""The journal's files: what a cut, a flipped bit, a lost file and a second writer come to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS
from store_builders import (
    FIRST,
    Clock,
    HeldDisk,
    all_records,
    confirmada,
    contents,
    copied,
    disk_on,
    life,
    publicado,
    reader,
    recarga,
    registrada,
    solicitada,
    state,
    usuario,
    without_marks,
    writer,
)

from broker.messages import from_word
from services.compras.domain import DOMAIN as COMPRAS
from services.shared.journal import segments as journal
from services.shared.journal.disk import MAX_READING, LocalDisk
from services.shared.journal.store import JsonStore
from services.shared.records import with_checksum
from services.shared.store import Damaged, Fenced, StoreBroken
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS


class UnsyncedDisk(LocalDisk):
    """For thousands of starts: the kernel remembers all the same, and no power is cut here."""

    async def sync(self, name: str) -> None:
        pass

    async def replace(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)

    def _sync_folder(self) -> None:
        pass


async def small_journal(folder: Path, *, last: int = 1) -> list[int]:
    """Three batches: a user; two top-ups; `last` more. Returns where each line begins, and where the last one ends."""
    async with writer(folder, USUARIOS) as store:
        await store.process_batch([usuario()])
        await store.process_batch([recarga(1), recarga(2)])
        await store.process_batch([recarga(3 + number) for number in range(last)])
    raw = (folder / FIRST).read_bytes()
    return [0, *(at + 1 for at, byte in enumerate(raw) if byte == ord("\n"))]


async def start(folder: Path) -> tuple[JsonStore[Any], bytes]:
    """Read the folder and become the writer. Returns the store, closed, and what it kept aside. Raises Damaged."""
    with disk_on(folder, UnsyncedDisk) as disk:
        store = JsonStore(disk, USUARIOS, Clock())
        store.load()
        assert await store.lead()
        kept = (folder / FIRST).with_suffix(".torn")
        return store, kept.read_bytes() if kept.exists() else b""


def saldo(store: JsonStore[Any]) -> int | None:
    return store.rows["1"].saldo if "1" in store.rows else None


# Cuts


async def test_a_cut_in_what_was_synced_is_refused_at_every_byte(tmp_path: Path) -> None:
    lines = await small_journal(tmp_path / "whole")
    raw = (tmp_path / "whole" / FIRST).read_bytes()
    folder = copied(tmp_path / "whole", tmp_path / "cut")

    for size in range(lines[-4], len(raw)):
        (folder / FIRST).write_bytes(raw[:size])
        before = contents(folder)
        with disk_on(folder) as disk, pytest.raises(Damaged) as refused:
            JsonStore(disk, USUARIOS, Clock()).load()
        at = max(line for line in lines if line <= size)
        assert FIRST in str(refused.value) and f"byte {at}" in str(refused.value), size
        assert contents(folder) == before


async def test_a_cut_behind_what_was_synced_costs_only_what_was_torn_at_every_byte(tmp_path: Path) -> None:
    lines = await small_journal(tmp_path / "whole", last=3)
    raw = (tmp_path / "whole" / FIRST).read_bytes()
    without_marks(tmp_path / "whole")

    for size in range(lines[-4], len(raw)):
        folder = copied(tmp_path / "whole", tmp_path / "cut")
        (folder / FIRST).write_bytes(raw[:size])
        store, kept = await start(folder)
        whole = max(number for number, line in enumerate(lines) if line <= size)
        # A line less its header.
        assert store.seq == whole - 1, size
        assert saldo(store) == 100 + store.seq - 1
        assert kept == raw[lines[whole] : size]
        assert store.torn_bytes == len(kept)
        assert (folder / FIRST).read_bytes() == raw[:size]


async def test_a_mark_that_is_one_batch_late_still_lets_a_torn_end_be_cut_off(tmp_path: Path) -> None:
    lines = await small_journal(tmp_path / "whole")
    raw = (tmp_path / "whole" / FIRST).read_bytes()
    (tmp_path / "whole" / journal.mark_name(FIRST)).write_bytes(journal.mark(lines[-2]))

    for size in range(lines[-2] + 1, len(raw)):
        folder = copied(tmp_path / "whole", tmp_path / "cut")
        (folder / FIRST).write_bytes(raw[:size])
        store, kept = await start(folder)
        assert (store.seq, kept) == (3, raw[lines[-2] : size])


@pytest.mark.parametrize("wrong", [b"", b"0000000000000000999 00000000\n", b"garbage", b"\xff" * 29])
async def test_a_mark_that_is_not_whole_says_nothing(tmp_path: Path, wrong: bytes) -> None:
    await small_journal(tmp_path)
    (tmp_path / journal.mark_name(FIRST)).write_bytes(wrong)

    store, kept = await start(tmp_path)

    assert (store.seq, kept) == (4, b"")


async def test_what_was_cut_off_is_decided_anew_and_the_journal_goes_on(tmp_path: Path) -> None:
    lines = await small_journal(tmp_path)
    without_marks(tmp_path)
    raw = (tmp_path / FIRST).read_bytes()
    (tmp_path / FIRST).write_bytes(raw[: lines[-2] + 10])

    async with writer(tmp_path, USUARIOS) as store:
        (answer,) = await store.process_batch([recarga(3)])
        assert not answer.repeated and store.seq == 4
    for _ in range(2):
        async with writer(tmp_path, USUARIOS) as store:
            assert saldo(store) == 103
            assert store.torn_bytes == 0
            assert [json.loads(raw)["seq"] for raw in all_records(store)] == [1, 2, 3, 4]


# Flipped bits


async def two_segments(folder: Path) -> None:
    await small_journal(folder)
    async with writer(folder, USUARIOS) as store:
        await store.process_batch([recarga(10)])
        await store.process_batch([recarga(11), recarga(12)])


def flips(raw: bytes) -> list[tuple[int, bytes]]:
    """One flipped bit in every byte; all eight where a line ends."""
    found = []
    for at, byte in enumerate(raw):
        for bit in range(8) if byte == ord("\n") else [at % 8]:
            found.append((at, raw[:at] + bytes([byte ^ 1 << bit]) + raw[at + 1 :]))
    return found


async def test_a_flipped_bit_in_what_was_synced_is_refused_and_the_folder_stays_as_it_was(tmp_path: Path) -> None:
    await two_segments(tmp_path)

    for name in journal.segment_names(LocalDisk(tmp_path)):
        raw = (tmp_path / name).read_bytes()
        for at, flipped in flips(raw):
            (tmp_path / name).write_bytes(flipped)
            before = contents(tmp_path)
            with disk_on(tmp_path) as disk, pytest.raises(Damaged) as refused:
                JsonStore(disk, USUARIOS, Clock()).load()
            line = raw.rfind(b"\n", 0, at) + 1
            assert name in str(refused.value) and f"byte {line}:" in str(refused.value), at
            assert contents(tmp_path) == before
        (tmp_path / name).write_bytes(raw)


async def test_a_flipped_bit_without_marks_is_refused_or_was_in_the_last_batch(tmp_path: Path) -> None:
    await two_segments(tmp_path / "whole")
    without_marks(tmp_path / "whole")
    *_, last = journal.segment_names(LocalDisk(tmp_path / "whole"))
    raw = (tmp_path / "whole" / last).read_bytes()
    ends = [at + 1 for at, byte in enumerate(raw) if byte == ord("\n")]
    # A header, a batch of one, a batch of two.
    assert len(ends) == 4

    folder = tmp_path / "whole"
    known = {*contents(folder), "lock"}
    for at, flipped in flips(raw):
        for name in {path.name for path in folder.iterdir()} - known:
            (folder / name).unlink()
        (folder / last).write_bytes(flipped)
        before = contents(folder)
        if at < ends[1]:
            with pytest.raises(Damaged):
                await start(folder)
        else:
            store, _ = await start(folder)
            assert store.seq == (5 if at < ends[2] else 6), at
            assert store.torn_bytes == len(raw) - (ends[1] if at < ends[2] else ends[2])
        assert before.items() <= contents(folder).items()


async def test_a_flipped_bit_in_an_older_segment_without_marks_is_refused(tmp_path: Path) -> None:
    await two_segments(tmp_path)
    without_marks(tmp_path)
    raw = (tmp_path / FIRST).read_bytes()

    for at, flipped in flips(raw):
        (tmp_path / FIRST).write_bytes(flipped)
        with pytest.raises(Damaged) as refused:
            await start(tmp_path)
        assert FIRST in str(refused.value), at
        for name in journal.segment_names(LocalDisk(tmp_path))[2:]:
            (tmp_path / name).unlink()


async def test_an_end_of_line_before_the_last_batch_is_refused_when_it_is_flipped(tmp_path: Path) -> None:
    lines = await small_journal(tmp_path, last=1)
    without_marks(tmp_path)
    raw = bytearray((tmp_path / FIRST).read_bytes())
    # The end of the batch before: it was synced before the last one was begun.
    raw[lines[-2] - 1] ^= 1
    (tmp_path / FIRST).write_bytes(raw)

    with pytest.raises(Damaged):
        await start(tmp_path)


async def test_a_journal_that_is_refused_gets_no_new_files(tmp_path: Path) -> None:
    lines = await small_journal(tmp_path)
    without_marks(tmp_path)
    raw = bytearray((tmp_path / FIRST).read_bytes())
    raw[lines[1] + 5] ^= 1
    (tmp_path / FIRST).write_bytes(raw)
    before = contents(tmp_path)

    with pytest.raises(Damaged):
        await start(tmp_path)

    assert contents(tmp_path) == before


# Files that are missing, or somebody else's


async def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    await two_segments(tmp_path)
    (tmp_path / FIRST).unlink()

    with pytest.raises(Damaged, match=f"{FIRST} is missing"), reader(tmp_path, USUARIOS):
        pass


async def test_a_missing_last_segment_is_named_by_its_mark(tmp_path: Path) -> None:
    await two_segments(tmp_path)
    (tmp_path / "journal-00000002-000001.jsonl").unlink()

    with pytest.raises(Damaged, match="journal-00000002-000001"), reader(tmp_path, USUARIOS):
        pass


async def test_the_journal_of_another_service_is_refused(tmp_path: Path) -> None:
    await small_journal(tmp_path)

    with pytest.raises(Damaged, match="is the journal of usuarios, not of tokens"), reader(tmp_path, TOKENS):
        pass


@pytest.mark.parametrize("number", [0, 2, None])
async def test_another_format_is_refused(tmp_path: Path, number: int | None) -> None:
    await small_journal(tmp_path)
    head, rest = (tmp_path / FIRST).read_bytes().split(b"\n", 1)
    other = json.loads(head) | {"format": number}
    del other["crc"]
    body = json.dumps(other, separators=(",", ":")).encode()[:-1]
    (tmp_path / FIRST).write_bytes(with_checksum(body) + rest)

    with pytest.raises(Damaged, match=f"has format {number}, and this version reads 1"), reader(tmp_path, USUARIOS):
        pass


async def test_a_record_that_is_whole_but_makes_no_sense_is_refused(tmp_path: Path) -> None:
    lines = await small_journal(tmp_path)
    raw = (tmp_path / FIRST).read_bytes()
    nonsense = with_checksum(b'{"seq":1,"batch":1,"time":"","id":"x:y","row":"1","change":{"nada":1},"words":[]')
    (tmp_path / FIRST).write_bytes(raw[: lines[1]] + nonsense)
    (tmp_path / journal.mark_name(FIRST)).write_bytes(journal.mark(lines[1] + len(nonsense)))

    with pytest.raises(Damaged, match=f"the record at byte {lines[1]} makes no sense"), reader(tmp_path, USUARIOS):
        pass


async def test_a_record_left_out_is_refused(tmp_path: Path) -> None:
    lines = await small_journal(tmp_path)
    raw = (tmp_path / FIRST).read_bytes()
    (tmp_path / FIRST).write_bytes(raw[: lines[2]] + raw[lines[3] :])
    without_marks(tmp_path)

    with pytest.raises(Damaged, match=f"byte {lines[2]}"), reader(tmp_path, USUARIOS, to_the_end=True):
        pass


@pytest.mark.parametrize("wreck", [b"", b'{"format":1,"serv'])
async def test_a_writer_that_died_before_its_header_is_passed_over(tmp_path: Path, wreck: bytes) -> None:
    await small_journal(tmp_path)
    (tmp_path / "journal-00000002-000001.jsonl").write_bytes(wreck)

    with reader(tmp_path, USUARIOS) as follower:
        assert follower.seq == 4
        async with writer(tmp_path, USUARIOS) as store:
            assert store.segment == "journal-00000003-000001.jsonl"
            await store.process_batch([recarga(10)])
            follower.follow()
            assert (follower.seq, follower.segment) == (5, store.segment)
    async with writer(tmp_path, USUARIOS) as store:
        assert (store.seq, saldo(store)) == (5, 104)


async def test_a_writer_that_died_before_any_header_leaves_an_empty_journal(tmp_path: Path) -> None:
    (tmp_path / FIRST).write_bytes(b"")

    async with writer(tmp_path, USUARIOS) as store:
        assert (store.seq, store.segment) == (0, "journal-00000002-000001.jsonl")
        await store.process_batch([usuario()])
    with reader(tmp_path, USUARIOS) as follower:
        assert follower.seq == 1


async def test_the_checksum_line_of_the_documentation_finds_a_changed_line(tmp_path: Path) -> None:
    await two_segments(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "journal.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"\| python3 -c '(.+)'", text)
    whole = b"".join((tmp_path / name).read_bytes() for name in journal.segment_names(LocalDisk(tmp_path)))

    assert printed(program, whole) == []
    assert len(printed(program, whole.replace(b"r:2", b"r:9"))) == 1
    assert len(printed(program, whole[:-5])) == 1


def printed(program: str, given: bytes) -> list[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program], input=given, capture_output=True, check=True
    ).stdout.splitlines()


# Two writers


async def test_a_writer_whose_lock_was_removed_is_fenced_before_it_answers(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as old:
        await old.process_batch([usuario()])
        (tmp_path / "lock").unlink()
        async with writer(tmp_path, USUARIOS) as new:
            with pytest.raises(Fenced, match="epoch 2"):
                await old.process_batch([recarga(1, monto=1000)])
            assert not old.leads and saldo(old) == 100
            await new.process_batch([recarga(2, monto=5)])
            assert saldo(new) == 105


async def test_an_idle_writer_whose_lock_was_removed_learns_it(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as old:
        old.check()
        (tmp_path / "lock").unlink()
        async with writer(tmp_path, USUARIOS):
            with pytest.raises(Fenced):
                old.check()


async def test_what_a_fenced_writer_appended_is_never_believed(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as old:
        await old.process_batch([usuario()])
        with reader(tmp_path, USUARIOS) as follower:
            (tmp_path / "lock").unlink()
            async with writer(tmp_path, USUARIOS) as new:
                with pytest.raises(Fenced):
                    await old.process_batch([recarga(1, monto=1000)])
                assert b'"monto"' not in (tmp_path / FIRST).read_bytes() and b"r:1" in (tmp_path / FIRST).read_bytes()
                await new.process_batch([recarga(2, monto=5)])
                follower.follow()
                assert state(follower) == state(new)
                records = [json.loads(raw)["id"] for raw in all_records(new)]
    assert records == ["semilla:1:usuario.registrado", "r:2:saldo.recargado"]
    for _ in range(2):
        async with writer(tmp_path, USUARIOS) as later:
            assert saldo(later) == 105
            assert not later.knows("r:1")


async def test_what_a_writer_synced_before_it_was_fenced_is_kept_and_told_again(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS, kind=HeldDisk) as old:
        await old.process_batch([usuario()])
        assert isinstance(old.disk, HeldDisk)
        old.disk.hold()
        writing = asyncio.ensure_future(old.process_batch([recarga(1, monto=5)]))
        await old.disk.waiting.wait()
        (tmp_path / "lock").unlink()
        async with writer(tmp_path, USUARIOS) as new:
            old.disk.go.set()
            with pytest.raises(Fenced):
                await writing
            (again,) = await new.process_batch([recarga(1, monto=5)])
            assert again.repeated and len(again.messages) == 1
            assert saldo(new) == 105


async def test_a_follower_that_believed_a_fenced_writer_starts_over(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as old:
        await old.process_batch([usuario()])
        (tmp_path / "lock").unlink()
        async with writer(tmp_path, USUARIOS) as new:
            with pytest.raises(Fenced):
                await old.process_batch([recarga(1, monto=1000)])
            names = ("journal-00000002-000001.jsonl", "journal-00000002-000001.mark")
            for name in names:
                (tmp_path / name).rename(tmp_path / f"{name}.hidden")
            # The worst that a paused machine can do: its mark says that all it wrote counts.
            size = (tmp_path / FIRST).stat().st_size
            (tmp_path / journal.mark_name(FIRST)).write_bytes(journal.mark(size))
            with reader(tmp_path, USUARIOS) as follower:
                assert saldo(follower) == 1100
                for name in names:
                    (tmp_path / f"{name}.hidden").rename(tmp_path / name)
                await new.process_batch([recarga(2, monto=5)])
                follower.follow()
                assert state(follower) == state(new)
                assert saldo(follower) == 105


async def test_who_does_not_get_the_lock_does_not_lead_and_writes_nothing(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as store:
        await store.process_batch([usuario()])
        before = contents(tmp_path)
        with reader(tmp_path, USUARIOS) as other:
            assert not await other.lead()
            assert not other.leads
        assert contents(tmp_path) == before


async def test_who_is_second_to_begin_an_epoch_does_not_lead_and_gives_the_lock_back(tmp_path: Path) -> None:
    class Beaten(LocalDisk):
        def create(self, name: str) -> None:
            (self.folder / name).write_bytes(b"")
            super().create(name)

    with disk_on(tmp_path, Beaten) as disk:
        store = JsonStore(disk, USUARIOS, Clock())
        store.load()
        assert not await store.lead()
        async with writer(tmp_path, USUARIOS) as other:
            assert other.leads


# Following


async def test_a_follower_reads_whole_lines_that_are_synced_and_no_others(tmp_path: Path) -> None:
    lines = await small_journal(tmp_path / "whole", last=2)
    raw = (tmp_path / "whole" / FIRST).read_bytes()
    folder = copied(tmp_path / "whole", tmp_path / "part")
    (folder / FIRST).write_bytes(raw[: lines[1]])
    (folder / journal.mark_name(FIRST)).write_bytes(journal.mark(lines[1]))

    with reader(folder, USUARIOS) as follower:
        for size in range(lines[1], len(raw) + 1):
            # Written, not synced.
            (folder / FIRST).write_bytes(raw[:size])
            follower.follow()
            assert (
                follower.seq == max(number for number, line in enumerate(lines) if line < max(size, lines[1] + 1)) - 1
            )
            if size in lines:
                (folder / journal.mark_name(FIRST)).write_bytes(journal.mark(size))
                follower.follow()
                assert follower.seq == lines.index(size) - 1
    assert follower.seq == 5


async def test_a_follower_sees_a_batch_only_when_the_writer_has_it_on_the_disk(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS, kind=HeldDisk) as store:
        await store.process_batch([usuario()])
        with reader(tmp_path, USUARIOS) as follower:
            assert isinstance(store.disk, HeldDisk)
            store.disk.hold()
            writing = asyncio.ensure_future(store.process_batch([recarga(1)]))
            await store.disk.waiting.wait()
            follower.follow()
            assert follower.seq == 1
            store.disk.go.set()
            await writing
            follower.follow()
            assert state(follower) == state(store)


async def test_a_follower_follows_through_rotations_and_takeovers(tmp_path: Path) -> None:
    with reader(tmp_path, USUARIOS) as follower:
        for epoch in range(1, 4):
            async with writer(tmp_path, USUARIOS, snapshot_bytes=600) as store:
                await store.process_batch([usuario()])
                for number in range(10):
                    await store.process_batch([recarga(100 * epoch + number)])
                    if number % 3 == 0:
                        follower.follow()
                        assert state(follower) == state(store)
                assert epoch == int(str(store.segment)[8:16])
                assert len(journal.segment_names(store.disk)) > 3 * epoch
        follower.follow()
        assert follower.seq == 31
        assert await follower.lead()
        await follower.process_batch([recarga(1)])
        assert saldo(follower) == 131


WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from store_builders import Clock, recarga, usuario
from services.shared.journal.disk import LocalDisk
from services.shared.journal.store import JsonStore
from services.usuarios.domain import DOMAIN

async def main():
    store = JsonStore(LocalDisk(Path(sys.argv[1])), DOMAIN, Clock())
    store.load()
    assert await store.lead()
    await store.process_batch([usuario()])
    for number in range(10**9):
        await store.process_batch([recarga(number)])
        print(number, flush=True)

asyncio.run(main())
"""


def started(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)


async def test_a_killed_writer_is_replaced_within_a_second_and_nothing_it_answered_is_lost(tmp_path: Path) -> None:
    script = WRITER.format(here=str(Path(__file__).parent))
    process = started(script, tmp_path)
    assert process.stdout
    try:
        with process.stdout as lines:
            printed_first = [int(lines.readline()) for _ in range(20)]
            with reader(tmp_path, USUARIOS) as store:
                assert store.seq >= 20
                assert not await store.lead()
                process.kill()
                killed = time.monotonic()
                while not await store.lead():
                    store.follow()
                    await asyncio.sleep(0.01)
                assert time.monotonic() - killed < 1
                last = [*printed_first, *(int(line) for line in lines if line.endswith("\n"))][-1]
                answers = await store.process_batch([recarga(number) for number in range(last + 1)])
                assert all(answer.repeated for answer in answers)
                assert saldo(store) == 100 + store.seq - 1
                assert store.seq in (last + 2, last + 3)
    finally:
        process.kill()
        process.wait()


# A disk that is full, or broken


class FullDisk(LocalDisk):
    """Where no tmpfs can be mounted: room for `room` bytes in segments, then half a write and ENOSPC."""

    room = 200_000

    def append(self, name: str, data: bytes) -> None:
        used = sum(path.stat().st_size for path in self.folder.glob("*.jsonl")) + ballast(self.folder)
        if used + len(data) <= self.room:
            super().append(name, data)
            return
        super().append(name, data[: max(0, self.room - used)])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ballast(folder: Path) -> int:
    return (folder / "ballast").stat().st_size if (folder / "ballast").exists() else 0


def fill(folder: Path, kind: type[LocalDisk], pages: int = 1) -> None:
    """Leave these pages of room."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        if kind is FullDisk:
            used = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
            file.write(bytes(FullDisk.room - used - 4096 * pages))
            return
        with contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        file.truncate(file.tell() - 4096 * pages)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, type[LocalDisk]]]:
    """256 KiB of a real file system; without the right to mount one, a disk that behaves like it."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
        == 0
    )
    try:
        yield folder, LocalDisk if mounted else FullDisk
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(params=["as it is", "imitated"])
def full(request: pytest.FixtureRequest, small_disk: tuple[Path, type[LocalDisk]]) -> tuple[Path, type[LocalDisk]]:
    return small_disk if request.param == "as it is" else (small_disk[0], FullDisk)


async def test_on_a_full_disk_nothing_is_answered_until_there_is_room(full: tuple[Path, type[LocalDisk]]) -> None:
    folder, kind = full
    tried_again = asyncio.Event()
    tries = 0

    async def sleep(seconds: float) -> None:
        nonlocal tries
        tries += 1
        if tries == 5:
            tried_again.set()
        await asyncio.sleep(0.001)

    batch = [recarga(number) for number in range(60)]
    async with writer(folder, USUARIOS, kind=kind, sleep=sleep) as store:
        await store.process_batch([usuario()])
        fill(folder, kind)
        before = (folder / FIRST).read_bytes()
        writing = asyncio.ensure_future(store.process_batch(batch))
        await tried_again.wait()

        assert store.full and not writing.done()
        assert saldo(store) == 100 and store.seq == 1
        # Half a write stays, and is not seen.
        assert (folder / FIRST).read_bytes().startswith(before)
        with reader(folder, USUARIOS) as follower:
            assert follower.seq == 1

        (folder / "ballast").unlink()
        answers = await writing
        assert not store.full
        assert [len(answer.messages) for answer in answers] == [1] * 60
        await store.process_batch([recarga(1000)])
        assert saldo(store) == 161
    with reader(folder, USUARIOS) as again:
        assert state(again) == state(store)


@pytest.mark.parametrize("pages", [0, 1, 2, 3])
async def test_a_writer_that_is_killed_on_a_full_disk_waits_for_room_at_its_next_starts_and_is_read(
    small_disk: tuple[Path, type[LocalDisk]], pages: int
) -> None:
    """Wherever the last byte of room is: in a record, before a segment, in its header."""
    folder, kind = small_disk
    tries = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        tries.release()
        await asyncio.sleep(0.001)

    answered = 0

    async def work() -> None:
        nonlocal answered
        for number in range(1000):
            await store.process_batch([recarga(number)])
            answered += 1

    async with writer(folder, USUARIOS, kind=kind, snapshot_bytes=600, sleep=sleep) as store:
        await store.process_batch([usuario()])
        fill(folder, kind, pages)
        working = asyncio.ensure_future(work())
        for _ in range(3):
            await asyncio.wait_for(tries.acquire(), PATIENCE_SECONDS)
        working.cancel()
        await asyncio.wait([working])
    before = journal_files(folder)
    for _ in range(3):
        with disk_on(folder, kind) as disk:
            store = JsonStore(disk, USUARIOS, Clock())
            store.load()
            assert not any([await store.lead(), await store.lead()])
            assert store.full and not store.leads
            assert saldo(store) >= 100 + answered
            store.follow()
        assert journal_files(folder) == before
    (folder / "ballast").unlink()

    async with writer(folder, USUARIOS, kind=kind) as store:
        assert not store.full
        answers = await store.process_batch([recarga(number) for number in range(answered)])
        assert all(answer.repeated for answer in answers)
        assert store.seq in (answered + 1, answered + 2)
        assert saldo(store) == 100 + store.seq - 1


def journal_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("journal-*")}


async def test_a_writer_that_waits_for_room_still_learns_that_it_was_replaced(tmp_path: Path) -> None:
    async def sleep(seconds: float) -> None:
        (tmp_path / "journal-00000002-000001.jsonl").touch()

    async with writer(tmp_path, USUARIOS, kind=FullDisk, sleep=sleep) as store:
        fill(tmp_path, FullDisk)
        with pytest.raises(Fenced):
            await store.process_batch([recarga(number) for number in range(60)])


async def test_a_failed_sync_ends_it_and_nothing_of_the_batch_is_seen(tmp_path: Path) -> None:
    class Failing(LocalDisk):
        fails = False

        async def sync(self, name: str) -> None:
            if self.fails:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            await super().sync(name)

    async with writer(tmp_path, USUARIOS, kind=Failing) as store:
        await store.process_batch([usuario()])
        store.disk.fails = True  # type: ignore[attr-defined]
        with pytest.raises(StoreBroken, match=f"cannot sync {FIRST}"):
            await store.process_batch([recarga(1)])
        assert saldo(store) == 100 and store.seq == 1


async def test_a_write_that_fails_for_another_reason_ends_it(tmp_path: Path) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with writer(tmp_path, USUARIOS, kind=FullDisk) as store:
        await store.process_batch([usuario()])
        store.disk.append = fails  # type: ignore[method-assign]
        with pytest.raises(StoreBroken, match="Input/output error"):
            await store.process_batch([recarga(number) for number in range(60)])
        assert saldo(store) == 100


# Snapshots


async def bought(folder: Path) -> tuple[Any, ...]:
    """Purchases in all states, over many segments with snapshots. Returns the state of the store."""
    async with writer(folder, COMPRAS, kind=UnsyncedDisk, snapshot_bytes=4000) as store:
        for number in range(40):
            await store.process_batch(life(solicitada(number + 1), number + 1)[: 1 + number % 4])
            if number == 20:
                await store.process_batch([usuario(), publicado()])
        assert len(journal.segment_names(store.disk)) > 5
        return state(store)


def snapshots(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.snapshot"))


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "harm",
    [
        lambda files: None,
        lambda files: [file.unlink() for file in files],
        lambda files: files[-1].unlink(),
        lambda files: files[0].unlink(),
        lambda files: damage(files[-1]),
        lambda files: damage(files[len(files) // 2]),
        lambda files: files[-1].write_bytes(b""),
        lambda files: files[-1].write_bytes(files[-1].read_bytes()[:-100]),
        lambda files: files[-1].write_bytes(files[0].read_bytes()),
    ],
    ids=["present", "absent", "newest-absent", "oldest-absent", "damaged", "inner-damaged", "empty", "cut", "swapped"],
)
async def test_with_or_without_snapshots_it_comes_to_the_same(
    tmp_path: Path, harm: Callable[[list[Path]], object], packed: bool
) -> None:
    """`packed`: all but the newest have forgotten their rows, too."""
    written = await bought(tmp_path)
    if packed:
        async with writer(tmp_path, COMPRAS, snapshot_bytes=4000) as store:
            await store.packer.pack()
    harm(snapshots(tmp_path))

    with reader(tmp_path, COMPRAS) as store:
        assert state(store) == written
    # And what is written after that, with new snapshots, does too.
    async with writer(tmp_path, COMPRAS, snapshot_bytes=4000) as store:
        assert state(store) == written
        for number in range(100, 120):
            await store.process_batch(life(solicitada(number), number))
        written = state(store)
    with reader(tmp_path, COMPRAS) as store:
        assert state(store) == written
    for file in snapshots(tmp_path):
        file.unlink()
    with reader(tmp_path, COMPRAS) as store:
        assert state(store) == written


async def test_a_snapshot_spares_the_reading_of_what_is_before_it(tmp_path: Path) -> None:
    written = await bought(tmp_path)
    read = []

    class Reading(LocalDisk):
        def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
            data = super().read(name, offset, size)
            if name.endswith(".jsonl") and size not in journal.HEADER_BYTES:
                read.append(len(data))
            return data

    with disk_on(tmp_path, Reading) as disk:
        store = JsonStore(disk, COMPRAS, Clock())
        store.load()
        assert state(store) == written
        assert sum(read) < 8000 < sum(disk.size(name) for name in journal.segment_names(disk)) / 2


class PatientDisk(LocalDisk):
    """Gives up on a reader that goes round in circles."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reads = 0

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        self.reads += 1
        assert self.reads < 10_000, f"{name} is read again and again"
        return super().read(name, offset, size)


async def test_a_flipped_bit_in_the_head_of_a_snapshot_changes_nothing(tmp_path: Path) -> None:
    written = await bought(tmp_path)

    for file in snapshots(tmp_path)[-1:]:
        raw = file.read_bytes()
        for at in range(raw.index(b"\n") + 1):
            # The lowest bit makes another digit of a digit.
            for bit in (0, 1 + at % 7):
                file.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])
                with disk_on(tmp_path, PatientDisk) as disk:
                    store = JsonStore(disk, COMPRAS, Clock())
                    store.load()
                    assert state(store) == written, (file.name, at, bit)
        file.write_bytes(raw)


async def test_old_words_are_read_across_segments(tmp_path: Path) -> None:
    await bought(tmp_path)
    with reader(tmp_path, COMPRAS) as follower:
        assert await follower.lead()
        for number in range(40):
            compra = solicitada(number + 1)
            assert from_word(follower.word(follower.list_index.place(number + 1))) == compra
            (again,) = await follower.process_batch([compra])
            assert again.repeated
            # What compras hears of a purchase it answers with nothing, so only who heard no more repeats its word.
            assert again.messages == ((compra,) if number % 4 == 0 else ())
            row = follower.find(compra.compra_id)
            assert row is not None and row.id == compra.compra_id
            assert (row.estado == "registrada") == (number % 4 == 3)


async def test_a_limit_on_the_size_of_files_is_waited_for_like_a_full_disk(tmp_path: Path) -> None:
    async with writer(tmp_path, USUARIOS) as store:
        await store.process_batch([usuario()])
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Half a record finds room.
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / FIRST).stat().st_size + 100, hard))
        try:
            adding = asyncio.create_task(store.process_batch([recarga(number) for number in range(5)]))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not store.full:
                    await asyncio.sleep(0.01)
            assert not adding.done()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await asyncio.wait_for(adding, PATIENCE_SECONDS)
        assert not store.full
        assert saldo(store) == 105
    with reader(tmp_path, USUARIOS) as again:
        assert state(again) == state(store)


async def test_the_journal_is_read_on_from_any_record(tmp_path: Path) -> None:
    await bought(tmp_path)
    with reader(tmp_path, COMPRAS) as store:
        for after in range(store.seq + 1):
            seqs = [json.loads(raw)["seq"] for raw in all_records(store, after)]
            assert seqs == list(range(after + 1, store.seq + 1))


@pytest.mark.parametrize("size", [1, 2_000, 10**6])
async def test_around_a_damaged_record_all_others_are_read(tmp_path: Path, size: int) -> None:
    await bought(tmp_path)
    with reader(tmp_path, COMPRAS) as store:
        whole = list(all_records(store))
        for seq in range(1, store.seq + 1, 7):
            file = next(path for path in sorted(tmp_path.glob("*.jsonl")) if b'{"seq":%d,' % seq in path.read_bytes())
            good = file.read_bytes()
            file.write_bytes(good.replace(b'{"seq":%d,' % seq, b'{"seq":%d,' % (seq + 1), 1))
            seen: list[bytes] = []
            while len(seen) < seq - 1:
                seen += store.some_records(len(seen), size)
            assert seen == whole[: seq - 1]
            with pytest.raises(Damaged, match=file.name):
                store.some_records(seq - 1, size)
            seen = []
            while seq + len(seen) < store.seq:
                seen += store.some_records(seq + len(seen), size)
            assert seen == whole[seq:]
            file.write_bytes(good)


@pytest.mark.parametrize("size", [1, 300, 2_000, 10**6])
async def test_some_records_are_no_more_than_asked_for_and_never_none_before_the_end(tmp_path: Path, size: int) -> None:
    await bought(tmp_path)
    with reader(tmp_path, COMPRAS) as store:
        seen: list[bytes] = []
        while some := store.some_records(len(seen), size):
            assert len(some) == 1 or sum(map(len, some)) <= size
            seen += some
        assert [json.loads(raw)["seq"] for raw in seen] == list(range(1, store.seq + 1))
        assert store.some_records(store.seq + 5, size) == []


async def test_a_record_is_found_by_reading_a_few_thousandths_of_the_journal(tmp_path: Path) -> None:
    read: list[int] = []

    class CountedDisk(LocalDisk):
        def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
            data = super().read(name, offset, size)
            read.append(len(data))
            return data

    async with writer(tmp_path, COMPRAS, kind=CountedDisk) as store:
        await store.process_batch([solicitada(number) for number in range(1, 20_001)])
        for after in (0, 7, 10_000, 19_999):
            read.clear()
            assert json.loads(store.some_records(after, 1)[0])["seq"] == after + 1
            assert sum(read) < store._end / 40


async def test_a_disk_without_room_for_a_snapshot_goes_on_without(tmp_path: Path) -> None:
    class NoSnapshots(LocalDisk):
        async def replace(self, name: str, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with writer(tmp_path, USUARIOS, kind=NoSnapshots, snapshot_bytes=500) as store:
        await store.process_batch([usuario()])
        for number in range(10):
            await store.process_batch([recarga(number)])
        assert saldo(store) == 110
    assert not snapshots(tmp_path)
    with reader(tmp_path, USUARIOS) as again:
        assert state(again) == state(store)


async def test_two_hundred_segments_take_few_handles(tmp_path: Path) -> None:
    def handles() -> int:
        return sum(1 for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in str(link.resolve()))

    async with writer(tmp_path, TRANSACCIONES, kind=UnsyncedDisk, snapshot_bytes=1) as store:
        for number in range(1, 201):
            await store.process_batch([confirmada(solicitada(number))])
        assert len(journal.segment_names(store.disk)) >= 200
        for number in range(1, 201):
            assert from_word(store.word(store.list_index.place(number))) == registrada(solicitada(number), number)
        assert handles() <= MAX_READING + 8
    with reader(tmp_path, TRANSACCIONES) as again:
        assert state(again) == state(store)
        for number in range(1, 201):
            assert again.word(again.list_index.place(number))["compraId"] == solicitada(number).compra_id
        assert handles() <= MAX_READING + 8
