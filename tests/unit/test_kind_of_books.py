"""Which books of a shop count, files or a database: where that is damaged, nothing is started from a guess."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ops.doctor import examine
from ops.folder import hold, keep_kind, kind_of
from ops.running import KIND, LocalError


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Its books were taken over by a database, and the old files stay."""
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "journal-00000001-000001.jsonl").touch()
    keep_kind(tmp_path, "postgresql")
    return tmp_path


def is_a_folder(note: Path) -> None:
    note.unlink()
    note.mkdir()


def goes_in_circles(note: Path) -> None:
    note.unlink()
    note.symlink_to(note)


TEXTS = [b"", b"\n", b"postgr", b"\0" * 11, b"file", b"\xff\xfe", b"files postgresql"]
HARMED = [*((lambda note, text=text: note.write_bytes(text)) for text in TEXTS), is_a_folder, goes_in_circles]


@pytest.mark.parametrize("harm", HARMED, ids=[*map(repr, TEXTS), "a folder", "in circles"])
async def test_a_damaged_note_is_named_and_no_shop_starts_from_old_files(
    shop: Path, harm: Callable[[Path], object]
) -> None:
    harm(shop / KIND)
    for look in (lambda: kind_of(shop), lambda: hold(shop, "files"), lambda: hold(shop, "postgresql")):
        with pytest.raises(LocalError, match=f"{shop / KIND} .*which books of the shop count"):
            look()
    assert [finding.what for finding in await examine(shop) if str(shop / KIND) in str(finding.says)] == ["books"]


def test_without_a_note_what_is_there_counts(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (shop / KIND).unlink()
    assert kind_of(shop) == "files"
    assert kind_of(tmp_path_factory.mktemp("new")) is None
    assert kind_of(shop / "not there") is None
