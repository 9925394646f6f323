"""Worlds in which one book is emptied, or put back as it was, at any moment, among all the other faults."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sim_books import audited
from sim_broker import Broken
from sim_disk import SimDisk
from sim_loop import Process
from sim_promises import check
from sim_seeds import in_chunks
from sim_world import ACTIVE_SECONDS, DOMAINS, EPOCH, Pod, World
from test_rebuild import all_of

from broker.heights import Height
from broker.messages import Message
from broker.services import SERVICES
from services.rebuild.evidence import Evidence
from services.rebuild.rebuilding import NotRebuilt, in_order
from services.shared.heights import BookHeights, Doubted
from services.shared.journal.segments import SEGMENT
from services.shared.journal.store import JsonStore

SEEDS = 100
MORE = 1_900
CHUNK = 50
# So many of them are lived through without the alarm, too.
WITHOUT = 60
# Worlds that once found a bug, and which.
FOUND = {
    1662: "who asked for what was sold took the place in a full line of one of whom nobody had heard",
    68: "a message was the last that knew of the lost book, and `zoco rebuild` asked the others alone",
    113: "a writer that was replaced, and did not know it, doubted its own book when it asked the others",
    547: "a seed that grew made an older copy as long as the book that was lost",
    2030: "a seed that grew made an older copy as long as the book that was lost",
    3424: "whoever is refused by a new price was put in line before it, as nobody had heard of the new price",
    694: "a line was put in order and nothing was taken back: one buyer waits in it only once",
    985: "a line was put in order and nothing was taken back: who was told that they wait there took the token",
    2053: "a line was put in order and nothing was taken back: one buyer waits in it only once",
    3868: "a book that holds all of another one doubted itself for what others had heard of that one",
    4715: "whoever could not pay was made to pay, as nobody had heard of the sale before",
    38258: "two had heard the same word with different contents, and one of them was passed over",
    49997: "an epoch was given up with another one behind it, and who was replaced looked for the first one only",
}
SEEN: Counter[str] = Counter()


class Quiet(Process):
    """One that nothing happens to."""

    def at(self, point: str, quiet: bool = False) -> bool:
        return False


class LostWorld(World):
    """One book is lost between the first purchases and the end of the faults; whoever runs the shop has it rebuilt."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        chance = Random(f"{seed}, lost")
        self.service = chance.choice(SERVICES)
        self.how = chance.choice(("emptied", "older copy"))
        at = chance.uniform(0.5, ACTIVE_SECONDS)
        self.older: dict[str, Any] = {}
        self.noticed = self.rebuilding = False
        # What was said of it in a message, when that was the reason.
        self.lost: list[Height] = []
        self.heard: list[Any] = []
        # Who takes nothing, as it heard of a book that is not the one it knows.
        self.doubters: set[str] = set()
        self.only_there: set[str] = set()
        # Which books they doubted.
        self.doubted: set[str] = set()
        # How far the older copy went.
        self.kept = 0
        self.waits = self.unheard = self.contradicts = False
        if self.how == "older copy":
            self.loop.call_later(chance.uniform(0.2, at), self._copy, context=self.context)
        self.loop.call_later(at, self._lose, chance.uniform(0.1, 1), context=self.context)

    def _copy(self) -> None:
        """As of a service that is down just then: whole, and on the disk."""
        files = self.folders[self.service].files
        # Who was replaced and does not know it has another end than the folder.
        stores = [pod.store for pod in self.pods[self.service] if pod.store.leads]
        leaders = [one for one in stores if one._segments[-1].name == max(filter(SEGMENT.fullmatch, files))]
        if leaders:
            store = leaders[0]
            self.older = self.folders[self.service].copy().files
            last = store._segments[-1].name
            del self.older[last].data[store._end :]

    def _lose(self, seconds: float) -> None:
        self.down[self.service] += 1
        for pod in list(self.pods[self.service]):
            pod.die("its book is lost")
        folder = self.folders[self.service]
        heard = [self._read(name).heights.heard.get(self.service) for name in SERVICES if name != self.service]
        folder.files, folder.owner = dict(self.older), None
        kept = self._read(self.service)
        self.kept = kept.seq
        # Nobody can notice what nobody has heard of: that copy is as good as the book, as far as the others know.
        self.unheard = all(at is None or at[:3] <= (kept.heights.book, 1, kept.seq) for at in heard)
        self.counts[f"{self.service}, {self.how}"] += 1
        self.loop.call_later(seconds, self._up, self.service, context=self.context)

    def _ended(self, pod: Pod, task: asyncio.Task[None]) -> None:
        error: BaseException | None = None if task.cancelled() else task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not pod.alive or not isinstance(error, Doubted):
            super()._ended(pod, task)
            return
        if error.doubt.of != self.service:
            self.loop.failure = Broken("15", f"{pod.service} doubts {error.doubt.of}, and not {self.service}: {error}")
        self.lost += [error.doubt.lost] if error.doubt.lost else []
        if error.doubt.book:
            self.doubted.add(error.doubt.book)
        if pod.service not in {self.service, *self.doubters} and not self.counts["rebuilt"]:
            # It decides nothing until then; a process that begins anew would, until it meets that message again.
            self.down[pod.service] += 1
        self.doubters.add(pod.service)
        self.counts["doubted itself" if pod.service == self.service else "doubted by another"] += 1
        if not self.noticed:
            # Whoever notices it: the operator looks. What a process has heard may be in no record of its book yet.
            self.noticed = True
            self.heard = [other.store.heights.heard for other in self.processes() if other.service != self.service]
            self.down[self.service] += 1
            for other in list(self.pods[self.service]):
                other.die("in doubt")
        pod.die("in doubt")

    def _over(self) -> bool:
        if self.healed and self.noticed and not self.rebuilding and not self.broker.late:
            others = [name for name in SERVICES if name != self.service and name not in self.doubters]
            wires = [wire for name in others for wire in self.broker.wires[name]]
            # What waits for room is in no queue any more where the broker lost its disk.
            loops = [pod.loop for name in others for pod in self.pods[name] if pod.loop]
            busy = any(inbox._unfinished_tasks for loop in loops for inbox in (loop._inbox, loop._decided))  # type: ignore[attr-defined]
            if not busy and not any(self.broker.queues[name] for name in others) and not any(w.unacked for w in wires):
                self.rebuilding = True
                task = self.loop.create_task(self._rebuild(), context=self.context.copy())
                task.add_done_callback(self._job_ended, context=self.context)
        return not (self.noticed and self.counts["rebuilt"] == 0) and super()._over()

    async def _rebuild(self) -> None:
        others = {name: self._read(name) for name in SERVICES if name != self.service}
        heights = [writer.store.heights.heard for name in others if (writer := self.writer(name)) is not None]
        heights += [*self.heard, *(store.heights.heard for store in others.values())]
        known = self.lost + [heard[self.service] for heard in heights if self.service in heard]
        if not known:
            # Who had heard of it has died, and had nothing of it in its journal: nobody misses it, once it starts anew.
            self.noticed = self.rebuilding = False
            self._all_up()
            return
        height = max(known)
        evidence = Evidence(self.service)
        for name, store in others.items():
            for raw in all_of(store):
                evidence.peer(name, store.heights.book, store.heights.generation, _json(raw))
        store = JsonStore(SimDisk(self.folders[self.service], Quiet()), DOMAINS[self.service], self._clock)
        store.load()
        if went_on := store.seq > self.kept:
            # While nobody who knew better answered, it went on; what it could not decide then is asked for again.
            self.counts["went on"] += 1
            letters = self.broker.letters[self.service]
            letters[:] = [letter for letter in letters if letter[0] == "poison"]
        assert await store.lead()
        for raw in all_of(store):
            same = store.heights.book == height.book
            evidence.own(_json(raw), same_book=same, generation=store.heights.generation)
        try:
            messages = in_order(DOMAINS[self.service], evidence, self.seeds.get(self.service, ()))
        except NotRebuilt:
            # Only what it decided anew, as an older copy, may contradict what others heard: that is said, and no more.
            self.contradicts = went_on
            raise
        again = BookHeights(self.service, height.book, height.generation + 1)
        # Who had heard nothing yet may have believed the new book: `zoco rebuild` leaves that to a person.
        books = {one.book for one in known} | {store.heights.book} | self.doubted
        again.formerly = sorted(books - {height.book, ""})

        async def batches() -> AsyncIterator[Sequence[Message]]:
            yield messages

        await store.begin_again(again, batches())
        self.folders[self.service].owner = None
        if self.service == "compras":
            self.only_there = {one.subject for one in messages}
        self.counts["rebuilt"] += 1
        self.counts["rebuilt messages"] += len(messages)
        self._all_up()

    def _all_up(self) -> None:
        """Who doubts goes on when the book that was doubted says that it is whole."""
        self._up(self.service)
        for name in self.doubters - {self.service}:
            self._up_again(name)
        self.doubters.clear()

    def _up_again(self, service: str) -> None:
        if self.writer(self.service) is not None:
            self._up(service)
        else:
            self.loop.call_later(0.1, self._up_again, service, context=self.context)

    def _read(self, name: str) -> JsonStore[Any]:
        store: JsonStore[Any] = JsonStore(SimDisk(self.folders[name].copy(), Quiet()), DOMAINS[name], lambda: "")
        store.load(to_the_end=True)
        return store

    def _clock(self) -> str:
        return (EPOCH + timedelta(seconds=self.loop.now)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _json(raw: bytes) -> Any:
    return json.loads(raw)


def only_top_ups_wait(world: World) -> bool:
    """For a user whom nobody has registered any more."""
    writer = world.writer("compras")
    return writer is not None and {getattr(row, "tipo", "") for row in writer.store.rows.values()} == {
        "saldo.recargado"
    }


def simulate(seed: int) -> LostWorld:
    """Raises Broken."""
    world = LostWorld(seed)
    try:
        try:
            world.run()
        except Broken:
            if world.contradicts or (world.unheard and not world.noticed):
                world.waits = True
                return world
            if world.service != "compras" or not only_top_ups_wait(world):
                raise
            # Whose registration only compras' lost disk knew.
            world.waits = True
            return world
        if world.service == "compras":
            # What only its own disk knew cannot come back: under its key it, or something else, was accepted anew.
            store = world.writer("compras").store  # type: ignore[union-attr]
            before = len(world.told)
            world.told = [
                one
                for one in world.told
                if "id" in one.answer
                and (row := store.find(one.answer["id"])) is not None
                and row.fecha == one.answer["fecha"]
            ]
            world.counts["only compras knew"] += before - len(world.told)
        try:
            check(world)
        except Broken:
            world.waits = world.unheard and not world.noticed
            if not world.waits:
                raise
    finally:
        world.loop.close()
    return world


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    in_chunks(metafunc, SEEDS, MORE, CHUNK)


def test_a_lost_book_is_noticed_and_rebuilt_and_the_promises_hold(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + CHUNK):
        try:
            world = simulate(seed)
        except Broken as broken:
            pytest.fail(f"seed {seed}: {broken}", pytrace=False)
        SEEN.update(world.counts)
        if world.waits:
            continue
        verdict = audited(world, tmp_path / str(seed))
        found = "\n".join(f"promise {b.promise}: {b.about}: {b.says}" for b in verdict.breaches)
        SEEN["nobody could know"] += not verdict.holds
        assert verdict.holds or (world.unheard and not world.noticed), f"seed {seed}:\n{found}"
        shutil.rmtree(tmp_path / str(seed))


@pytest.mark.parametrize("seed", FOUND)
def test_a_world_that_once_found_a_bug_keeps_its_promises(seed: int, tmp_path: Path) -> None:
    world = simulate(seed)
    if not world.waits:
        verdict = audited(world, tmp_path / "books")
        assert verdict.holds, [(breach.promise, breach.about, breach.says) for breach in verdict.breaches]


def test_without_the_alarm_the_same_worlds_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With it none of these seeds does: see above. In some a book is lost before anybody has heard of it."""
    monkeypatch.setattr(BookHeights, "doubt", lambda *_: None)
    broken: Counter[int] = Counter()
    worlds = 0
    for seed in range(WITHOUT):
        world = LostWorld(seed)
        try:
            world.run()
            assert not world.noticed
            found = set(audited(world, tmp_path / str(seed)).counts)
        except Broken as error:
            found = {int(error.promise)}
        finally:
            world.loop.close()
        worlds += bool(found)
        broken.update(found)
    # 40 of 60, when this was written: money (1), purchases without an end (4), records (5), confirmed and not sold (6).
    assert worlds >= WITHOUT // 2, (worlds, broken)
    assert {1, 4, 5, 6} <= broken.keys(), broken
