"""A running process of a service: its store, its bus and its loop. All four are this, with another domain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import structlog
from fastapi import APIRouter
from msgspec import Struct
from pydantic import ValidationError

from broker.amqp.bus import Bus, BusOptions
from broker.messages import Message
from services.shared.clock import far_ahead, utc_now
from services.shared.decision import Domain
from services.shared.exits import end, exit_code, expected, first_cause, sentence
from services.shared.heights import Doubt, Doubted
from services.shared.http.edge import EdgeApp, Endpoint
from services.shared.http.shutdown import when_told_to_stop
from services.shared.metrics import Metrics
from services.shared.peers import Peers
from services.shared.processor import Processor
from services.shared.settings import Settings, WrongSetting
from services.shared.store import Away, Change, OpenStore, Store

Row = TypeVar("Row", bound=Struct)
log = structlog.get_logger()

# The batch in hand is finished in this time when the service is told to stop, or repeated by the next one.
STOP_SECONDS: Final = 3.0
# How often the others are asked whether a doubt is over.
DOUBT_SECONDS: Final = 1.0


class Extension(Protocol[Row]):
    """What one service does that the others do not. It is made before the store is read, and lives as long."""

    def heard(self, change: Change[Row]) -> None:
        """Something is durable, decided here or by the process that leads."""

    async def run(self) -> None:
        """Beside the loop, for as long as this process leads, where a broker is configured."""

    def stop(self) -> None:
        """The process is told to end: whoever waits for something is let go."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Service(Generic[Row]):
    """What differs between two services."""

    domain: Domain[Row]
    routes: APIRouter
    # The seed's messages. Raises ValidationError, or ValueError with a sentence.
    seed: Callable[[bytes], Sequence[Message]]
    seed_file: Path
    # What it does beside the others' shape.
    extension: Callable[[Runtime[Row]], Extension[Row]] | None = None
    # The endpoints that are asked most, by method and path: they take the request alone.
    straight: Mapping[tuple[str, str], Endpoint] = field(default_factory=dict)
    app: type[EdgeApp] = EdgeApp


class Runtime(Generic[Row]):
    """One running process of a service."""

    def __init__(self, service: Service[Row], settings: Settings, open_store: OpenStore, bus: type[Bus] = Bus) -> None:
        self.service = service
        self.settings = settings
        self.name = service.domain.name
        self.metrics = Metrics(service.domain.name)
        self.store: Store[Row] = open_store(service.domain, settings, self.metrics, utc_now)
        self.metrics.watch(self.store.room)
        self.bus = self._connected(bus)
        self.processor = Processor(self.store, self.bus, self.metrics, batch_limit=settings.batch) if self.bus else None
        # No other process has it: in a container each has the same pid.
        self.process = secrets.token_hex(8)
        # The loop takes messages from now on.
        self.writing = asyncio.Event()
        self.peers = Peers(self.name, settings)
        # Why nothing is decided and accepted now: a book is not what others know of it.
        self.doubt: Doubt | None = None
        self._doubted_when_asked = False
        self.extension = service.extension(self) if service.extension else None
        self._tasks: list[asyncio.Task[None]] = []

    def _connected(self, bus: type[Bus]) -> Bus | None:
        if (url := self.settings.rabbitmq_url) is None:
            return None
        options = BusOptions(prefetch=self.settings.prefetch)
        return bus(url.get_secret_value(), self.service.domain.name, options=options, now=self.store.now)

    @property
    def ready(self) -> bool:
        """The books are read, and the broker was seen once. Its later absence takes no process out of service."""
        return self.store.opened and (self.bus is None or self.bus.seen_once)

    def state(self) -> dict[str, Any]:
        """How it is, for `/readyz` and `/estado`."""
        bus, store = self.bus, self.store
        return {
            "service": self.name,
            "ready": self.ready,
            "role": "writer" if store.leads else "follower",
            "writer": store.leader_url(),
            "records": store.seq,
            "diskFull": store.full,
            "waitsFor": store.trouble,
            "disk": store.room.said(),
            "book": store.heights.state(store.seq),
            "doubt": self.doubt.says if self.doubt else None,
            "doubtOf": self.doubt.of if self.doubt else None,
            "doubtBook": self.doubt.book if self.doubt else None,
            "clock": far_ahead(store.time),
            "process": self.process,
            # Which of the replicas answers: its host (in a cluster, its pod) and its process there.
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "broker": bus.state() if bus else None,
        }

    async def start(self) -> None:
        """Read the books; everything else goes on behind. Raises Damaged, OSError, WrongSetting."""
        if self.extension:
            self.store.watch(self.extension.heard)
            when_told_to_stop(self.extension.stop)
        # What is read stays, and what is made for a message has no cycles: looking for them took a tenth of the time.
        gc.set_threshold(20_000, 20, 20)
        await self.store.open()
        gc.freeze()
        self.keep(self._live())
        if self.bus:
            self.keep(self.bus.run())

    async def stop(self) -> None:
        """Finish what is in hand, within STOP_SECONDS, and let another process take over."""
        if self.bus and self.processor and self.store.leads:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self.bus.stop_consuming()
                    await self.processor.idle()
        if self.extension:
            await self.extension.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.bus:
            await self.bus.close()
        await self.store.close()

    def measure(self) -> None:
        """Bring the gauges up to date."""
        metrics, store = self.metrics, self.store
        metrics.writer.set(store.leads)
        metrics.records.set(store.seq)
        metrics.disk_full.set(store.full)
        metrics.doubt.set(self.doubt is not None)
        metrics.broker.set(bool(self.bus and self.bus.connected))
        metrics.consumer.set(bool(self.bus and self.bus.consuming))

    def keep(self, work: Awaitable[None]) -> None:
        """Let this go on for as long as the process lives, which does not without it."""
        self._tasks.append(asyncio.ensure_future(self._or_end(work)))

    async def _or_end(self, work: Awaitable[None]) -> None:
        """A part that fails ends the process: Kubernetes, or `zoco up`, starts it anew, and the journal is whole."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            cause = first_cause(error)
            end(exit_code(cause), sentence(cause), exc_info=None if expected(cause) else error)

    async def _live(self) -> None:
        await self.store.until_leading(self.settings.public_url)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.store.tend())
            if not self.bus or not self.processor:
                await self.store.process_batch(self.seed())
                return
            tasks.create_task(self._work(self.bus, self.processor))
            if self.extension:
                tasks.create_task(self.extension.run())

    async def _work(self, bus: Bus, processor: Processor) -> None:
        """Decide what comes; while a book is in doubt, nothing.

        A doubt is of what the others say when they are asked, or came with a message (`asked` is False then).
        """
        while True:
            asked = True
            try:
                await self.peers.check(self.store)
                if self._doubt_is_over():
                    asked, self.doubt = False, None
                    # Not before: with it, an older book would seem longer. What it answers is told to nobody.
                    await self.store.process_batch(self.seed())
                    bus.consume()
                    self.writing.set()
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(processor.run())
                        tasks.create_task(self.peers.check_silent(self.store))
            except* Doubted as doubts:
                await self.store.process_batch(())  # who was replaced only thinks that its book ends where it stopped
                self._stop_deciding(cast(Doubted, first_cause(doubts)).doubt, asked=asked)
            except* Away as away:
                log.info("the others are asked again", reason=str(first_cause(away)))
            await bus.give_back()
            await asyncio.sleep(DOUBT_SECONDS)

    def _doubt_is_over(self) -> bool:
        """Whether the others, who were just asked, leave none. One of this book itself ends with the process."""
        doubt = self.doubt
        if doubt is None or self.store.heights.settles(doubt):
            return True
        # They were asked and leave none. What came in a message is doubted until then: it would come again.
        return self._doubted_when_asked and doubt.of != self.name

    def _stop_deciding(self, doubt: Doubt, *, asked: bool) -> None:
        self._doubted_when_asked = asked
        self.writing.clear()
        if self.doubt is None or self.doubt.says != doubt.says:
            log.error("nothing is decided any more", reason=doubt.says)
        self.doubt = doubt

    def seed(self) -> Sequence[Message]:
        """What the shop starts with. Raises WrongSetting."""
        file = self.settings.seed or self.service.seed_file
        try:
            return self.service.seed(file.read_bytes()) if file.exists() or self.settings.seed else ()
        except OSError as error:
            raise WrongSetting(f"the seed {file} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = "/".join(str(part) for part in first["loc"])
            raise WrongSetting(f"the seed {file} is wrong at /{where}: {first['msg']}") from error
        except ValueError as error:
            raise WrongSetting(f"the seed {file} is wrong: {error}") from error
