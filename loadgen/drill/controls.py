"""The negative controls: a service with one guarantee really gone, so that an audit that passes it is seen to be blind.

`python -m loadgen.drill.controls NAME services.tokens.main:app [uvicorn's options]` runs a service as uvicorn would,
with a broken part in the place of a real one. The services themselves have no switch for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from typing_extensions import override

from broker.amqp.bus import Bus, Delivery
from broker.messages import BIT, CompraMessage, CompraSolicitada, Message
from loadgen.drill.guarantees import ASYNCHRONOUS
from loadgen.drill.postgres_controls import NoMemory, NoRowLock, NoStandby, NoWalOnRepeat
from ops.process import Process, free_port
from services.compras.front_door import FrontDoor
from services.compras.resend import Resender
from services.shared.decision import Decision, Domain
from services.shared.heights import BookHeights, Doubt
from services.shared.http.app import create_app
from services.shared.journal.position import dedup_key
from services.shared.journal.segments import segment_names
from services.shared.journal.store import Batch, JsonStore, MeasuredDisk, open_json_store
from services.shared.metrics import Metrics
from services.shared.postgres.store import PostgresStore, open_postgres_store
from services.shared.runtime import Service
from services.shared.store import Answer
from services.tokens.domain import Token, TokenDecision

# `journal` keeps in memory what it has said to be on the disk, until nothing more has come for so long: a service that
# is killed under load loses all that it did in its life, on a machine of any speed.
LATE_SECONDS: Final = 0.5
# How long `ack-last` has what it acked in its hands, as it would with a slow disk: there is always something to lose.
HELD_SECONDS: Final = 0.05
# How often `confirm` looks whether the connection is still the one it spoke on.
LOOK_SECONDS: Final = 0.02
# Whom `epoch` gives a second writer: the one whose loss nothing else waits for, so that the shop comes to rest.
DOUBLED: Final = "transacciones"
# Set for the second writer of `epoch`, so that it starts no third.
SECOND: Final = "CONTROL_SECOND_WRITER"


class NoDedupe(JsonStore[Any]):
    """A message seen before is decided again. Shows when a service is killed: what it had not acked comes again, and
    what compras had not heard answered is asked again. Breaks 9: one effect per message id."""

    @override
    def _decide(self, message: Message, pending: Batch[Any]) -> Answer:
        name = dedup_key(message.subject)
        for seen in (pending.dedup, self._dedup):
            if name in seen:
                seen[name] &= ~BIT[message.type]
        return super()._decide(message, pending)


class NoJournal(MeasuredDisk):
    """What was decided is published and acked first, and written once there is a pause. Shows when a service is killed:
    its book no longer has what the others heard from it. Breaks 5 and 7 (transacciones), 4 (compras), 6 (tokens)."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        super().__init__(folder, metrics)
        self._pause: asyncio.TimerHandle | None = None
        self._late: dict[str, bytearray] = {}
        # How far a journal is synced is written down with what it speaks of: else it would be refused as damaged.
        self._notes: dict[str, bytes] = {}

    @override
    def append(self, name: str, data: bytes) -> None:
        if self._pause:
            self._pause.cancel()
        self._pause = asyncio.get_running_loop().call_later(LATE_SECONDS, self.flush)
        self._late.setdefault(name, bytearray()).extend(data)

    @override
    async def sync(self, name: str) -> None:
        """Says so, and does nothing."""

    @override
    def note(self, name: str, data: bytes) -> None:
        self._notes[name] = data

    @override
    def size(self, name: str) -> int:
        return super().size(name) + len(self._late.get(name, b""))

    @override
    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        raw = super().read(name, offset, size)
        if name not in self._late:
            return raw
        start = max(0, offset - super().size(name))
        return raw + self._late[name][start : None if size < 0 else start + size - len(raw)]

    @override
    def release(self, name: str) -> None:
        self.flush()
        super().release(name)

    @override
    def close(self) -> None:
        self.flush()
        super().close()

    def flush(self) -> None:
        for name, data in self._late.items():
            super().append(name, bytes(data))
        for name, note in self._notes.items():
            super().note(name, note)
        self._late.clear()
        self._notes.clear()


class NoConfirm(Bus):
    """What is published counts as arrived at once, with the broker away too; and nothing is asked for again, as that
    would find what is lost. Shows when the broker is killed: purchases stop on their way. Breaks 4."""

    speaking: Final[set[asyncio.Future[None]]] = set()

    @override
    async def publish(self, messages: Sequence[Message]) -> None:
        task = asyncio.ensure_future(self._speak(messages))
        self.speaking.add(task)
        task.add_done_callback(self.speaking.discard)

    async def _speak(self, messages: Sequence[Message]) -> None:
        said = asyncio.ensure_future(super().publish(messages))
        while self.connected and not said.done():
            await asyncio.wait({said}, timeout=LOOK_SECONDS)
        said.cancel()
        await asyncio.gather(said, return_exceptions=True)


class NoAckLast(Bus):
    """Whatever comes is acked before it is decided; and nothing is asked for again, as that would find what is lost.
    Shows when a service is killed with messages in its hands: these are gone. Breaks 4, and 5 for transacciones."""

    @override
    async def receive(self, limit: int) -> list[Delivery]:
        batch = await super().receive(limit)
        await super().settle(batch, {})
        self._acks.send()
        await asyncio.sleep(HELD_SECONDS)
        return batch

    @override
    async def settle(self, batch: Sequence[Delivery], reasons: Mapping[Delivery, str]) -> None:
        await super().settle([], reasons)


def no_waiting_line(domain: Domain[Any]) -> Domain[Any]:
    """Who asks for a token that is held is noted down as asked, and forgotten. Shows without any fault, when many want
    one token. Breaks 4: they never hear what became of it."""

    def forget(token: Token | None, message: Message) -> TokenDecision:
        decision: TokenDecision = domain.decide(token, message)
        if not isinstance(message, CompraSolicitada) or token is None or decision.row is None:
            return decision
        return Decision(token) if len(decision.row.cola) > len(token.cola) else decision

    return replace(domain, decide=forget) if domain.name == "tokens" else domain


class NoLock(MeasuredDisk):
    """Locks nobody out."""

    @override
    def lock(self) -> bool:
        return True


class NoEpoch(JsonStore[Any]):
    """The lock locks nothing out and nobody looks for a writer that came later; and a second transacciones writes in
    the same folder from the first purchase on. Shows without any other fault: what the first one says goes on beside
    the books. Breaks 5, 7 and 8."""

    second: Process | None = None

    @override
    def _check_epoch(self) -> None:
        """Nobody came."""

    @override
    async def process_batch(self, batch: Sequence[Message]) -> list[Answer]:
        doubled = self.domain.name == DOUBLED and SECOND not in os.environ
        if doubled and self.second is None and any(isinstance(message, CompraMessage) for message in batch):
            known = segment_names(self.disk)
            self.second = _start_second_writer()
            # On a busy machine it takes seconds, and this one would be killed before there are two.
            while self.second.code is None and segment_names(self.disk) == known:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
        return await super().process_batch(batch)


class _Believing(BookHeights):
    """Whatever others have heard of, the book at hand is the right one."""

    @override
    def doubt(self, by: str, name: str, at: Any, seq: int) -> Doubt | None:
        return None


class NoHeights(JsonStore[Any]):
    """A book that is older than others have heard of, or another one, is not noticed. Shows when a folder is put back
    as it was: tokens has forgotten what it sold, and who paid. Breaks 1 and 6, and 3 where it is asked for again."""

    @override
    def _forget(self) -> None:
        super()._forget()
        self.heights = _Believing(self.domain.name)


class NoNudge(Resender):
    """Nothing is ever asked for again, after a restart neither. Shows when the broker's disk is wiped with messages
    waiting, or compras is killed with the broker away: purchases under way stop. Breaks 4."""

    @override
    async def run(self) -> None:
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a service is put together from: a control has another one of these."""

    disk: type[MeasuredDisk] = MeasuredDisk
    store: type[JsonStore[Any]] = JsonStore
    bus: type[Bus] = Bus
    resender: type[Resender] = Resender
    domain: Callable[[Domain[Any]], Domain[Any]] = lambda domain: domain
    postgres: type[PostgresStore[Any]] | None = None

    def app(self, service: Service[Any]) -> FastAPI:
        service = replace(service, domain=self.domain(service.domain))
        if service.extension is FrontDoor:
            service = replace(service, extension=partial(FrontDoor, resender=self.resender))
        if self.postgres:
            return create_app(service, partial(open_postgres_store, kind=self.postgres), self.bus)
        return create_app(service, partial(open_json_store, on=self.disk, kind=self.store), self.bus)


# By the names of `guarantees.py`.
CONTROLS: Final[Mapping[str, Parts]] = {
    "dedupe": Parts(store=NoDedupe),
    "journal": Parts(disk=NoJournal),
    "confirm": Parts(bus=NoConfirm, resender=NoNudge),
    "ack-last": Parts(bus=NoAckLast, resender=NoNudge),
    "waiting-line": Parts(domain=no_waiting_line),
    "epoch": Parts(store=NoEpoch, disk=NoLock),
    "nudge": Parts(resender=NoNudge),
    "heights": Parts(store=NoHeights),
    "row-lock": Parts(postgres=NoRowLock),
    "dedup": Parts(postgres=NoMemory),
    "wal-on-repeat": Parts(postgres=NoWalOnRepeat),
    ASYNCHRONOUS: Parts(postgres=NoStandby),
}


def _start_second_writer() -> Process:
    """This same program again, on another port. It ends when this process does."""
    port = str(free_port())
    arguments = sys.argv[1:]
    arguments[arguments.index("--port") + 1] = port
    env = {**os.environ, SECOND: "1", "ZOCO_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    return Process([sys.executable, "-m", "loadgen.drill.controls", *arguments], env, sys.stderr.fileno())


def main(arguments: Sequence[str]) -> None:
    """Run a service without what is named. Never returns."""
    if len(arguments) < 2 or arguments[0] not in CONTROLS:
        sys.stderr.write(
            f"controls: {', '.join(CONTROLS)}\n"
            "usage: python -m loadgen.drill.controls NAME services.tokens.main:app [uvicorn's options]\n"
        )
        sys.exit(2)
    name, app, *options = arguments
    module: Any = import_module(app.partition(":")[0])
    module.app = CONTROLS[name].app(module.SERVICE)
    uvicorn.main([app, *options])


if __name__ == "__main__":
    main(sys.argv[1:])
