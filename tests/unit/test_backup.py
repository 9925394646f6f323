"""Backups in a folder: which is the newest, which go, and what one that was ended leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from patience import END_SECONDS, wait_until

from broker.services import SERVICES, Service
from ops.backup import LEFT_SECONDS, made, sweep
from ops.copies import Identity
from ops.errors import UserError
from zoco.backup import FILE, delete_older, newest

NOW = datetime.now(UTC)


def backup(folder: Path, when: datetime) -> Path:
    file = folder / when.strftime(FILE)
    file.touch()
    return file


def test_the_one_that_was_just_made_is_never_deleted_however_late_others_are_dated(tmp_path: Path) -> None:
    late = [backup(tmp_path, NOW + timedelta(days=days)) for days in (1, 2, 3)]
    old = [backup(tmp_path, NOW - timedelta(hours=hours)) for hours in (3, 2, 1)]
    new = backup(tmp_path, NOW)
    assert delete_older(new, 3) == late
    assert sorted(tmp_path.iterdir()) == [*old[1:], new, *late]
    assert delete_older(new, 1) == late
    assert sorted(tmp_path.iterdir()) == [new, *late]


def test_the_newest_is_taken_unless_one_is_dated_later_than_now(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no backup"):
        newest(tmp_path)
    backup(tmp_path, NOW - timedelta(hours=2))
    new = backup(tmp_path, NOW - timedelta(hours=1))
    assert newest(tmp_path) == new
    backup(tmp_path, NOW + timedelta(days=1))
    with pytest.raises(UserError, match="dated later than now"):
        newest(tmp_path)


def empty_books() -> dict[Service, Identity]:
    return {name: Identity("00000000", 1) for name in SERVICES}


def test_a_new_backup_is_on_the_disk_by_its_name_before_an_older_one_may_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sync, then = tmp_path / "new.tar", os.fsync, []

    def looked_at(opened: int) -> None:
        sync(opened)
        then.append((Path(f"/dev/fd/{opened}").resolve() == tmp_path, file.exists()))

    monkeypatch.setattr(os, "fsync", looked_at)
    with made(file, empty_books, lambda _: (), lambda *_: None):
        pass
    assert then[-1] == (True, True)


def never_read(file: Path) -> None:
    def slow(_: str) -> Iterator[bytes]:
        time.sleep(END_SECONDS * 10)
        yield b""

    with made(file, empty_books, slow, lambda *_: None):
        pass


def ended(folder: Path, number: signal.Signals) -> None:
    """A backup that reads its first book, and is ended so."""
    command = f"import test_backup; test_backup.never_read(test_backup.Path({str(folder / NOW.strftime(FILE))!r}))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", command], env=env, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: any(folder.glob(".zoco-*/compras")), "it does not begin")
        process.send_signal(number)
        assert process.wait(END_SECONDS) != 0


def test_a_backup_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    ended(tmp_path, signal.SIGTERM)
    assert not [*tmp_path.iterdir()]


def test_what_one_that_was_killed_has_left_is_deleted_an_hour_later(tmp_path: Path) -> None:
    ended(tmp_path, signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    before = time.time() - LEFT_SECONDS - 1
    os.utime(left, (before, before))
    sweep(tmp_path)
    assert left.exists(), "a book was written just now"
    for path in left.iterdir():
        os.utime(path, (before, before))
    sweep(tmp_path)
    assert not left.exists()
