"""The whole system in one process, from a seed: production's domains, store, loop and nudge; fake all else."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import random
import selectors
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sim_disk import Folder, Killed, SimDisk

from broker.bus import Delivery
from broker.messages import (
    CompraSolicitada,
    Message,
    SaldoRecargado,
    TokenPublicado,
    UsuarioRegistrado,
    compra_id,
    decode,
    encode,
    encode_word,
)
from broker.topology import BINDINGS
from loadgen.books import Told
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.domain import pregunta
from services.compras.nudge import Nudge
from services.shared import store_json
from services.shared.loop import Loop
from services.shared.seed import SEED_FECHA, seed_id
from services.shared.store import Damaged, Fenced, StoreBroken
from services.shared.store_json import JsonStore
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

DOMAINS: dict[str, Any] = {"compras": COMPRAS, "tokens": TOKENS, "usuarios": USUARIOS, "transacciones": TRANSACCIONES}
POD: contextvars.ContextVar[Any] = contextvars.ContextVar("pod")
ROWS: Any = functools.cache(store_json.Rows)
CHAOS_SECONDS = 4.0
QUIET_SECONDS = 600.0
STEPS = 400_000


class Broken(Exception):
    """The system did what it promises never to do."""


class _NoFiles(selectors.SelectSelector):
    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Broken("everybody waits for somebody")
        self.loop.virtual += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while there is work, and jumps to the next timer when there is none."""

    def __init__(self) -> None:
        selector = _NoFiles()
        self.virtual = 0.0
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-6
        self.set_task_factory(_task)
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        return self.virtual


def _task(loop: Any, coro: Any, context: Any = None) -> asyncio.Task[Any]:
    pod = POD.get(None) if context is None else context.get(POD)
    return asyncio.Task(coro if pod is None else _Steps(coro, pod), loop=loop, context=context)


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine of a pod: it stops at any await when the pod is paused, and ends at any when it is killed."""

    def __init__(self, coro: Any, pod: Pod) -> None:
        self.coro, self.pod, self.kept = coro, pod, None

    def send(self, value: Any) -> Any:
        kept, self.kept = self.kept, None
        return self._step(kept)

    def throw(self, *error: Any) -> Any:
        self.kept = None
        return self._step(error[0] if len(error) == 1 else error[1] or error[0])

    def _step(self, error: Any) -> Any:
        self.pod.step()
        if self.pod.paused and not self.pod.dead:
            self.kept = error
            gate = asyncio.get_running_loop().create_future()
            self.pod.gates.append(gate)
            gate._asyncio_future_blocking = True
            return gate
        return self.coro.send(None) if error is None else self.coro.throw(error)

    def close(self) -> None:
        self.coro.close()

    def __await__(self) -> Any:
        yield


class Pod:
    """One process of a service: what `services.shared.run.Runtime` does, without HTTP."""

    def __init__(self, world: World, service: str) -> None:
        self.world, self.service = world, service
        self.dead = self.paused = False
        self.kill_in = -1
        self.gates: list[asyncio.Future[None]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.skew = timedelta(seconds=world.rng.choice([0, 0, 0, -3600, 5]) if world.faults else 0)
        self.disk = SimDisk(world.folders[service], self)
        self.store: Any = JsonStore(
            self.disk, DOMAINS[service], self.now, snapshot_bytes=world.snapshot_bytes, sleep=asyncio.sleep
        )
        self.wire = SimWire(world.broker, service, self)
        self.loop: Loop | None = None
        self.last_fecha = ""

    def now(self) -> str:
        time = datetime(2026, 1, 1, tzinfo=UTC) + self.skew + timedelta(seconds=self.world.time())
        return time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def fecha(self) -> str:
        now = max(self.now(), self.store.time)
        if now <= self.last_fecha:
            later = datetime.fromisoformat(self.last_fecha) + timedelta(milliseconds=1)
            now = later.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        self.last_fecha = now
        return now

    @property
    def writes(self) -> bool:
        return not self.dead and not self.paused and self.loop is not None

    async def live(self) -> None:
        store = self.store
        store.load()
        while not await store.lead():
            await asyncio.sleep(0.25)
            store.follow()
        await store.once(self.world.seeds.get(self.service, ()))
        loop = Loop(store, self.wire, self.world.meter, batch_limit=self.world.batch)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._check())
            tasks.create_task(loop.run())
            if self.service == "compras":
                nudge = Nudge(store, self.wire, self.world.time, first_seconds=0.5)
                store.on_change = nudge.heard
                tasks.create_task(nudge.run())
            self.loop = loop

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.store.check()

    def spawn(self, coro: Any) -> asyncio.Task[Any]:
        context = contextvars.copy_context()
        context.run(POD.set, self)
        task = asyncio.get_running_loop().create_task(coro, context=context)
        self.tasks.append(task)
        return task

    # Dying

    def alive(self) -> None:
        if self.dead:
            raise Killed

    def die(self) -> None:
        self.kill()
        raise Killed

    def dies(self, where: str) -> bool:
        self.alive()
        world = self.world
        return world.faults and world.chance(world.p["kill"])

    def point(self, where: str) -> None:
        if self.dies(where):
            self.die()

    async def rest(self, where: str) -> None:
        self.point(where)
        await asyncio.sleep(self.world.rng.uniform(0, 0.004))
        self.point(where)

    def step(self) -> None:
        self.world.steps += 1
        if self.world.steps > STEPS:
            raise Broken("it never comes to rest")
        if self.kill_in > 0:
            self.kill_in -= 1
            if self.kill_in == 0:
                self.kill()

    def resume(self) -> None:
        self.paused = False
        for gate in self.gates:
            if not gate.done():
                gate.set_result(None)
        self.gates.clear()

    def kill(self) -> None:
        if self.dead:
            return
        self.dead = True
        self.disk.unlock()
        self.wire.drop()
        for task in self.tasks:
            task.cancel()
        self.resume()
        self.gone.set_result(None)


ROUTES: dict[str, list[str]] = {}
for _exchange, _key, _queue in BINDINGS:
    if _exchange == "zoco":
        ROUTES.setdefault(_key, []).append(_queue)


class Broker:
    def __init__(self, world: World) -> None:
        self.world = world
        self.away = False
        self.queues: dict[str, list[tuple[str, bytes]]] = {name: [] for name in DOMAINS}
        self.dead_letters: Counter[str] = Counter()
        self.reasons: list[str] = []
        self.wires: list[SimWire] = []

    def put(self, queue: str, item: tuple[str, bytes]) -> None:
        world = self.world
        if world.faults and world.chance(world.p["lose"]):
            return
        for _ in range(1 + (world.faults and world.chance(world.p["duplicate"]))):
            if world.faults and world.chance(world.p["delay"]):
                asyncio.get_running_loop().call_later(world.rng.uniform(0, 1), self.queues[queue].append, item)
            else:
                self.queues[queue].append(item)

    def wipe(self) -> None:
        for queue in self.queues.values():
            queue.clear()
        for wire in self.wires:
            wire.unacked.clear()
            wire.connection += 1


class SimWire:
    """One pod's connection to the broker: `services.shared.loop.Wire`, and the nudge's `Voice`."""

    def __init__(self, broker: Broker, service: str, pod: Pod) -> None:
        self.broker, self.service, self.pod = broker, service, pod
        self.unacked: dict[int, tuple[str, bytes]] = {}
        self.tag = self.connection = 0
        broker.wires.append(self)

    def drop(self) -> None:
        self.connection += 1
        self.broker.queues[self.service][:0] = self.unacked.values()
        self.unacked.clear()
        if self.pod.dead:
            self.broker.wires.remove(self)

    async def _there(self) -> None:
        self.pod.point("wire")
        while self.broker.away:
            await asyncio.sleep(0.1)
        await asyncio.sleep(self.pod.world.rng.uniform(0, 0.003))
        self.pod.alive()

    async def receive(self, limit: int) -> list[Delivery]:
        world, queue = self.pod.world, self.broker.queues[self.service]
        await self._there()
        pause = 0.01
        while not queue or self.broker.away:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.3)
        if world.faults and world.chance(world.p["reorder"]):
            world.rng.shuffle(queue)
        taken = []
        for _ in range(min(limit, len(queue), world.rng.randint(1, 8))):
            kind, body = queue.pop(0)
            self.tag += 1
            self.unacked[self.tag] = (kind, body)
            raw: Any = (self.connection, self.tag)
            taken.append(Delivery(decode(kind, body, self.pod.now()), None, False, raw))
        return taken

    async def publish(self, messages: Sequence[Message]) -> None:
        for message in {message.id: message for message in messages}.values():
            if not self.pod.world.folders[self.service].durable(encode_word(message)):
                raise Broken(f"{self.service} said {message.id}, and it is not on its disk")
        for message in {message.id: message for message in messages}.values():
            while True:
                await self._there()
                for queue in ROUTES[message.type]:
                    self.broker.put(queue, (message.type, encode(message)))
                self.pod.point("published")
                world = self.pod.world
                if not (world.faults and world.chance(world.p["unconfirmed"])):
                    break

    async def settle(self, batch: Sequence[Delivery], reasons: Mapping[Delivery, str]) -> None:
        await self._there()
        for delivery, reason in reasons.items():
            self.broker.dead_letters[self.service] += 1
            self.broker.reasons.append(f"{delivery.message and delivery.message.id}: {reason}")
        for item in batch:
            if item not in reasons and item.message is not None:
                mark = b'"id":"%s"' % item.message.id.encode()
                if not self.pod.world.folders[self.service].durable(mark):
                    raise Broken(f"{self.service} acked {item.message.id}, and it is not on its disk")
        tags = [item.raw[1] for item in batch if item.raw[0] == self.connection]  # type: ignore[index]
        for tag in [tag for tag in self.unacked if tags and tag <= max(tags)]:
            del self.unacked[tag]
        self.pod.point("settled")

    async def empty(self) -> bool:
        return not self.broker.away and not any(self.broker.queues.values())


class World:
    """One seed: what there is, who buys, what goes wrong."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.steps = 0
        self.faults = True
        # Each seed has its own mix of faults.
        self.p = {
            name: rng.choice([0, 0, most / 4, most])
            for name, most in {
                "kill": 0.02, "lose": 0.2, "duplicate": 0.4, "delay": 0.4, "reorder": 0.6, "unconfirmed": 0.2,
            }.items()
        }  # fmt: skip
        self.snapshot_bytes = rng.choice([600, 2_000, 10_000])
        self.batch = rng.choice([1, 3, 50])
        self.folders = {name: Folder(rng) for name in DOMAINS}
        self.broker = Broker(self)
        self.slots: dict[tuple[str, int], Pod] = {}
        self.told: list[Told] = []
        self.fechas: dict[str, str] = {}
        self.deaths: list[BaseException] = []
        self.meter: Any = SimpleNamespace(decided=lambda *_: None, published=lambda *_: None)
        users, tokens = range(1, rng.randint(3, 5)), range(101, 101 + rng.randint(1, 3))
        self.seeds: dict[str, list[Message]] = {
            "usuarios": [
                UsuarioRegistrado(
                    alta_id=seed_id(n), fecha=SEED_FECHA, usuario_id=n, nombre=f"u{n}", saldo=rng.choice([0, 60, 150])
                )
                for n in users
            ],
            "tokens": [
                TokenPublicado(
                    alta_id=seed_id(n), fecha=SEED_FECHA, token_id=n, nombre="t", imagen="t.jpg",
                    precio=rng.choice([50, 60, 70]),
                )
                for n in tokens
            ],
        }  # fmt: skip
        self.users, self.tokens = [*users, 9], [*tokens, *tokens, *tokens, *tokens, 999]

    def chance(self, p: float) -> bool:
        return p > 0 and self.rng.random() < p

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    async def run(self) -> None:
        rng = self.rng
        jobs = [asyncio.ensure_future(self._keep(name, n)) for name in DOMAINS for n in range(2)]
        buyers = [asyncio.ensure_future(self._buy(n)) for n in range(rng.randint(8, 14))]
        buyers += [asyncio.ensure_future(self._operate(n)) for n in range(rng.randint(1, 5))]
        jobs.append(asyncio.ensure_future(self._chaos()))
        try:
            while self.time() < CHAOS_SECONDS:
                await asyncio.sleep(0.2)
                self._look(jobs)
            self._heal()
            while not (all(buyer.done() for buyer in buyers) and self._quiet()):
                await asyncio.sleep(0.5)
                self._look(jobs + buyers)
                if self.time() > QUIET_SECONDS:
                    raise Broken(f"promise 4: not quiet after {QUIET_SECONDS} s: {self._stuck()}")
            await asyncio.sleep(3)
            self._look(jobs + buyers)
        finally:
            self.faults = False

    def _look(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]

    def _heal(self) -> None:
        self.faults = self.broker.away = False
        for folder in self.folders.values():
            folder.full = folder.sync_fails = False
        for pod in self.slots.values():
            pod.kill_in = -1
            pod.resume()

    def writer(self, service: str) -> Pod | None:
        return next((pod for (name, _), pod in self.slots.items() if name == service and pod.writes), None)

    def _stuck(self) -> list[Any]:
        pod = self.writer("compras")
        return [row for row in pod.store.rows.values() if not self._waits_for_ever(row)] if pod else ["no writer"]

    def _waits_for_ever(self, row: Any) -> bool:
        asked = pregunta(row)
        return isinstance(asked, SaldoRecargado) and asked.usuario_id == 9

    def _quiet(self) -> bool:
        writers = [self.writer(name) for name in DOMAINS]
        return (
            all(writers)
            and not self._stuck()
            and not any(self.broker.queues.values())
            and not any(wire.unacked for wire in self.broker.wires)
        )

    async def _keep(self, service: str, slot: int) -> None:
        while True:
            pod = self.slots[service, slot] = Pod(self, service)
            task = pod.spawn(pod.live())
            await asyncio.wait([task])
            pod.kill()
            for error in _leaves(None if task.cancelled() else task.exception()):
                self.deaths.append(error)
                if isinstance(error, Damaged) or not isinstance(
                    error, Killed | asyncio.CancelledError | Fenced | StoreBroken | OSError
                ):
                    raise Broken(f"{service} died of {type(error).__name__}: {error}") from error
            await asyncio.sleep(self.rng.uniform(0.02, 0.5))

    async def _asked(self, message: Any) -> tuple[Pod, Any] | None:
        """What the front door does: store it, unless it is there already. None: no answer came."""
        pod = self.writer("compras")
        if pod is None or pod.loop is None:
            return None
        message = message.model_copy(update={"fecha": pod.fecha()})
        row = pod.store.row(message.about)
        if row is None:
            answer = pod.spawn(pod.loop.submit(message))
            await asyncio.wait([answer, pod.gone], timeout=5, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or answer.cancelled() or answer.exception() is not None:
                return None
            if answer.result().failure:
                raise Broken(f"compras could not decide {message.about}: {answer.result().failure}")
            row = pod.store.row(message.about) if not pod.dead else None
        return None if row is None else (pod, row)

    async def _buy(self, number: int) -> None:
        rng = self.rng
        user, token = rng.choice(self.users), rng.choice(self.tokens)
        most = rng.choice([None, None, None, 40, 60, 80])
        patient, again = rng.random() < 0.8, rng.random() < 0.3
        key = f"k{number}"
        message = CompraSolicitada(
            compra_id=compra_id(user, key), usuario_id=user, token_id=token, fecha=SEED_FECHA, precio_maximo=most
        )
        await asyncio.sleep(rng.choice([0.5, rng.uniform(0, 3)]))
        while True:
            answer = await self._asked(message)
            if answer is not None:
                row = answer[1]
                if self.fechas.setdefault(row.id, row.fecha) != row.fecha:
                    raise Broken(f"promise 10: {row.id} was answered with two fechas")
                motivo = row.motivo if row.estado == "rechazada" else None
                shown = {"id": row.id, "estado": row.estado, "motivo": motivo}
                self.told.append(Told(f"client {number}", key, user, token, most, 202, shown))
                if not again:
                    return
                again = False
            elif not patient:
                return
            await asyncio.sleep(rng.uniform(0.05, 0.5))

    async def _operate(self, number: int) -> None:
        rng = self.rng
        alta = str(uuid5(NAMESPACE_URL, f"alta-{number}"))
        message: Message = rng.choice(
            [
                SaldoRecargado(alta_id=alta, fecha=SEED_FECHA, usuario_id=rng.choice(self.users), monto=90),
                SaldoRecargado(alta_id=alta, fecha=SEED_FECHA, usuario_id=rng.choice(self.users), monto=60),
                TokenPublicado(
                    alta_id=alta, fecha=SEED_FECHA, token_id=rng.choice(self.tokens[:-1]), nombre="n", imagen="n.jpg",
                    precio=rng.choice([45, 65, 90]),
                ),
                UsuarioRegistrado(alta_id=alta, fecha=SEED_FECHA, usuario_id=9, nombre="nueve", saldo=70),
            ]
        )  # fmt: skip
        await asyncio.sleep(rng.uniform(0, 3))
        while await self._asked(message) is None:
            await asyncio.sleep(rng.uniform(0.05, 0.5))

    async def _chaos(self) -> None:
        rng, loop = self.rng, asyncio.get_running_loop()
        kinds = rng.sample(
            ["kill", "step", "power", "pause", "lock", "full", "sync", "away", "wipe", "purge", "cut"],
            rng.randint(0, 6),
        )
        for _ in range(rng.randint(2, 14) if kinds else 0):
            await asyncio.sleep(rng.uniform(0, 0.5))
            if not self.faults:
                return
            kind, name, long = rng.choice(kinds), rng.choice(list(DOMAINS)), rng.uniform(0.1, 2)
            folder, pods = self.folders[name], [self.slots[name, 0], self.slots[name, 1]]
            pod = (self.writer(name) if rng.random() < 0.7 else None) or rng.choice(pods)
            match kind:
                case "kill":
                    pod.kill()
                case "step":
                    pod.kill_in = rng.randint(1, 60)
                case "power":
                    for one in pods:
                        one.kill()
                    folder.power_cut()
                case "pause":
                    pod.paused = True
                    if rng.random() < 0.7:
                        folder.owner = None
                    loop.call_later(long, pod.resume)
                case "lock":
                    folder.owner = None
                case "full":
                    folder.full = True
                    loop.call_later(long, setattr, folder, "full", False)
                case "sync":
                    folder.sync_fails = True
                case "away":
                    self.broker.away = True
                    loop.call_later(long, setattr, self.broker, "away", False)
                case "wipe":
                    self.broker.wipe()
                case "purge":
                    self.broker.queues[name].clear()
                case "cut":
                    for wire in list(self.broker.wires):
                        wire.drop()


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [] if error is None else [error]


def simulate(seed: int) -> World:
    """Run the world of this seed and check its promises. Raises Broken."""
    from sim_promises import check  # noqa: PLC0415 - it needs this module

    loop = VirtualLoop()
    world = World(seed)
    # Rows hold no state, and making their adapters is a third of a small world's time.
    rows, store_json.Rows = store_json.Rows, ROWS  # type: ignore[misc, assignment]
    try:
        loop.run_until_complete(world.run())
        check(world)
    finally:
        store_json.Rows = rows  # type: ignore[misc]
        for pod in world.slots.values():
            pod.kill()
        for task in (tasks := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()
    return world
