"""The PostgreSQL store as a state machine: its batch, publish, ack, and whatever may happen between any two of them.

A step of the model is a step of the code, and has its name: S1 to S9 stand in the comments of
`services/shared/postgres/` (`schema.sql` has S1, S2, and S4 to S8).

| here | in the code |
| --- | --- |
| `receive` | a batch is handed out by the broker, or a POST comes; S1 begins, and its snapshot is taken |
| `S1` | a row that exists is locked, one after the other; who has to wait sees its newest version then |
| `S2 S3` | in a new snapshot `recuerdo` is read, and all is decided: by the services' own `domain.py` |
| `S4` | an absent row is inserted, one after the other; a rival's that is not committed is waited for |
| `S5` | the others are updated. Nobody can see it, and with the rows locked nobody is waited for: no step of its own |
| `S6` | the advisory lock is taken; S7, S8, S9: base, records, COMMIT is in the primary's WAL, and waits |
| `S9` | the standby has it: the others see it, the locks are free, the answer is there |
| `publish`, `ack` | one word after the other is confirmed; the batch is settled, and `voces.dicho` moves |

What PostgreSQL does, as far as it matters: a snapshot for each statement (READ COMMITTED), row locks, ON CONFLICT DO
NOTHING, locks until a commit is visible, a WAL that the standby has a beginning of, a waiting COMMIT that survives its
client. `sees` are the tables as anybody sees them, `standby` those that a failover leaves. That the primary starts
again stands for a standby, too, that is promoted with more than the next one has: what nobody confirmed is visible.

What is left out of the interleavings, and why nothing is missed by it:
- A step that takes no lock, and whose effect nobody sees, is one with the step before it (S3, S5, S7, S8): whoever
  comes between finds the same, and a crash there rolls back what a crash before it does.
- A service that is not looked at (`Setup.processes`) decides at once when it hears something, as if it could not fail:
  its tables are its own, and what it says can wait in the queue as long as it likes.
- A queue holds a message once: a second copy is one that is in somebody's hands (`again` keeps a copy).
- The standby's confirmation, visibility and the answer are one step; the failover between them is the failover that
  the standby had already confirmed a commit for, whose answer never came.
- A process that dies is rolled back at once; its COMMIT, once begun, goes on and holds its locks.

Not in it: a book that is written again (S7's `libro`), what the books know of each other, dates, a `dicho` that a
failover sets back (more is said again), a second batch while the first is published (that is another process here).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

from pg_business import Book, Record, Rows, decide, heard_by, key, recuerdo, same, subject, unfinished, wrong
from pg_world import (
    ADVISORY,
    CHOICES,
    FAULTS,
    NOTHING,
    OUTSIDE,
    RULES,
    Commit,
    Other,
    Proc,
    Setup,
    Step,
    World,
    applied,
    change,
    fault,
    free,
    is_of,
    is_post,
    keeps,
    last,
    left,
    put,
    said,
    shown,
    spent,
    version,
    wants,
    without,
)


class Model:
    def __init__(self, setup: Setup) -> None:
        assert not setup.without - RULES.keys() - CHOICES.keys()
        self.setup = setup
        self._locking = {"S1": self._s1, "S4": self._s4, "S5": self._s5, "S6": self._s6, "S6 first": self._s6_first}
        self.micro = tuple(setup.processes)
        self.other = tuple(
            name for name in ("compras", "tokens", "usuarios", "transacciones") if name not in self.micro
        )

    def rule(self, name: str) -> bool:
        assert name in RULES or name in CHOICES
        return name not in self.setup.without

    def start(self) -> World:
        setup = self.setup
        books = tuple(self._book(name) for name in self.micro)
        services = (at for at, name in enumerate(self.micro) for _ in range(setup.processes[name]))
        world = World(
            sees=books,
            standby=books,
            procs=tuple(map(Proc, services)),
            queues=((),) * len(self.micro),
            others=tuple(self._other(name) for name in self.other),
            faults=tuple(setup.faults.get(name, 0) for name in FAULTS),
            posts=tuple(sorted(setup.posts)),
            sequence=len(books[0].diario),
        )
        for name in setup.said:
            world = self._told(world, name)
        return world

    def _book(self, service: str) -> Book:
        book = Book()
        for seq, name in enumerate(self.setup.decided.get(service, ()), start=1):
            which = key(service, name)
            decision = decide(service, dict(book.rows).get(which, 0), name)
            assert decision is not None
            book = book.with_(((which, decision[0]),), (Record(seq, name, decision[1]),))
        return book

    def _other(self, service: str) -> Other:
        other = Other()
        for name in self.setup.decided.get(service, ()):
            heard = self._at_once(service, other, name)
            assert heard is not None
            other, _ = heard
        return other

    def _at_once(self, service: str, other: Other, name: str) -> tuple[Other, tuple[str, ...]] | None:
        """What comes of it in a service that cannot fail."""
        known = dict(other.known)
        if same(name) in other.seen:
            return other, known.get(subject(name), ())
        which = key(service, name)
        decision = decide(service, dict(other.rows).get(which, 0), name)
        if decision is None:
            return None
        row, words = decision
        if self.rule("silence"):
            known[subject(name)] = ()
        known.update((subject(word), (word,)) for word in words)
        rows = tuple(sorted({**dict(other.rows), which: row}.items()))
        return Other(rows, tuple(sorted((*other.seen, same(name)))), tuple(sorted(known.items()))), words

    # What happens outside.

    def _told(self, world: World, name: str) -> World:
        """A word is in the queues of those who hear it; who is not looked at has decided at once."""
        for service in heard_by(name):
            if service in self.micro:
                at = self.micro.index(service)
                world = world._replace(queues=put(world.queues, at, tuple(sorted({*world.queues[at], name}))))
                continue
            at = self.other.index(service)
            heard = self._at_once(service, world.others[at], name)
            if heard is None:
                return world._replace(broken=f"{name} becomes a dead letter of {service}")
            other, words = heard
            world = world._replace(others=put(world.others, at, other))
            for word in words:
                world = self._told(world, word)
        return world

    def steps(self, world: World) -> list[Step]:
        """All that can happen now."""
        found = [step for number in range(len(world.procs)) for step in self._of(world, number)]
        found += self._replicated(world)
        if not found:
            found += self._asked_again(world)
        found += self._faults(world)
        return [step._replace(to=self._seen(world, step.to)) for step in found]

    def _seen(self, before: World, after: World | str) -> World | str:
        """What is wrong with what anybody can see now."""
        if isinstance(after, str) or after.broken:
            return after if isinstance(after, str) else after.broken
        for books, were in ((after.sees, before.sees), (after.standby, before.standby)):
            if books is not were and (what := next(filter(None, map(wrong, self.micro, books)), None)):
                return what
        return after

    def end(self, world: World) -> str | None:
        """What is not right when nothing more will happen."""
        if world.posts:
            return f"nobody answers {', '.join(world.posts)}"
        if any(proc.at != "idle" for proc in world.procs) or any(world.queues):
            return "nobody can go on, and there is work"
        waits = unfinished(self._compras(world))
        return f"{', '.join(map(subject, waits))} never comes to an end" if waits else None

    def _compras(self, world: World) -> Rows:
        if "compras" in self.micro:
            return world.sees[self.micro.index("compras")].rows
        return world.others[self.other.index("compras")].rows

    def _asked_again(self, world: World) -> Iterator[Step]:
        """The resender, once all is quiet."""
        if self.setup.busy or not self.rule("resender"):
            return
        after = world
        for name in (names := unfinished(self._compras(world))):
            after = self._told(after, name)
        if names:
            yield Step(f"the resender asks again: {', '.join(names)}", after)

    # One process.

    def _of(self, world: World, number: int) -> Iterator[Step]:
        proc = world.procs[number]
        who = self._who(world, number)
        match proc.at:
            case at if world.awaited and at not in ("publish", "ack"):
                pass
            case "idle" if proc in world.procs[:number]:
                pass  # The one before it does the same.
            case "idle":
                yield from self._receive(world, number)
                yield from self._speak(world, number)
            case "begin":
                yield Step(f"{who} does it again; S1 begins", self._begin(world, number))
            case "S1" | "S4" | "S5" | "S6" | "S6 first":
                which = wants(proc)
                assert which is not None
                if (rival := self._in_the_way(world, number, which)) is None:
                    yield self._locking[proc.at](world, number)
                elif self._deadlocked(world, number, rival):
                    yield Step(f"{who} waits", f"deadlock: {who} waits for somebody who waits for it")
            case "S2":
                yield self._s2(world, number)
            case "S9 go":
                yield Step(f"{who} S9 COMMIT", self._committed(world, number))
            case "publish":
                yield self._publish(world, number)
            case "ack":
                yield self._ack(world, number)
            # S9: the standby's turn.

    def _who(self, world: World, number: int) -> str:
        service = world.procs[number].service
        first = [proc.service for proc in world.procs].index(service)
        return f"{self.micro[service]}.{number - first + 1}"

    def _is_door(self, proc: Proc) -> bool:
        return self.micro[proc.service] == "compras"

    def _receive(self, world: World, number: int) -> Iterator[Step]:
        proc = world.procs[number]
        who, queue = self._who(world, number), world.queues[proc.service]
        door = self._is_door(proc)
        ready = (*queue, *(world.posts if door else ()))
        for many in range(1, self.setup.batch + 1):
            for batch in permutations(ready, many):
                label = f"{who} receives {', '.join(batch)}"
                if door and not self.rule("accept by writing") and (step := self._read(world, number, batch)):
                    yield step._replace(name=f"{label}, and answers by what it reads")
                    continue
                taken = change(world, number, batch=batch)
                once = taken._replace(
                    queues=put(world.queues, proc.service, without(queue, batch)),
                    posts=without(world.posts, batch) if door else world.posts,
                )
                yield Step(f"{label}; S1 begins", self._begin(once, number))
                if left(world, "again") and set(batch) & set(queue):
                    twice = spent(once._replace(queues=world.queues), "again")
                    yield Step(f"{label}, and the broker keeps a copy; S1 begins", self._begin(twice, number), True)

    def _read(self, world: World, number: int, batch: Sequence[str]) -> Step | None:
        """What a front door must not do: answer what is in the book already, without a batch of its own."""
        posts = [name for name in batch if is_post(name)]
        if posts == list(batch) and all(same(name) in recuerdo(world.sees[0].diario) for name in posts):
            wrong = self._lost(world, world.procs[number]._replace(batch=tuple(batch)))
            return Step("", wrong or world._replace(posts=without(world.posts, batch)))
        return None

    def _begin(self, world: World, number: int) -> World:
        """S1's snapshot: which rows there are."""
        proc = world.procs[number]
        book = world.sees[proc.service]
        keys = dict.fromkeys(key(self.micro[proc.service], name) for name in proc.batch)
        there = [which for which in (sorted(keys) if self.rule("rows in order") else keys) if which in dict(book.rows)]
        proc = proc._replace(at="S1", todo=tuple(there), held=(), rows=(), new=(), records=(), words=(), base=-1)
        if not self.rule("second statement"):
            proc = proc._replace(snapshot=book.diario)
        if not self.rule("row lock"):
            proc = proc._replace(todo=(), rows=tuple((which, dict(book.rows)[which]) for which in there))
        if not proc.todo:
            proc = proc._replace(at="S2")
        # Who has something to insert takes the advisory lock first; or all do.
        if not self.rule("advisory lock last") or (not self.rule("one place for it") and len(there) < len(keys)):
            proc = proc._replace(at="S6 first")
        return world._replace(procs=put(world.procs, number, proc))

    def _s6_first(self, world: World, number: int) -> Step:
        proc = world.procs[number]
        after = change(world, number, at="S1" if proc.todo else "S2", held=(ADVISORY,))
        return Step(f"{self._who(world, number)} S6 takes the advisory lock, first", after)

    def _s1(self, world: World, number: int) -> Step:
        proc = world.procs[number]
        which, *todo = proc.todo
        book = world.sees[proc.service]
        row, kept = dict(book.rows)[which], proc.kept
        if not self.rule("rows forgotten"):
            now = version(book, which, self.micro[proc.service])
            known, kept_row = dict(kept).get(which, (-1, 0))
            row = kept_row if known == now else row
            kept = keeps(kept, [(which, (now, row))])
        after = change(
            world,
            number,
            at="S1" if todo else "S2",
            todo=tuple(todo),
            held=(*proc.held, which),
            rows=(*proc.rows, (which, row)),
            kept=kept,
        )
        return Step(f"{self._who(world, number)} S1 locks row {which}", after)

    def _s2(self, world: World, number: int) -> Step:
        """S2 and S3: what was seen is answered with the last word, all else is decided."""
        proc = world.procs[number]
        service, book = self.micro[proc.service], world.sees[proc.service]
        diario = book.diario if self.rule("second statement") else proc.snapshot
        name = f"{self._who(world, number)} S2 S3"
        rows = dict(proc.rows)
        records: list[Record] = []
        words: list[str] = []
        for heard in proc.batch:
            known = recuerdo((*diario, *records), self.rule("silence")) if self.rule("recuerdo") else {}
            if same(heard) in known:
                words += known[same(heard)]
                continue
            which = key(service, heard)
            decision = decide(service, rows.get(which, 0), heard)
            if decision is None:
                return Step(name, f"{heard} becomes a dead letter of {service}")
            rows[which] = decision[0]
            records.append(Record(0, heard, decision[1]))
            words += decision[1]
        there = dict(proc.rows)
        new = tuple((which, row) for which, row in rows.items() if row != there.get(which))
        if not self.rule("empty row"):
            new = tuple((which, row) for which, row in new if row)
        absent = [which for which, _ in new if which not in there]
        if self.rule("absent rows in order"):
            absent.sort()
        said = tuple(dict.fromkeys(words))
        after = change(
            world, number, new=new, records=tuple(records), words=said, todo=tuple(absent), snapshot=(),
            base=-1 if self.rule("base under the lock") else len(book.diario),
        )  # fmt: skip
        if not records:
            if not self.rule("WAL record"):
                return Step(f"{name} has seen all of it; COMMIT of nothing", self._answered(after, number))
            return Step(f"{name} has seen all of it; S9 COMMIT of a WAL record", self._committed(after, number))
        return Step(name, change(after, number, at="S4") if absent else self._to_s5(after, number))

    def _s4(self, world: World, number: int) -> Step:
        proc = world.procs[number]
        which, *todo = proc.todo
        name = f"{self._who(world, number)} S4 inserts row {which}"
        if which in dict(world.sees[proc.service].rows):
            if self.rule("count"):
                return Step(f"{name}, which is there: ROLLBACK", change(world, number, at="begin", **NOTHING))
            # Nobody noticed: what is there stays.
            proc = proc._replace(new=tuple(pair for pair in proc.new if pair[0] != which))
        else:
            proc = proc._replace(held=(*proc.held, which))
        after = world._replace(procs=put(world.procs, number, proc._replace(todo=tuple(todo))))
        return Step(name, after if todo else self._to_s5(after, number))

    def _to_s5(self, world: World, number: int) -> World:
        """Rows that are locked are updated at once; the others one after the other, when they are free."""
        proc = world.procs[number]
        todo = tuple(sorted(which for which, _ in proc.new if which not in proc.held))
        if todo and not self.rule("row lock"):
            return change(world, number, at="S5", todo=todo)
        return change(world, number, at="S9 go" if ADVISORY in proc.held else "S6", todo=())

    def _s5(self, world: World, number: int) -> Step:
        proc = world.procs[number]
        after = change(world, number, todo=proc.todo[1:], held=(*proc.held, proc.todo[0]))
        after = after if proc.todo[1:] else self._to_s5(after, number)
        return Step(f"{self._who(world, number)} S5 updates row {proc.todo[0]}", after)

    def _s6(self, world: World, number: int) -> Step:
        """S6 to S9; where the lock is not there until the end, S9 is a step of its own."""
        proc, who = world.procs[number], self._who(world, number)
        if not self.rule("advisory lock"):
            base = world.sequence
            world = world._replace(sequence=base + len(proc.records))
            return Step(f"{who} S8 nextval", change(world, number, at="S9 go", base=base))
        base = proc.base if proc.base >= 0 else last(world.sees[proc.service].diario)
        if not self.rule("held to the commit"):
            return Step(f"{who} S6 S7 S8, lock released", change(world, number, at="S9 go", base=base))
        locked = change(world, number, held=(*proc.held, ADVISORY), base=base)
        return Step(f"{who} S6 S7 S8 S9 COMMIT", self._committed(locked, number))

    def _committed(self, world: World, number: int) -> World | str:
        """It is in the primary's WAL."""
        proc = world.procs[number]
        if not self.rule("commit first"):
            for word in proc.words:
                world = self._told(world, word)
        base = proc.base if proc.base >= 0 else last(world.sees[proc.service].diario)
        if self._is_door(proc) and proc.records:
            world = change(world, number, instance=free(world))
        by = world.procs[number].instance
        records = tuple(record._replace(seq=base + n, by=by) for n, record in enumerate(proc.records, start=1))
        commit = Commit(number, proc.service, proc.new, records, proc.held)
        if self.rule("synchronous"):
            return change(world._replace(wal=(*world.wal, commit)), number, at="S9")
        wal = (*world.wal, commit._replace(by=-1, visible=True, held=()))
        return self._answered(shown(world, commit)._replace(wal=wal), number)

    def _replicated(self, world: World) -> Iterator[Step]:
        """The standby confirms the next commit: others see it, and whoever waits has the answer."""
        if not world.wal:
            return
        commit, *rest = world.wal
        name = f"{self._who(world, commit.by)} S9 is on the standby" if commit.by >= 0 else "the standby has the next"
        after = world._replace(wal=tuple(rest), standby=applied(world.standby, commit))
        after = after._replace(awaited=max(world.awaited - 1, 0))
        if not commit.visible:
            after = shown(after, commit)
        if commit.by < 0:
            yield Step(name, after)
            return
        yield Step(name, self._answered(after, commit.by))
        if left(world, "cut"):
            yield fault("cut", f"{name}, and the answer is lost", self._unknown(after, commit.by))

    def _unknown(self, world: World | str, number: int) -> World | str:
        """Nobody told it what became of its COMMIT."""
        if isinstance(world, str):
            return world
        if not self.rule("unknown is done again"):
            return self._answered(world, number)
        if not self.rule("not given up"):
            return self._dropped(self._disconnected(world, number), number, asks_again=False)
        return self._retried(world, number)

    def _retried(self, world: World, number: int) -> World:
        """The same batch again, on a new connection."""
        world, proc = self._disconnected(world, number), world.procs[number]
        if proc.speaks_for:
            return change(world, number, at="idle", speaks_for=0, **NOTHING)
        return change(world, number, at="begin", **NOTHING)

    def _answered(self, world: World, number: int) -> World | str:
        """The COMMIT is done. Whoever asked is told now."""
        proc = world.procs[number]
        if lost := self._lost(world, proc):
            return lost
        if not self.rule("dicho last"):
            world = said(world, proc.instance)
        asked = tuple(name for name in proc.batch if self._is_door(proc) and is_post(name))
        proc = proc._replace(batch=without(proc.batch, asked))
        if not self.rule("ack last"):
            if lost := self._forgotten(world, proc):
                return lost
            proc = proc._replace(batch=())
        if not self.rule("rows forgotten"):
            book, service = world.sees[proc.service], self.micro[proc.service]
            now = [(which, (version(book, which, service), row)) for which, row in proc.new]
            proc = proc._replace(kept=keeps(proc.kept, now))
        at = "publish" if proc.words else "ack"
        done = Proc(proc.service, at, proc.batch, words=proc.words, instance=proc.instance, kept=proc.kept)
        return world._replace(procs=put(world.procs, number, done._replace(speaks_for=proc.speaks_for)))

    def _lost(self, world: World, proc: Proc) -> str | None:
        """A 202 for what a failover would take away. Another body under the same key is told so (422)."""
        for name in filter(is_post, proc.batch if self._is_door(proc) else ()):
            stored = [record.heard for record in world.sees[proc.service].diario if same(record.heard) == same(name)]
            kept = [record.heard for record in world.standby[proc.service].diario if same(record.heard) == same(name)]
            if not stored or stored != kept:
                return f"202 or 422 for {name}, which is lost if the primary dies now"
        return None

    def _forgotten(self, world: World, proc: Proc) -> str | None:
        """An ack for what a failover would take away."""
        kept = recuerdo(world.standby[proc.service].diario)
        gone = [name for name in proc.batch if same(name) not in kept]
        return f"{', '.join(gone)} is acked, and forgotten if the primary dies now" if gone else None

    def _publish(self, world: World, number: int) -> Step:
        proc = world.procs[number]
        word, *words = proc.words
        name = f"{self._who(world, number)} publishes {word}"
        if not any(word in record.words for record in world.standby[proc.service].diario):
            return Step(name, f"{word} is said, and no book has it if the primary dies now")
        after = self._told(world, word)
        return Step(name, change(after, number, at="publish" if words else "ack", words=tuple(words)))

    def _ack(self, world: World, number: int) -> Step:
        proc = world.procs[number]
        name = f"{self._who(world, number)} acks"
        if lost := self._forgotten(world, proc):
            return Step(name, lost)
        # The furthest that `dicho` can be: the fewest words are said again.
        world = said(world, proc.instance or proc.speaks_for)
        if proc.speaks_for:
            world = world._replace(dead=without(world.dead, (proc.speaks_for,)))
        idle = Proc(proc.service, kept=proc.kept)
        return Step(name, world._replace(procs=put(world.procs, number, idle)))

    def _speak(self, world: World, number: int) -> Iterator[Step]:
        """A front door that got the lock of a dead one says what that has not said, and takes it out of `voces`."""
        proc = world.procs[number]
        if not (self._is_door(proc) and self.rule("voces")):
            return
        for whose in world.dead:
            if self.rule("writing lock") and any(is_of(commit, whose) and not commit.visible for commit in world.wal):
                continue
            records = [record for record in world.sees[proc.service].diario if record.by == whose]
            words = tuple(dict.fromkeys(word for record in records for word in record.words))
            after = world
            if not self.rule("dicho last"):
                after = said(world, whose)._replace(dead=without(world.dead, (whose,)))
            after = change(after, number, at="publish" if words else "ack", words=words, speaks_for=whose)
            name = f"{self._who(world, number)} speaks for front door {whose}"
            if self.rule("voces wait"):
                yield Step(f"{name}; S9 COMMIT of a WAL record", self._committed(after, number))
            else:
                yield Step(name, after)

    # What goes wrong.

    def _faults(self, world: World) -> Iterator[Step]:
        if left(world, "crash"):
            for number, proc in enumerate(world.procs):
                if proc.at != "idle":
                    name = f"{self._who(world, number)} dies before {proc.at}"
                    yield fault("crash", name, self._dead(world, number))
                    if self._is_door(proc) and any(map(is_post, proc.batch)):
                        gone = self._dead(world, number, asks_again=False)
                        yield fault("crash", f"{name}, and its client gives up", gone)
        if left(world, "failover"):
            for more in range(len(world.wal) + 1):
                yield fault("failover", f"failover; the standby had {more} more", self._failover(world, more))
        if left(world, "restart") and any(not commit.visible for commit in world.wal):
            yield fault("restart", "the primary starts again", self._restarted(world))
        if left(world, "cancel"):
            for at, commit in enumerate(world.wal):
                if commit.by >= 0:
                    name = f"the wait of {self._who(world, commit.by)}'s COMMIT is cancelled"
                    yield fault("cancel", name, self._cancelled(world, at))
        if left(world, "early") and not world.awaited and not (world.wal and self.rule("asking waits")):
            for name in unfinished(self._compras(world)):
                kept = "compras" in self.other or same(name) in recuerdo(world.standby[0].diario)
                after = (
                    self._told(world, name) if kept else f"{name} is said, and no book has it if the primary dies now"
                )
                yield fault("early", f"the resender asks early: {name}", after)

    def _dead(self, world: World, number: int, *, asks_again: bool = True) -> World:
        """What it had in its hands comes again. Its COMMIT goes on without it."""
        world = self._dropped(world, number, asks_again=asks_again)
        wal = tuple(commit._replace(by=-1) if commit.by == number else commit for commit in world.wal)
        world = world._replace(wal=wal)
        return change(self._disconnected(world, number), number, kept=())

    def _disconnected(self, world: World, number: int) -> World:
        """Its connection for writing is gone, and with it the lock of its number in `voces`."""
        instance = world.procs[number].instance
        dead = (*world.dead, *((instance,) if instance else ()))
        unsaid = [record.by for book in world.sees for record in book.diario]
        unsaid += [record.by for commit in world.wal for record in commit.records]
        return change(world, number, instance=0)._replace(dead=tuple(sorted({*dead} & {*unsaid})))

    def _dropped(self, world: World, number: int, *, asks_again: bool) -> World:
        proc = world.procs[number]
        posts = tuple(name for name in proc.batch if self._is_door(proc) and is_post(name))
        queue = tuple(sorted({*world.queues[proc.service], *without(proc.batch, posts)}))
        return world._replace(
            procs=put(world.procs, number, Proc(proc.service, instance=proc.instance, kept=proc.kept)),
            queues=put(world.queues, proc.service, queue),
            posts=tuple(sorted((*world.posts, *posts))) if asks_again else world.posts,
        )

    def _failover(self, world: World, more: int) -> World | str:
        books = world.standby
        for commit in world.wal[:more]:
            books = applied(books, commit)
        if not self.rule("readers wait") and not world.awaited:
            for seen, book in zip(world.sees, books, strict=True):
                if book.diario[: len(seen.diario)] != seen.diario:
                    return (
                        f"a reader was shown record {len(seen.diario)}, {seen.diario[-1].heard}, and now there is none"
                    )
        return self._begun_again(world._replace(sees=books, standby=books, wal=(), awaited=0))

    def _restarted(self, world: World) -> World | str:
        for commit in world.wal:
            if not commit.visible:
                world = shown(world, commit)
        wal = tuple(commit._replace(by=-1, visible=True, held=()) for commit in world.wal)
        awaited = len(wal) if self.setup.connections_wait else 0
        return self._begun_again(world._replace(wal=wal, awaited=awaited))

    def _begun_again(self, world: World) -> World | str:
        """All connections are gone, and with them the transactions."""
        after: World | str = world
        for number, proc in enumerate(world.procs):
            if isinstance(after, str):
                break
            if self.rule("rows forgotten"):
                after = change(after, number, kept=())
            if proc.at == "S9":
                after = self._unknown(after, number)
            else:
                after = self._disconnected(after, number) if proc.at in OUTSIDE else self._retried(after, number)
        return after

    def _cancelled(self, world: World, at: int) -> World | str:
        """It is visible, and not on the standby; its process is told so, with a warning."""
        commit = world.wal[at]
        wal = put(world.wal, at, commit._replace(by=-1, visible=True, held=()))
        after = shown(world, commit)._replace(wal=wal)
        return self._dead(after, commit.by) if self.rule("no timeout") else self._answered(after, commit.by)

    # Who waits for whom.

    def _in_the_way(self, world: World, number: int, which: str) -> int | None:
        """Which process holds this lock; -1: a COMMIT that nobody waits for."""
        proc = world.procs[number]
        if proc.at == "S4" and self.rule("do nothing") and which in dict(world.sees[proc.service].rows):
            return None
        for other, rival in enumerate(world.procs):
            if other != number and rival.service == proc.service and which in rival.held:
                return other
        orphans = (commit for commit in world.wal if commit.by < 0 and commit.service == proc.service)
        return -1 if any(which in commit.held for commit in orphans) else None

    def _deadlocked(self, world: World, number: int, rival: int) -> bool:
        """Whether the rival waits, too, and in the end for this one."""
        waits: int | None = rival
        while waits is not None and waits >= 0:
            if waits == number:
                return True
            proc = world.procs[waits]
            which = wants(proc)
            waits = None if which is None else self._in_the_way(world, waits, which)
        return False
