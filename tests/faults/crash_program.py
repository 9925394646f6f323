"""A service that kills itself at a named place: python crash_program.py FOLDER services.tokens.main:app [options]

The order lies in FOLDER/<service>: a place, a message's type (or *), and at which passage. It is looked for at every
passage, so that a running process can be given one; it is gone, and noted in FOLDER/died, before the SIGKILL.

What the store and the bus do is seen by wrapping their public methods and the disk's. Nothing in a service knows of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import uvicorn

from broker.amqp.acks import Acks
from broker.amqp.bus import Bus, Delivery
from broker.messages import Message
from services.shared.journal.disk import LocalDisk
from services.shared.journal.generation import UNFINISHED
from services.shared.journal.segments import SEGMENT
from services.shared.journal.store import JsonStore

# A message that is heard comes by these, in this order; one that is said by those.
HEARD = ("before-decide", "after-decide", "after-write", "after-fsync", "before-ack", "ack-held", "after-ack")
SAID = ("before-publish", "after-publish", "after-confirm")
ROTATION = ("rotation-created", "rotation-header", "rotation-synced")
SNAPSHOT = ("snapshot-before", "snapshot-half", "snapshot-after")
# These come by only when a process starts.
TAKEOVER = ("takeover-created", "takeover-rewritten", "takeover-header", "takeover-synced", "takeover-writer")
# And these when a lost book is written again: from its first file until that is the journal, and nothing else.
REBUILD = (
    *("rebuild-created", "rebuild-header", "rebuild-begun", "rebuild-half", "rebuild-written", "rebuild-synced"),
    *("rebuild-unnamed", "rebuild-named", "rebuild-done"),
)


class Trap:
    """The order of one service, and how often this process came by the place."""

    def __init__(self, folder: Path, service: str) -> None:
        self._order = folder / service
        self._died = folder / "died"
        self._service = service
        self._passed: dict[str, int] = {}

    def springs(self, place: str, types: Iterable[str] = ()) -> bool:
        """Whether this is the passage at which the process is to die. Then the order is gone."""
        try:
            order = self._order.read_text()
        except FileNotFoundError:
            return False
        wanted, kind, passage = order.split()
        if wanted != place or kind not in ("*", *types):
            return False
        self._passed[order] = self._passed.get(order, 0) + 1
        if self._passed[order] < int(passage):
            return False
        self._order.unlink()
        with self._died.open("a") as file:
            file.write(f"{self._service} {place} {kind}\n")
        return True

    def passes(self, place: str, types: Iterable[str] = ()) -> None:
        if self.springs(place, types):
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def types_of(messages: Iterable[Message | None]) -> set[str]:
    return {message.type for message in messages if message is not None}


def wrap_store(trap: Trap) -> set[str]:
    """Returns what is being decided now, for the disk's places."""
    deciding: set[str] = set()
    once = JsonStore.process_batch

    @wraps(once)
    async def watched(self: JsonStore[Any], batch: Sequence[Message]) -> Any:
        deciding.update(types_of(batch))
        trap.passes("before-decide", deciding)
        answers = await once(self, batch)
        deciding.clear()
        return answers

    JsonStore.process_batch = watched  # type: ignore[method-assign]
    return deciding


def wrap_disk(trap: Trap, deciding: set[str]) -> None:
    create, append, sync, rewrite, replace, publish = (
        getattr(LocalDisk, name) for name in ("create", "append", "sync", "rewrite", "replace", "publish")
    )
    # Segments that were begun and have no header on the disk yet: what for.
    begun: dict[str, str] = {}

    def watched_create(self: LocalDisk, name: str) -> None:
        create(self, name)
        if name.startswith(UNFINISHED):
            begun[name] = "rebuild"
            trap.passes("rebuild-created")
        if found := SEGMENT.fullmatch(name):
            begun[name] = "takeover" if found[2] == "000001" else "rotation"
            trap.passes(f"{begun[name]}-created")

    def watched_append(self: LocalDisk, name: str, data: bytes) -> None:
        if name.startswith("."):
            append(self, name, data)
            return
        if name in begun:
            append(self, name, data)
            trap.passes(f"{begun[name]}-header")
            return
        if name.startswith(UNFINISHED):
            if trap.springs("rebuild-half"):
                append(self, name, data[: len(data) // 2])
                die()
            append(self, name, data)
            trap.passes("rebuild-written")
            return
        trap.passes("after-decide", deciding)
        append(self, name, data)
        trap.passes("after-write", deciding)

    async def watched_sync(self: LocalDisk, name: str) -> None:
        await sync(self, name)
        if place := begun.pop(name, None):
            trap.passes("rebuild-begun" if place == "rebuild" else f"{place}-synced")
        elif name.startswith(UNFINISHED):
            trap.passes("rebuild-synced")
        else:
            trap.passes("after-fsync", deciding)

    def watched_rewrite(self: LocalDisk, name: str, offset: int, data: bytes) -> None:
        rewrite(self, name, offset, data)
        trap.passes("takeover-rewritten")

    async def watched_replace(self: LocalDisk, name: str, data: bytes) -> None:
        place = "snapshot" if name.endswith(".snapshot") else "takeover" if name == "writer" else "view"
        trap.passes(f"{place}-before")
        if trap.springs(f"{place}-half"):
            (self.folder / f".{name}.{os.getpid()}").write_bytes(data[: len(data) // 2])
            die()
        await replace(self, name, data)
        trap.passes(f"{place}-writer" if place == "takeover" else f"{place}-after")

    def watched_publish(self: LocalDisk, name: str, final: str) -> None:
        trap.passes("rebuild-unnamed")
        if trap.springs("rebuild-named"):
            (self.folder / final).hardlink_to(self.folder / name)
            die()
        publish(self, name, final)
        trap.passes("rebuild-done")

    LocalDisk.publish = watched_publish  # type: ignore[method-assign]
    LocalDisk.create = watched_create  # type: ignore[method-assign]
    LocalDisk.append = watched_append  # type: ignore[method-assign]
    LocalDisk.sync = watched_sync  # type: ignore[method-assign]
    LocalDisk.rewrite = watched_rewrite  # type: ignore[method-assign]
    LocalDisk.replace = watched_replace  # type: ignore[method-assign]


def wrap_bus(trap: Trap) -> None:
    publish, settle, send = Bus.publish, Bus.settle, Acks.send
    # What is settled and not acked yet.
    held: set[str] = set()

    @wraps(publish)
    async def watched_publish(self: Bus, messages: Sequence[Message]) -> None:
        types = types_of(messages)
        trap.passes("before-publish", types)
        if trap.springs("after-publish", types):
            said = asyncio.ensure_future(publish(self, messages))
            # It writes before it waits for the confirms, and uvloop sends at the end of a round: a few of these.
            for _ in range(4):
                await asyncio.sleep(0)
            assert not said.done(), "confirmed before it was sent"
            die()
        await publish(self, messages)
        trap.passes("after-confirm", types)

    @wraps(settle)
    async def watched_settle(self: Bus, batch: Sequence[Delivery], reasons: Mapping[Delivery, str]) -> None:
        types = types_of(delivery.message for delivery in batch)
        trap.passes("before-ack", types)
        held.update(types)
        await settle(self, batch, reasons)
        trap.passes("ack-held", types & held)

    @wraps(send)
    def watched_send(self: Acks) -> None:
        send(self)
        trap.passes("after-ack", held)
        held.clear()

    Bus.publish = watched_publish  # type: ignore[method-assign]
    Bus.settle = watched_settle  # type: ignore[method-assign]
    Acks.send = watched_send  # type: ignore[method-assign]


def main() -> None:
    folder, app = Path(sys.argv[1]), sys.argv[2]
    trap = Trap(folder, app.split(".")[1])
    wrap_disk(trap, wrap_store(trap))
    wrap_bus(trap)
    uvicorn.main(sys.argv[2:])


if __name__ == "__main__":
    main()
