"""Backups in a folder: which is the newest, which go, and what one that was ended leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

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
