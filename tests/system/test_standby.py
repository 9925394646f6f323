"""The two private PostgreSQL of `zoco up --standby`: what is committed is with both, and outlives either."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS
from postgres_server import follows, running_pair

from ops.postgres import Database, DatabaseError, processes_in
from ops.postgres_pair import LEADS, SECOND, SETTINGS, Pair, Postgres, database_of, leading


async def put(pair: Pair, number: int) -> None:
    async with pair.primary.connected() as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS seen (number int)")
        await connection.execute("INSERT INTO seen VALUES ($1)", number)


async def seen(database: Database) -> list[int]:
    async with database.connected() as connection:
        return [row[0] for row in await connection.fetch("SELECT number FROM seen ORDER BY number")]


async def test_what_was_committed_outlives_each_of_the_two_in_turn(tmp_path: Path) -> None:
    async with running_pair(tmp_path / "pair") as pair:
        for number in range(3):
            await put(pair, number)
            # As `zoco up` does when it has ended: it is started again.
            pair.primary.kill()
            await pair.wait()
            await pair.start()
            assert await seen(pair.primary) == list(range(number + 1))
            await follows(pair)
        # Who was replaced is a copy, and has what came since.
        assert (tmp_path / "pair" / LEADS).read_text() == f"{SECOND} 4"
        await put(pair, 3)
        assert await seen(pair.other) == [0, 1, 2, 3]


async def test_while_there_is_no_standby_nothing_is_committed(tmp_path: Path) -> None:
    async with running_pair(tmp_path / "pair") as pair:
        await put(pair, 1)
        pair.other.kill()
        writing = asyncio.create_task(put(pair, 2))
        async with asyncio.timeout(PATIENCE_SECONDS), pair.primary.connected() as connection:
            while not await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
                await asyncio.sleep(0.05)
        assert not writing.done()
        await follows(pair)
        await writing
        assert await seen(pair.other) == [1, 2]


async def test_one_that_is_not_strict_commits_alone_and_loses_it(tmp_path: Path) -> None:
    """The control: it is the wait that keeps what was committed."""
    async with running_pair(tmp_path / "pair", strict=False) as pair:
        await put(pair, 1)
        # It may have what was made before, and not yet what was written then: nobody waits for it.
        async with asyncio.timeout(PATIENCE_SECONDS), pair.primary.connected() as connection:
            written = await connection.fetchval("SELECT pg_current_wal_lsn()")
            replayed = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= $1"
            while not await connection.fetchval(replayed, written):
                await asyncio.sleep(0.05)
        assert await seen(pair.other) == [1]
        pair.other.kill()
        await put(pair, 2)
        pair.primary.kill()
        await pair.wait()
        await pair.start()
        assert await seen(pair.primary) == [1]


async def test_whichever_is_newer_is_found_again_and_never_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    async with running_pair(folder) as pair:
        await put(pair, 1)
        pair.primary.kill()
        await pair.wait()
        await pair.start()
        await follows(pair)
        await put(pair, 2)
        assert (folder / LEADS).read_text() == f"{SECOND} 2"
    with pytest.raises(DatabaseError, match="add --standby"):
        database_of(Postgres(), folder, 0, 100)
    # As `zoco migrate` does: there is no standby, and it commits.
    found = leading(folder)
    assert isinstance(found, Pair)
    try:
        await found.start()
        await asyncio.wait_for(put(found, 3), PATIENCE_SECONDS)
    finally:
        await found.stop()
    async with running_pair(folder) as pair:
        assert await seen(pair.primary) == [1, 2, 3]
        assert pair.primary.folder == folder / SECOND


async def test_one_that_did_not_take_over_in_time_does_when_it_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went on as a standby of the dead one, which was made anew as its own: nobody was written to."""
    monkeypatch.setattr("ops.postgres_pair.PROMOTE_SECONDS", 1)
    async with running_pair(tmp_path / "pair") as pair:
        await put(pair, 1)
        (replays,) = [one for one in processes_in(pair.other.data) if "startup" in " ".join(one.cmdline())]
        replays.suspend()
        pair.primary.kill()
        await pair.wait()
        with pytest.raises(DatabaseError, match=f"{SECOND} did not take over in 1 s"):
            await pair.start()
        assert (tmp_path / "pair" / LEADS).read_text() == f"{SECOND} 2"
        following = asyncio.ensure_future(follows(pair))
        with pytest.raises(DatabaseError, match="did not take over"):
            await pair.start()
        replays.resume()
        await pair.start()
        await following
        await put(pair, 2)
        assert pair.primary.folder.name == SECOND
        assert await seen(pair.other) == [1, 2]


@pytest.mark.parametrize("dies", [False, True])
async def test_one_that_lets_nobody_in_when_it_is_to_take_over_does_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, dies: bool
) -> None:
    monkeypatch.setattr("ops.postgres.CALL_SECONDS", 1.0)
    async with running_pair(tmp_path / "pair") as pair:
        await put(pair, 1)
        pair.other.freeze()
        pair.primary.kill()
        await pair.wait()
        with pytest.raises(DatabaseError, match="does not let its owner in"):
            await pair.start()
        if dies:
            pair.primary.kill()
            await pair.wait()
        else:
            pair.primary.thaw()
        await pair.start()
        await follows(pair)
        await put(pair, 2)
        assert (tmp_path / "pair" / LEADS).read_text() == f"{SECOND} 2"
        assert await seen(pair.primary) == [1, 2]


async def written_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair whose leader, as in `zoco migrate`, went on alone: by more than its log keeps for who is away."""
    monkeypatch.setitem(SETTINGS, "wal_keep_size", "0")
    async with running_pair(folder) as pair:
        await put(pair, 1)
    found = leading(folder)
    try:
        await found.start()
        assert isinstance(found, Pair)
        await put(found, 2)
        async with found.primary.connected() as connection:
            for _ in range(3):
                await connection.execute("SELECT pg_switch_wal()")
                await connection.execute("CHECKPOINT")
    finally:
        await found.stop()


async def test_what_was_written_alone_outlives_who_it_was_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of before was taken for one of now: a failover put the books back to it."""
    await written_alone(folder := tmp_path / "pair", monkeypatch)
    pair = Pair(folder)
    try:
        await pair.start()
        await asyncio.wait_for(pair.standby.start(), PATIENCE_SECONDS)
        # Whether it follows yet, nobody asks.
        pair.primary.kill()
        await pair.wait()
        await pair.start()
        assert await seen(pair.primary) == [1, 2]
    finally:
        await pair.stop(0)


async def test_after_more_was_written_alone_than_the_log_keeps_there_is_a_standby_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written_alone(folder := tmp_path / "pair", monkeypatch)
    async with running_pair(folder) as pair:
        await asyncio.wait_for(put(pair, 3), PATIENCE_SECONDS)
        assert await seen(pair.other) == [1, 2, 3]


@pytest.mark.parametrize("left", ["", "second", "second x"])
async def test_where_it_is_not_known_which_is_newer_none_is_started(tmp_path: Path, left: str) -> None:
    """An empty note, as a power cut leaves one, was taken for a pair that is new: the first of the two led."""
    (folder := tmp_path / "pair").mkdir()
    (folder / LEADS).write_text(left)
    pair = Pair(folder)
    try:
        with pytest.raises(DatabaseError, match="which of the two"):
            await pair.start()
    finally:
        await pair.stop(0)
    assert (folder / LEADS).read_text() == left


async def test_a_copy_that_was_broken_off_is_made_anew(tmp_path: Path) -> None:
    async with running_pair(tmp_path / "pair") as pair:
        await put(pair, 1)
    # It looks whole, and nobody noted that it is.
    (tmp_path / "pair" / SECOND / "term").unlink()
    (tmp_path / "pair" / SECOND / "data" / "half").touch()
    async with running_pair(tmp_path / "pair") as pair:
        assert not (pair.other.data / "half").exists()
        await put(pair, 2)
        assert await seen(pair.other) == [1, 2]
