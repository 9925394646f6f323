"""Worlds whose books are backed up while all goes on and goes wrong, one after the other, and put back later."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from sim_books import audited
from sim_broker import Broken
from sim_disk import SimDisk
from sim_loop import Killed, Process
from sim_promises import check
from sim_seeds import in_chunks
from sim_world import ACTIVE_SECONDS, DOMAINS, Pod, World
from test_lost_worlds import Quiet, only_top_ups_wait
from test_rebuild import all_of

from broker.services import SERVICES
from loadgen.audit.audit import Books, audit
from loadgen.audit.backup import from_backup
from ops import backup as backups
from ops.copies import Identity
from services.rebuild.restore import heights_of
from services.shared.heights import Doubted
from services.shared.journal.store import JsonStore

SEEDS = 50
MORE = 950
CHUNK = 50
SEEN: Counter[str] = Counter()


class Mortal(Process):
    """The process that a book is put into, which dies after so many steps, and when its machine does."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def at(self, point: str, quiet: bool = False) -> bool:
        self.steps -= 1
        if self.steps < 0 or not self.alive:
            raise Killed(point)
        return False


class RestoredWorld(World):
    """Somebody makes a backup, and puts it back before the faults end: into the books as they are, or into new ones."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed)
        self.chance = chance = Random(f"{seed}, backup")
        self.file = folder / f"{seed}.tar"
        self.putting: dict[str, Mortal] = {}
        self.copies: dict[str, bytes] = {}
        self.identities_then: dict[Any, Identity] = {}
        self.restored = self.under_way = self.waits = False
        self.emptied = chance.choice(((), (), tuple(SERVICES), (chance.choice(SERVICES),)))
        begin = chance.uniform(0.3, ACTIVE_SECONDS - 1)
        self.order = chance.sample(SERVICES, 4)
        for at, name in zip(sorted(chance.uniform(begin, begin + 0.6) for _ in SERVICES), self.order, strict=True):
            self.loop.call_later(at, self._copy, name, context=self.context)
        self.loop.call_later(begin + chance.uniform(0.7, 2), self._begin_restore, context=self.context)

    def _copy(self, name: str) -> None:
        """What /diario answers: of the one who writes, or whoever reads along."""
        writer = self.writer(name)
        store = writer.store if writer else self._read(name)
        self.copies[name] = b"".join(all_of(store))
        heights = store.heights
        self.identities_then[name] = Identity(heights.book, heights.generation, tuple(heights.formerly))

    def _read(self, name: str) -> JsonStore[Any]:
        store: JsonStore[Any] = JsonStore(SimDisk(self.folders[name].copy(), Quiet()), DOMAINS[name], lambda: "")
        store.load()
        return store

    def _begin_restore(self) -> None:
        if any(not which.book for which in self.identities_then.values()):
            # A service had not begun: `zoco backup` says so.
            self.counts["too early"] += 1
            self.restored = True
            return
        self.under_way = True
        self._begin(self._restore, (), {})

    async def _restore(self) -> None:
        def pieces(name: Any) -> Iterator[bytes]:
            yield self.copies[name]

        with backups.made(self.file, lambda: self.identities_then, pieces, lambda *_: None) as (whole, _):
            books: Any = from_backup(whole)
            verdict = audit(Books(**books, cut=True, line=self.max_cola))
            if not verdict.holds:
                found = "\n".join(f"promise {b.promise}: {b.about}: {b.says}" for b in verdict.breaches)
                raise Broken("backup", found)
            self.counts["under way in the backup"] += verdict.under_way
        for name in self.emptied:
            self._stop(name)
            self.folders[name].files, self.folders[name].owner = {}, None
            self.loop.call_later(self.chance.uniform(0.1, 1), self._up, name, context=self.context)
        if self.emptied:
            await asyncio.sleep(self.chance.uniform(0, 3))
        manifest = backups.read(self.file)
        tries = 0
        while True:
            now = {name: self._now(name) for name in SERVICES}
            heads = backups.going_on(manifest.books, {name: (said, old) for name, (said, old) in now.items()})  # type: ignore[misc]
            tries += 1
            try:
                for name in self.chance.sample(SERVICES, 4):
                    await self._put(name, heads[name].line, self.chance.choice((3, 9, 20)) if tries < 4 else 1 << 30)
                    await asyncio.sleep(self.chance.uniform(0, 0.6))
                break
            except (Killed, OSError):
                self.counts["a restore that died"] += 1
                await asyncio.sleep(self.chance.uniform(0.1, 0.6))
        self.file.unlink()
        # What was bought since is thrown away, and what clients were told of it.
        self.told.clear()
        self.restored = True
        self.counts["restored"] += 1

    def _now(self, name: str) -> tuple[str, list[str]]:
        store = self._read(name)
        return store.heights.said(store.seq), store.heights.formerly

    def _stop(self, name: str) -> None:
        self.down[name] += 1
        for pod in list(self.pods[name]):
            pod.die("a backup is put back")

    async def _put(self, name: str, head: bytes, steps: int) -> None:
        self._stop(name)
        folder = self.folders[name]
        folder.owner = None
        self.putting[name] = Mortal(steps)
        disk = SimDisk(folder, self.putting[name])
        try:
            store: JsonStore[Any] = JsonStore(
                disk, DOMAINS[name], lambda: Pod.now(SimpleNamespace(world=self, skew=self.skews[name]))
            )  # type: ignore[arg-type]
            store.load()
            heights = heights_of(name, head, store.heights)  # type: ignore[arg-type]

            async def records() -> AsyncIterator[Sequence[bytes]]:
                for piece in backups.pieces_of(self.file, name):  # type: ignore[arg-type]
                    lines = piece.splitlines(keepends=True)
                    for at in range(0, len(lines), 5):
                        yield lines[at : at + 5]

            await store.put_back(heights, records())
        finally:
            folder.owner = None
            self._up(name)

    def _strike(self, kind: str, service: str, pod: Pod | None) -> None:
        if kind == "power cut" and service in self.putting:
            self.putting[service].alive = False
        super()._strike(kind, service, pod)

    def _ended(self, pod: Pod, task: asyncio.Task[None]) -> None:
        error: BaseException | None = None if task.cancelled() else task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if pod.alive and isinstance(error, Doubted) and self.under_way:
            # Until all are back: it asks again, and is asked meanwhile.
            self.counts["doubted"] += 1
            self.doubting[pod.service] = pod.store.heights
            pod.die("in doubt")
        else:
            super()._ended(pod, task)

    def _over(self) -> bool:
        return self.restored and super()._over()


def simulate(seed: int, folder: Path) -> RestoredWorld:
    """Raises Broken."""
    world = RestoredWorld(seed, folder)
    try:
        try:
            world.run()
        except Broken:
            # Whose registration was thrown away.
            world.waits = only_top_ups_wait(world)
            if not world.waits:
                raise
            return world
        check(world)
    finally:
        world.loop.close()
    return world


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    in_chunks(metafunc, SEEDS, MORE, CHUNK)


def test_a_backup_is_one_consistent_state_and_can_be_put_back_at_any_moment(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + CHUNK):
        try:
            world = simulate(seed, tmp_path)
        except Broken as broken:
            pytest.fail(f"seed {seed}: {broken}", pytrace=False)
        SEEN.update(world.counts)
        if world.waits:
            continue
        verdict = audited(world, tmp_path / str(seed))
        found = "\n".join(f"promise {b.promise}: {b.about}: {b.says}" for b in verdict.breaches)
        assert verdict.holds, f"seed {seed}:\n{found}"
        shutil.rmtree(tmp_path / str(seed))


def test_four_copies_of_four_moments_are_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "cut", lambda copies: {name: copy.records for name, copy in copies.items()})
    found = set()
    for seed in range(12):
        try:
            simulate(seed, tmp_path)
        except Broken as broken:
            found.add(broken.promise)
    assert "backup" in found, found


if __name__ == "__main__":
    import sys

    with tempfile.TemporaryDirectory() as place:
        print(simulate(int(sys.argv[1]), Path(place)).counts)
