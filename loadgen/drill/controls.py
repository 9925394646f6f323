"""The negative controls: a service with one guarantee really gone, so that an audit that passes it is seen to be blind.

`python -m loadgen.drill.controls NAME[,NAME] services.tokens.main:app [uvicorn's options]` runs a service as uvicorn
would, after it has put a broken part in the place of a real one. The services themselves have no switch for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import uvicorn

from broker.amqp.bus import Bus, Delivery
from broker.messages import BIT, CompraMessage, CompraSolicitada, Message
from ops.process import Process, free_port
from services.compras.resend import Resender
from services.shared.decision import Decision
from services.shared.journal import store as store_json
from services.shared.journal.disk import LocalDisk
from services.shared.journal.segments import segment_names
from services.shared.journal.store import JsonStore
from services.tokens import domain as tokens

# `journal` keeps in memory what it has said to be on the disk, until nothing more has come for so long: a service that
# is killed under load loses all that it did in its life, on a machine of any speed.
LATE_SECONDS: Final = 0.5
# How long `ack-last` has what it acked in its hands, as it would with a slow disk: there is always something to lose.
HELD_SECONDS: Final = 0.05
# How often `confirm` looks whether the connection is still the one it spoke on.
LOOK_SECONDS: Final = 0.02
# Whom `epoch` gives a second writer: the one whose loss nothing else waits for, so that the shop comes to rest.
DOUBLED: Final = "services.transacciones.main:app"


def no_dedupe(app: str) -> None:
    """A message seen before is decided again. Shows when a service is killed: what it had not acked comes again, and
    what compras had not heard answered is asked again. Breaks 9: one effect per message id."""
    _replace(store_json, "BIT", dict.fromkeys(BIT, 0))


def no_journal(app: str) -> None:
    """What was decided is published and acked first, and written once there is a pause. Shows when a service is killed:
    its book no longer has what the others heard from it. Breaks 5 and 7 (transacciones), 4 (compras), 6 (tokens)."""
    _WriteBehind().install()


def no_confirm(app: str) -> None:
    """What is published counts as arrived at once, with the broker away too; and nothing is asked for again, as that
    would find what is lost. Shows when the broker is killed: purchases stop on their way. Breaks 4."""
    publish = Bus.publish
    speaking: set[asyncio.Future[None]] = set()

    async def speak(self: Bus, messages: Sequence[Message]) -> None:
        said = asyncio.ensure_future(publish(self, messages))
        while self.connected and not said.done():
            await asyncio.wait({said}, timeout=LOOK_SECONDS)
        said.cancel()
        await asyncio.gather(said, return_exceptions=True)

    async def say_and_go(self: Bus, messages: Sequence[Message]) -> None:
        task = asyncio.ensure_future(speak(self, messages))
        speaking.add(task)
        task.add_done_callback(speaking.discard)

    _replace(Bus, "publish", say_and_go)
    no_nudge(app)


def no_ack_last(app: str) -> None:
    """Whatever comes is acked before it is decided; and nothing is asked for again, as that would find what is lost.
    Shows when a service is killed with messages in its hands: these are gone. Breaks 4, and 5 for transacciones."""
    receive, settle = Bus.receive, Bus.settle

    async def ack_first(self: Bus, limit: int) -> list[Delivery]:
        batch = await receive(self, limit)
        await settle(self, batch, {})
        await asyncio.sleep(HELD_SECONDS)
        return batch

    async def only_dead_letters(self: Bus, batch: Sequence[Delivery], reasons: Mapping[Delivery, str]) -> None:
        await settle(self, [], reasons)

    _replace(Bus, "receive", ack_first)
    _replace(Bus, "settle", only_dead_letters)
    no_nudge(app)


def no_waiting_line(app: str) -> None:
    """Who asks for a token that is held is noted down as asked, and forgotten. Shows without any fault, when many want
    one token. Breaks 4: they never hear what became of it."""
    reservar = tokens.reservar

    def forget(token: tokens.Token | None, compra: CompraSolicitada) -> tokens.TokenDecision:
        decision = reservar(token, compra)
        waits = token is not None and decision.row is not None and len(decision.row.cola) > len(token.cola)
        return Decision(token) if waits else decision

    _replace(tokens, "reservar", forget)


def no_epoch(app: str) -> None:
    """The lock locks nothing out and nobody looks for a writer that came later; and a second transacciones writes in
    the same folder from the first purchase on. Shows without any other fault: what the first one says goes on beside
    the books. Breaks 5, 7 and 8."""
    process = JsonStore.process_batch
    second: list[Process] = []

    async def with_another(self: JsonStore[Any], batch: Sequence[Message]) -> Any:
        if app == DOUBLED and not second and any(isinstance(message, CompraMessage) for message in batch):
            known = segment_names(self.disk)
            second.append(_start_second_writer())
            # On a busy machine it takes seconds, and this one would be killed before there are two.
            while second[0].code is None and segment_names(self.disk) == known:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
        return await process(self, batch)

    _replace(LocalDisk, "lock", lambda self: True)
    _replace(JsonStore, "_check_epoch", lambda self: None)
    if SECOND not in os.environ:
        _replace(JsonStore, "process_batch", with_another)


def no_nudge(app: str) -> None:
    """Nothing is ever asked for again, after a restart neither. Shows when the broker's disk is wiped with messages
    waiting, or compras is killed with the broker away: purchases under way stop. Breaks 4."""

    async def silent(self: Resender) -> None:
        await asyncio.Event().wait()

    _replace(Resender, "run", silent)


# By the names of `guarantees.py`.
CONTROLS: Final[Mapping[str, Callable[[str], None]]] = {
    "dedupe": no_dedupe,
    "journal": no_journal,
    "confirm": no_confirm,
    "ack-last": no_ack_last,
    "waiting-line": no_waiting_line,
    "epoch": no_epoch,
    "nudge": no_nudge,
}
# Set for the second writer of `epoch`, so that it starts no third.
SECOND: Final = "CONTROL_SECOND_WRITER"


class _WriteBehind:
    """A disk that says that it has written, and writes later: a process that is killed takes the rest with it."""

    def __init__(self) -> None:
        self._pause: asyncio.TimerHandle | None = None
        self._late: dict[str, bytearray] = {}
        # How far a journal is synced is written down with what it speaks of: else it would be refused as damaged.
        self._notes: dict[str, bytes] = {}
        self._real = {name: getattr(LocalDisk, name) for name in ("append", "note", "size", "read", "release", "close")}

    def install(self) -> None:
        for name in self._real:
            _replace(LocalDisk, name, _method(getattr(self, name)))
        _replace(LocalDisk, "sync", _method(self.sync))

    def append(self, disk: LocalDisk, name: str, data: bytes) -> None:
        if self._pause:
            self._pause.cancel()
        self._pause = asyncio.get_running_loop().call_later(LATE_SECONDS, self.flush, disk)
        self._late.setdefault(name, bytearray()).extend(data)

    async def sync(self, disk: LocalDisk, name: str) -> None:
        """Says so, and does nothing."""

    def note(self, disk: LocalDisk, name: str, data: bytes) -> None:
        self._notes[name] = data

    def size(self, disk: LocalDisk, name: str) -> int:
        return int(self._real["size"](disk, name)) + len(self._late.get(name, b""))

    def read(self, disk: LocalDisk, name: str, offset: int = 0, size: int = -1) -> bytes:
        raw: bytes = self._real["read"](disk, name, offset, size)
        if name not in self._late:
            return raw
        start = max(0, offset - int(self._real["size"](disk, name)))
        return raw + self._late[name][start : None if size < 0 else start + size - len(raw)]

    def release(self, disk: LocalDisk, name: str) -> None:
        self.flush(disk)
        self._real["release"](disk, name)

    def close(self, disk: LocalDisk) -> None:
        self.flush(disk)
        self._real["close"](disk)

    def flush(self, disk: LocalDisk) -> None:
        for name, data in self._late.items():
            self._real["append"](disk, name, bytes(data))
        for name, note in self._notes.items():
            self._real["note"](disk, name, note)
        self._late.clear()
        self._notes.clear()


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A bound method of ours as a method of somebody else's class."""

    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        return function(self, *arguments, **options)

    return method


def _replace(owner: Any, name: str, new: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: this control takes nothing away"
    setattr(owner, name, new)


def _start_second_writer() -> Process:
    """This same program again, on another port. It ends when this process does."""
    port = str(free_port())
    arguments = sys.argv[1:]
    arguments[arguments.index("--port") + 1] = port
    env = {**os.environ, SECOND: "1", "ZOCO_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    return Process([sys.executable, "-m", "loadgen.drill.controls", *arguments], env, sys.stderr.fileno())


def main(arguments: Sequence[str]) -> None:
    """Run a service without what is named. Never returns."""
    names = arguments[0].split(",") if arguments else []
    strangers = [name for name in names if name not in CONTROLS]
    if len(arguments) < 2 or strangers:
        known = ", ".join(CONTROLS)
        wrong = f"{strangers[0]!r} is no control: known are {known}" if strangers else f"controls: {known}"
        sys.exit(
            _usage(f"{wrong}\nusage: python -m loadgen.drill.controls NAME[,NAME] services.tokens.main:app [options]")
        )
    for name in names:
        CONTROLS[name](arguments[1])
    uvicorn.main(list(arguments[1:]))


def _usage(text: str) -> int:
    print(text, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main(sys.argv[1:])
