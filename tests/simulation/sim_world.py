"""The whole system from a seed: production's domains, messages, store, loop, front door and nudge on fakes."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prometheus_client import CollectorRegistry
from sim_broker import Broken, Broker, Envelope, SimWire
from sim_disk import Folder, SimDisk
from sim_loop import PROCESS, Killed, Loop, Process, Stuck

from broker.messages import CompraSolicitada, Message, SaldoRecargado, TokenPublicado, UsuarioRegistrado, compra_id
from broker.services import SERVICES
from services.compras import acceptance
from services.compras import domain as compras
from services.compras.domain import public as vista
from services.compras.front_door import FrontDoor
from services.compras.resend import Resender
from services.shared import processor as loop_module
from services.shared.heights import BookHeights, Doubted, as_told
from services.shared.http.problems import Problem
from services.shared.journal import rows as journal_rows
from services.shared.journal import store as store_json
from services.shared.journal.untold import noted
from services.shared.records import RowCodec
from services.shared.seed import SEED_FECHA, seed_id
from services.shared.store import Damaged, Fenced, StoreBroken
from services.tokens import domain as tokens
from services.transacciones import domain as transacciones
from services.usuarios import domain as usuarios

DOMAINS: dict[str, Any] = {
    "compras": compras.DOMAIN, "tokens": tokens.DOMAIN, "usuarios": usuarios.DOMAIN,
    "transacciones": transacciones.DOMAIN,
}  # fmt: skip
EPOCH = datetime(2025, 9, 10, 17, tzinfo=UTC)
ACTIVE_SECONDS = 5.0
QUIET_SECONDS = 900.0

# Making the adapters of a row takes longer than a whole world; they have no state.
journal_rows.RowCodec = functools.cache(RowCodec)  # type: ignore[misc,assignment]
acceptance.utc_now = lambda: PROCESS.get().now()


@dataclass
class Told:
    number: int
    user: int
    key: str
    token: int
    most: int | None
    status: int
    answer: dict[str, Any] = field(default_factory=dict)


POINTS = (
    "create<", "create>", "append<", "append>", "sync<", "sync>", "note<", "note>", "replace<", "replace|", "replace>",
    "rewrite<", "rewrite>",    "receive>", "publish<", "publish|", "publish>", "settle<", "settle>",
)  # fmt: skip
# Where a process is that packs a segment.
PACKING_POINTS = (
    "pack create<", "pack create>", "pack append|", "flush<", "flush>", "link<", "link|", "link>", "remove<",
)  # fmt: skip


class Pod(Process):
    """One process of a service: what `services.shared.runtime.Runtime` does, without HTTP."""

    def __init__(self, world: World, service: str) -> None:
        super().__init__()
        self.world, self.service = world, service
        self.trap: tuple[str, int] | None = None
        self.packing_trap: tuple[str, int] | None = None
        self.skew = world.skews[service]
        self.wire: SimWire | None = None
        self.loop: loop_module.Processor | None = None
        self.writing: Any = None
        self.door: Any = None
        self.disk = SimDisk(world.folders[service], self)
        self.store = store_json.JsonStore(
            self.disk,
            DOMAINS[service],
            self.now,
            snapshot_bytes=world.snapshot_bytes,
            sleep=asyncio.sleep,
            new_identity=lambda: f"{world.identities.getrandbits(32):08x}",
        )

    def now(self) -> str:
        moment = EPOCH + timedelta(seconds=self.world.loop.now + self.skew)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def at(self, point: str, quiet: bool = False) -> bool:
        """The process comes by here, and may die here."""
        if self.alive and self.packing_trap is not None and self.packing_trap[0] == point:
            left = self.packing_trap[1]
            self.packing_trap = (point, left - 1) if left else None
            if not left:
                self.die(point)
        if self.alive and self.trap is not None and self.trap[0] == point:
            self.trap = None if self.trap[1] == 0 else (point, self.trap[1] - 1)
            if self.trap is None:
                if quiet:
                    return True
                self.die(point)
        if not self.alive:
            raise Killed(point)
        return False

    def die(self, why: str) -> None:
        if self.alive:
            self.alive = False
            self.world.counts["torn"] += bool(self.store.torn_bytes)
            self.world.counts[f"died: {why}"] += 1
            self.disk.unlock()
            if self.wire:
                self.wire.disconnect()
            self.world.died(self)

    async def live(self) -> None:
        world, store = self.world, self.store
        self.wire = SimWire(world.broker, self)
        self.writing = asyncio.Event()
        meter: Any = SimpleNamespace(decided=lambda *_: None, poisoned=lambda _: None, published=lambda *_: None)
        self.loop = loop_module.Processor(store, self.wire, meter, batch_limit=world.batch_limit)
        if self.service == "compras":
            self._prepare()
        store.load()
        while not await store.lead():
            await asyncio.sleep(world.follow_seconds * world.rng.uniform(0.5, 1))
            store.follow()
        await noted(store, store.seq)
        await self.disk.replace("writer", b"http://here")
        self.silent = [name for name in SERVICES if name != self.service]
        await self._ask()
        await store.process_batch(world.seeds.get(self.service, ()))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._check())
            tasks.create_task(self._ask_silent())
            tasks.create_task(self.store.packer.run())
            tasks.create_task(self.store.tell())
            self.wire.consume()
            tasks.create_task(self.loop.run())
            self.writing.set()
            if self.door:
                tasks.create_task(self.door.run())

    def _prepare(self) -> None:
        settings = SimpleNamespace(
            backlog_limit=self.world.backlog_limit, usuarios_url="", tokens_url="", transacciones_url="",
            public_url="", replica_secret=None, store=None,
            nudge_seconds=1.0, knock_down=None,
        )  # fmt: skip
        runtime: Any = SimpleNamespace(
            store=self.store, settings=settings, bus=None, processor=self.loop, writing=self.writing, doubt=None,
            metrics=SimpleNamespace(registry=CollectorRegistry()),
        )  # fmt: skip
        self.store.room._now, self.store.room.reserve = self.world.loop.time, self.world.disk_reserve
        self.door = runtime.extension = FrontDoor(runtime)
        self.store.watch(self.door.heard)
        self.store.now = acceptance.utc_now
        self.door.resender = Resender(
            self.store, self.wire, self.world.loop.time, first_seconds=self.world.nudge_seconds
        )

    async def _ask(self) -> None:
        """As Peers does, of those who have not answered yet."""
        store, asked = self.store, {name: self.world.writer(name) for name in self.silent}
        others = [writer.store for writer in asked.values() if writer is not None]
        for heights in [*(other.heights for other in others), *self.world.doubting.values()]:
            store.heights.replaced.update(heights.formerly)
        told = as_told([other.heights.state(other.seq) for other in others])
        try:
            store.heights.heard = store.heights.hear(told, store.seq)
        except Doubted:
            # Who stood still and was replaced meanwhile only thinks that its book ends there.
            await store.process_batch(())
            raise
        self.silent = [name for name, writer in asked.items() if writer is None]

    async def _ask_silent(self) -> None:
        while self.silent:
            await asyncio.sleep(0.5)
            await self._ask()

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.store.check()

    async def answer(self, make: Any, entry: bool) -> tuple[int, dict[str, Any]]:
        """What an HTTP client is told."""
        try:
            acceptance = self.door.acceptance
            fecha = (await acceptance.fecha_alta(whose(make(SEED_FECHA))))[0] if entry else acceptance.fecha()
            asked = make(fecha)
            if "orden" in type(asked).model_fields:
                asked = asked.model_copy(update={"orden": await acceptance.orden()})
            row = await acceptance.accept(asked)
        except Problem as problem:
            return problem.status, {"detail": problem.detail}
        return 200 if compras.finished(row) else 202, vista(row)


def whose(entry: Any) -> str:
    """The path that an operator's entry is put at."""
    return f"/tokens/{entry.token_id}" if isinstance(entry, TokenPublicado) else f"/usuarios/{entry.usuario_id}"


FAULTS = (
    "kill", "kill at a step", "kill at a call", "power cut", "pause", "lock removed", "purge", "wipe", "broker away",
    "cut", "poison", "seed grows", "disk full", "sync fails", "append fails", "service down", "clock",
)  # fmt: skip
RATES = {
    "lost message": 0.15, "duplicate": 0.3, "delay": 0.3, "reorder": 0.4, "publish fails": 0.2, "unknown": 0.2,
}  # fmt: skip


class World:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = Random(seed)
        self.identities = Random(f"{seed}, books")
        self.loop = Loop()
        self.context = contextvars.copy_context()
        self.counts: Counter[str] = Counter()
        # Of those who decide nothing, for they doubt: they answer all the same.
        self.doubting: dict[str, BookHeights] = {}
        self.healed = False
        self.rates = {name: rng.choice((0, 0, most / 5, most)) for name, most in RATES.items()}
        self.kinds = rng.sample(FAULTS, rng.choice((0, 1, 2, 3, 5, 8)))
        self.every = rng.choice((0.08, 0.3, 0.8))
        self.snapshot_bytes = rng.choice((700, 2500, 8000, 10**9))
        self.batch_limit = rng.choice((1, 3, 500, 500))
        self.backlog_limit = rng.choice((5, 1000, 1000, 1000))
        self.follow_seconds = rng.choice((0.1, 0.3))
        self.nudge_seconds = rng.choice((0.5, 2.0))
        self.max_cola = rng.choice((2, 3, 10_000))
        self.skews = {name: rng.choice((0, 0, -3600, 20)) for name in SERVICES}
        self.folders = {name: Folder(rng) for name in SERVICES}
        for folder in self.folders.values():
            folder.counts = self.counts
        self.packing = Random(f"{seed}, packing")
        self.disk_reserve = self.packing.choice((0.0, 0.1))
        for folder in self.folders.values():
            folder.packing = self.packing
            folder.packing_fails = self.packing.random() < 0.3 and bool(self.kinds)
        self.broker = Broker(self)
        self.pods: dict[str, list[Pod]] = {name: [] for name in SERVICES}
        self.down: Counter[str] = Counter()
        self.told: list[Told] = []
        # What clients write down: each request before it is sent, and where the answer to which of them stands.
        self.notes: list[dict[str, Any]] = []
        self._requests = count(1)
        self.unsure: list[Told] = []
        self.open = 0
        self._people()

    def _people(self) -> None:
        rng = self.rng
        users, count = range(1, rng.choice((2, 3, 5))), rng.choice((1, 2, 4))
        self.seeds: dict[str, list[Message]] = {
            "usuarios": [
                UsuarioRegistrado(alta_id=seed_id(n), fecha=SEED_FECHA, usuario_id=n, nombre=f"u{n}",
                                  saldo=rng.choice((0, 40, 100, 150))) for n in users
            ],
            "tokens": [
                TokenPublicado(alta_id=seed_id(n), fecha=SEED_FECHA, token_id=n, nombre=f"t{n}", imagen="t.jpg",
                               precio=rng.choice((0, 50, 70))) for n in range(101, 101 + count)
            ],
        }  # fmt: skip
        self.users = [*users, *users, 50, 51]
        self.tokens = [*range(101, 101 + count)] * 3 + [901, 902]

    # What may go wrong

    def happens(self, what: str) -> bool:
        rate = self.rates[what]
        if rate and not self.healed and self.rng.random() < rate:
            self.counts[what] += 1
            return True
        return False

    def processes(self) -> Iterator[Pod]:
        for pods in self.pods.values():
            yield from pods

    def died(self, pod: Pod) -> None:
        self.pods[pod.service].remove(pod)
        self.loop.call_later(self.rng.uniform(0.05, 0.8), self.start, pod.service, context=self.context)

    def start(self, service: str) -> None:
        if self.down[service]:
            self.loop.call_later(0.2, self.start, service, context=self.context)
            return
        pod = Pod(self, service)
        self.pods[service].append(pod)
        if not self.healed and self.rng.random() < 0.1 and "kill at a call" in self.kinds:
            pod.trap = (self.rng.choice(POINTS), self.rng.choice((0, 0, 1, 2, 5)))
        if not self.healed and self.kinds and self.packing.random() < 0.3:
            pod.packing_trap = (self.packing.choice(PACKING_POINTS), self.packing.choice((0, 0, 1, 2, 5)))
        task = self.loop.create_task(pod.live(), context=pod.context.copy())
        task.add_done_callback(lambda task: self._ended(pod, task), context=self.context)

    def _ended(self, pod: Pod, task: asyncio.Task[None]) -> None:
        if not pod.alive or self.loop.failure:
            return
        error: BaseException | None = None if task.cancelled() else task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, Damaged):
            self.loop.failure = Broken("not damaged", f"{pod.service}: {error}")
        elif isinstance(error, Doubted):
            self.loop.failure = Broken("15", f"{pod.service} decides nothing: {error}")
        elif not isinstance(error, Fenced | StoreBroken | OSError):
            self.loop.failure = Broken("no crash", f"{pod.service} died of {type(error).__name__}: {error}")
            self.loop.failure.__cause__ = error
        elif isinstance(error, FileNotFoundError):
            self.loop.failure = Broken("no crash", f"{pod.service}: {error}")
        pod.die(type(error).__name__)

    async def _trouble(self) -> None:
        rng = self.rng
        while self.kinds:
            await asyncio.sleep(rng.expovariate(1 / self.every))
            if self.healed:
                return
            kind, service = rng.choice(self.kinds), rng.choice(SERVICES)
            pods = self.pods[service]
            leaders = [pod for pod in pods if pod.store.leads]
            pod = rng.choice(leaders) if leaders and rng.random() < 0.8 else rng.choice(pods) if pods else None
            self._strike(kind, service, pod)

    def _strike(self, kind: str, service: str, pod: Pod | None) -> None:
        rng, folder, broker = self.rng, self.folders[service], self.broker
        later = functools.partial(self.loop.call_later, rng.uniform(0.1, 2.0), context=self.context)
        self.counts[kind] += 1
        match kind:
            case "kill" if pod:
                pod.die("killed")
            case "kill at a step" if pod:
                pod.fuse = rng.randrange(60)
            case "kill at a call" if pod:
                pod.trap = (rng.choice(POINTS), rng.choice((0, 0, 1, 3)))
            case "power cut":
                for each in list(self.pods[service]):
                    each.die("power cut")
                folder.power_cut()
            case "pause" if pod and not pod.paused:
                pod.paused = True
                self.loop.call_later(1.0, self._heartbeat, pod, context=self.context)
                later(self._resume, pod)
                if rng.random() < 0.7 and folder.owner is pod:
                    folder.owner = None
                    self.counts["pause, lock removed"] += 1
            case "lock removed":
                folder.owner = None
            case "poison":
                broker.insert(service, Envelope(rng.choice(("compra.solicitada", "nonsense")), b'{"fecha":1}'))
            case "seed grows" if self.seeds["usuarios"][-1].subject != seed_id(50):
                self.seeds["usuarios"].append(
                    UsuarioRegistrado(alta_id=seed_id(50), fecha=SEED_FECHA, usuario_id=50, nombre="u50", saldo=33)
                )
            case "purge":
                broker.queues[service].clear()
            case "wipe":
                broker.wipe()
            case "broker away" if broker.up:
                broker.away()
                later(broker.back)
            case "cut":
                broker.cut()
            case "disk full" if folder.room is None:
                folder.room = rng.choice((0, 100, 1000))
                later(setattr, folder, "room", None)
            case "sync fails":
                folder.sync_fails = 1
            case "append fails":
                folder.write_fails = 1
            case "service down":
                self.down[service] += 1
                later(self._up, service)
                for each in list(self.pods[service]):
                    each.die("killed")
            case "clock":
                self.skews[service] += rng.choice((-600, -3, 3, 600))
                for each in self.pods[service]:
                    each.skew = self.skews[service]

    def _up(self, service: str) -> None:
        self.down[service] -= 1

    def _heartbeat(self, pod: Pod) -> None:
        if pod.paused and pod.alive and pod.wire:
            pod.wire.disconnect()

    def _resume(self, pod: Pod) -> None:
        if pod.paused and pod.alive:
            pod.resume(self.loop)
            if pod.wire:
                self.loop.call_later(0.3, pod.wire.connect, context=self.context)

    def _heal(self) -> None:
        self.healed = True
        for folder in self.folders.values():
            folder.room, folder.sync_fails, folder.write_fails = None, 0, 0
            folder.packing_fails = False
        for pod in list(self.processes()):
            pod.fuse = pod.trap = pod.packing_trap = None
            self._resume(pod)
        if not self.broker.up:
            self.broker.back()

    # Who buys

    async def _ask(self, make: Any, entry: bool = False) -> tuple[int, dict[str, Any]] | None:
        """Ask the front door once. None: no answer came."""
        leaders = [pod for pod in self.pods["compras"] if pod.store.leads]
        if not leaders:
            return None
        pod = self.rng.choice(leaders)
        told = asyncio.Event()
        task = self.loop.create_task(pod.answer(make, entry), context=pod.context.copy())
        task.add_done_callback(lambda _: told.set(), context=self.context)
        try:
            async with asyncio.timeout(8):
                await told.wait()
        except TimeoutError:
            return None
        if task.cancelled() or isinstance(task.exception(), Killed):
            return None
        return task.result()

    async def _buy(self, user: int, key: str, token: int, most: int | None) -> None:
        rng = self.rng
        patient, again = rng.random() < 0.85, rng.random() < 0.4
        twisted = rng.random() < 0.15
        while True:
            other = twisted and rng.random() < 0.5
            asks = (token + 1, most) if other else (token, most)

            def make(fecha: str, asks: tuple[int, int | None] = asks) -> CompraSolicitada:
                return CompraSolicitada(
                    compra_id=compra_id(user, key),
                    usuario_id=user,
                    token_id=asks[0],
                    fecha=fecha,
                    precio_maximo=asks[1],
                )

            number = next(self._requests)
            body = {"usuarioId": user, "tokenId": asks[0], "precioMaximo": most}
            self.notes.append({"n": number, "key": key, "asks": body})
            answer = await self._ask(make)
            if answer is not None:
                self.counts[f"status {answer[0]}"] += 1
                told = Told(number, user, key, asks[0], asks[1], *answer)
                # Sent away, or perhaps not: whoever asks again will know.
                if answer[0] not in (429, 503):
                    self.told.append(told)
                    self.notes.append({"n": number})
                if answer[0] in (200, 202) or (answer[0] == 422 and other is False):
                    if not again:
                        break
                    again = False
                    await asyncio.sleep(rng.uniform(0, 3))
            elif not patient:
                break
            await asyncio.sleep(rng.uniform(0.05, 0.6))
        self.open -= 1

    async def _enter(self, model: Any, number: int, **fields: Any) -> None:
        alta_id = str(uuid5(NAMESPACE_URL, f"{self.seed}:{number}"))
        while True:
            answer = await self._ask(lambda fecha: model(alta_id=alta_id, fecha=fecha, **fields), entry=True)
            if answer is not None and answer[0] in (200, 202):
                break
            await asyncio.sleep(self.rng.uniform(0.05, 0.6))
        self.open -= 1

    def _jobs(self) -> Iterator[tuple[float, Any]]:
        rng = self.rng
        at, buyers = 0.0, rng.randint(5, 18)
        step = rng.choice((0.0, 0.05, 0.3))
        for number in range(buyers):
            at = min(at + rng.expovariate(1 / step) if step else 0.5, ACTIVE_SECONDS - 0.5)
            most = rng.choice((None, None, 40, 50, 70, 90))
            yield at, (self._buy, (rng.choice(self.users), f"k{number}", rng.choice(self.tokens), most), {})
            if rng.random() < 0.1:
                yield at, (self._buy, (rng.choice(self.users), f"k{number}", rng.choice(self.tokens), most), {})
        at, hurry, token = rng.uniform(0, ACTIVE_SECONDS - 1), rng.random() < 0.5, rng.choice(self.tokens)
        kind = rng.randrange(3)
        for number in range(rng.choice((0, 2, 6))):
            at = min(at + rng.uniform(0, 0.2), ACTIVE_SECONDS) if hurry else rng.uniform(0, ACTIVE_SECONDS)
            user, token = rng.choice(self.users), token if hurry else rng.choice(self.tokens)
            kind = kind if hurry else rng.randrange(3)
            match kind:
                case 0:
                    yield (
                        at,
                        (self._enter, (SaldoRecargado, number), {"usuario_id": user, "monto": rng.choice((1, 50, 70))}),
                    )
                case 1:
                    yield at, (self._enter, (TokenPublicado, number), {
                        "token_id": token, "nombre": f"n{number}", "imagen": "n.jpg",
                        "precio": rng.choice((20, 50, 60, 90))})  # fmt: skip
                case 2:
                    yield at, (self._enter, (UsuarioRegistrado, number), {
                        "usuario_id": user, "nombre": f"n{number}", "saldo": rng.choice((None, 60, 200))})  # fmt: skip
        for user in (50, 51):
            yield rng.uniform(0, ACTIVE_SECONDS), (self._enter, (UsuarioRegistrado, 100 + user), {
                "usuario_id": user, "nombre": f"u{user}", "saldo": 75})  # fmt: skip

    # The run

    def run(self) -> None:
        loop, rng = self.loop, self.rng
        max_cola, tokens.MAX_COLA = tokens.MAX_COLA, self.max_cola  # type: ignore[misc]
        try:
            for service in SERVICES:
                for _ in range(rng.choice((1, 2, 2, 3))):
                    loop.call_later(rng.uniform(0, 0.3), self.start, service, context=self.context)
            for at, job in self._jobs():
                self.open += 1
                loop.call_later(at, self._begin, *job, context=self.context)
            asyncio._set_running_loop(loop)
            loop.create_task(self._trouble())
            asyncio._set_running_loop(None)
            loop.call_later(ACTIVE_SECONDS, self._heal, context=self.context)
            self._next_look = 0.0
            self._quiet_since: float | None = None
            loop.run(self._over)
        except Stuck as error:
            raise Broken("4", f"{error}: {self._left()}") from None
        finally:
            tokens.MAX_COLA = max_cola  # type: ignore[misc]

    def _begin(self, job: Any, args: Any, fields: Any) -> None:
        task = self.loop.create_task(job(*args, **fields), context=self.context.copy())
        task.add_done_callback(self._job_ended, context=self.context)

    def _job_ended(self, task: asyncio.Task[None]) -> None:
        if (error := task.exception()) is not None and not self.loop.failure:
            self.loop.failure = error if isinstance(error, Broken) else Broken("no crash", f"a client met {error!r}")
            self.loop.failure.__cause__ = error

    def writer(self, service: str) -> Pod | None:
        return next(
            (pod for pod in self.pods[service] if pod.writing and pod.writing.is_set() and pod.store.leads), None
        )

    def _left(self) -> Any:
        pod = self.writer("compras")
        return [*pod.store.rows.values()][:3] if pod else "compras has no writer"

    def _over(self) -> bool:
        """Whether all has been quiet for a while."""
        now = self.loop.now
        if now < self._next_look or not self.healed:
            return False
        self._next_look = now + 0.25
        if now > QUIET_SECONDS:
            raise Broken("4", f"no rest after {now:.0f} s: {self._left()}, {self.open} clients wait")
        writers = [self.writer(name) for name in SERVICES]
        quiet = all(writers) and not self.open and self.broker.quiet() and not writers[0].store.rows  # type: ignore[union-attr]
        if not quiet:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        return self._quiet_since is not None and now - self._quiet_since > 2.5


def simulate(seed: int, kind: type[World] = World) -> World:
    """Run a world and check its promises. Raises Broken."""
    from sim_promises import check  # noqa: PLC0415 - it needs this module

    world = kind(seed)
    try:
        world.run()
        check(world)
    finally:
        world.loop.close()
    return world
