"""Whoever keeps the past of three databases: on a disk that is full, and while no log comes."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from patience import PATIENCE_SECONDS

from ops.postgres import USER, Database
from ops.postgres_pair import Pair
from ops.postgres_programs import find_postgres

SCRIPT: Final = Path(__file__).parents[2] / "k8s" / "components" / "postgres-ha" / "zoco-archive"
# A disk on which $FITS base backups have room, of which $USED % are used.
DF: Final = """#!/bin/sh
case "$*" in
*pcent*) echo "Use%"; echo " $USED%" ;;
*) echo "Avail Size"
  there=$(find "$ARCHIVE" -path '*/base/*Z' -prune | wc -l)
  if [ "$there" -gt "$FITS" ]; then echo 0 100000; else echo 90000 100000; fi ;;
esac
"""
BASEBACKUP: Final = """#!/bin/sh
set -e
[ "$(df --output=avail,size | tail -n 1)" != "0 100000" ] || { echo "No space left on device" >&2; exit 1; }
while [ "$1" != --pgdata ]; do shift; done
mkdir "$2"
cp "$LABEL" "$2/base.tar.gz"
"""


class Archive:
    """A past with this many base backups, and a file of log for each."""

    def __init__(self, folder: Path, programs: Path, backups: int) -> None:
        self.folder, self._bin = folder / "archive", folder / "bin"
        self.past = self.folder / "20260101T000000Z"
        (self.past / "wal").mkdir(parents=True)
        self._bin.mkdir()
        for number in range(1, backups + 1):
            made = self.past / "base" / f"2026010{number}T000000Z"
            made.mkdir(parents=True)
            self.label(made / "base.tar.gz", number)
            self.log(number).touch()
        self.label(folder / "label.tar.gz", backups)
        (self._bin / "pg_archivecleanup").symlink_to(programs / "pg_archivecleanup")
        self.program("df", DF)
        self.program("pg_basebackup", BASEBACKUP)
        self.program("zoco-password", '#!/bin/sh\necho "$PASSWORD"\n')
        self._env = {"LABEL": str(folder / "label.tar.gz"), "ARCHIVE": str(self.folder), "USED": "50", "FITS": "9"}
        self._env["PATH"] = f"{self._bin}:{programs}:{os.environ['PATH']}"
        self._text = SCRIPT.read_text(encoding="utf-8").replace("archive=/archive", f"archive={self.folder}")
        self._text = self._text.replace("bin=/usr/lib/postgresql/17/bin", f"bin={self._bin}")
        self._text = self._text.replace("/tmp/at", str(folder / "at"))

    def program(self, name: str, text: str) -> None:
        (self._bin / name).write_text(text, encoding="utf-8")
        (self._bin / name).chmod(0o755)

    def log(self, number: int) -> Path:
        return self.past / "wal" / f"{1:08X}{0:08X}{number:08X}"

    def label(self, file: Path, number: int) -> None:
        """What of a base backup says where its log begins."""
        text = f"START WAL LOCATION: 0/{number}000028 (file {self.log(number).name})\n".encode()
        with tarfile.open(file, "w:gz") as tar:
            info = tarfile.TarInfo("backup_label")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))

    def backups(self) -> list[str]:
        return sorted(path.name for path in (self.past / "base").iterdir())

    def run(self, verb: str, postgres: Database | None = None, **said: str) -> subprocess.CompletedProcess[str]:
        env, text = {**os.environ, **self._env, **said}, self._text
        if postgres:
            text = text.replace(
                "PGHOST=postgres PGUSER=backup", f"PGHOST=127.0.0.1 PGPORT={postgres.port} PGUSER={USER}"
            )
            env.setdefault("PASSWORD", postgres.url(USER).split(":")[2].split("@")[0])
        command = ["sh", "-c", text, "zoco-archive", verb]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    return find_postgres(tmp_path).folder


def test_where_there_is_no_room_for_a_base_backup_the_oldest_go_first(tmp_path: Path, programs: Path) -> None:
    archive = Archive(tmp_path, programs, 4)
    done = archive.run("base", FITS="2", KEEP="7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert archive.backups()[:2] == ["20260103T000000Z", "20260104T000000Z"] and len(archive.backups()) == 3
    # And the log that only they needed.
    assert [archive.log(number).exists() for number in range(1, 5)] == [False, False, True, True]


def test_the_last_whole_base_backup_stays_though_there_is_no_room_at_all(tmp_path: Path, programs: Path) -> None:
    archive = Archive(tmp_path, programs, 2)
    done = archive.run("base", FITS="0", KEEP="7")
    assert done.returncode != 0 and "No space left on device" in done.stderr
    assert archive.backups() == ["20260102T000000Z"] and archive.log(2).exists()


@pytest.fixture
async def primary(tmp_path: Path) -> AsyncIterator[Database]:
    """One whose owner may copy it."""
    pair = Pair(tmp_path / "pair", strict=False)
    await pair.start()
    yield pair.primary
    await pair.stop(0)


async def test_an_archive_is_not_ready_while_no_log_comes_of_a_primary_that_writes_or_its_disk_is_full(
    primary: Database, tmp_path: Path, programs: Path
) -> None:
    archive = Archive(tmp_path, programs, 1)

    async def ready(**said: str) -> bool:
        return (await asyncio.to_thread(archive.run, "ready", primary, **said)).returncode == 0

    async def quiet() -> bool:
        """Nothing came for ten minutes, and nothing was to come. (A new database may write something by itself.)"""
        os.utime(archive.log(1))
        assert await ready()
        os.utime(archive.log(1), (time.time() - 600,) * 2)
        return await ready()

    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await quiet():
        assert time.monotonic() < deadline
    await written(primary)
    assert not await ready()
    os.utime(archive.log(1))
    assert await ready()
    assert not await ready(USED="96")
    assert not await ready(PASSWORD="another")
    (archive.past / "base" / archive.backups()[0]).rename(archive.past / "base" / "20260101T000000Z.new")
    assert not await ready()


async def written(postgres: Database) -> None:
    connection = await asyncpg.connect(postgres.url(USER))
    await connection.execute("SELECT pg_logical_emit_message(true, 'zoco', '')")
    await connection.close()
