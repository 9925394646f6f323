"""A running process of a service: its store, its bus and its loop. All four are this, with another domain."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Generic, TypeGuard, TypeVar

import structlog
from fastapi import APIRouter
from msgspec import Struct
from pydantic import ValidationError

from broker.amqp.bus import Bus, BusOptions, BusRefused
from broker.messages import Message
from services.shared.decision import Domain
from services.shared.http.edge import Endpoint
from services.shared.journal.disk import LocalDisk
from services.shared.journal.json_file import View
from services.shared.journal.store import JsonStore
from services.shared.metrics import Metrics
from services.shared.processor import Loop
from services.shared.settings import ROOT, Settings, WrongSetting
from services.shared.store import Damaged, Fenced, StoreBroken

Row = TypeVar("Row", bound=Struct)
log = structlog.get_logger()

# sysexits.h: configuration that somebody must mend; an input or output error; try again.
EX_CONFIG: Final = 78
EX_IOERR: Final = 74
EX_TEMPFAIL: Final = 75
# How often a follower looks for news and for a lock that is free: a takeover takes under a second.
FOLLOW_SECONDS: Final = 0.1
# A writer that has nothing to write still learns that it was replaced.
CHECK_SECONDS: Final = 1.0
VIEW_SECONDS: Final = 1.0
# The batch in hand is finished in this time when the service is told to stop, or repeated by the next one.
STOP_SECONDS: Final = 3.0
WRITER: Final = "writer"
GC_THRESHOLD: Final = (20_000, 20, 20)


@dataclass(frozen=True, slots=True)
class Service(Generic[Row]):
    """What differs between two services."""

    domain: Domain[Row]
    routes: APIRouter
    # The seed's messages. Raises ValidationError, or ValueError with a sentence.
    seed: Callable[[bytes], Sequence[Message]]
    seed_file: Path
    view: Callable[[JsonStore[Row], Path], View] | None = None
    # What the writer does beside the loop, and a hook that runs before the journal is read.
    beside: Callable[[Runtime[Row]], Awaitable[None]] | None = None
    prepare: Callable[[Runtime[Row]], None] = lambda runtime: None
    # The endpoints that are asked most, by method and path: they take the request alone.
    straight: Mapping[tuple[str, str], Endpoint] = field(default_factory=dict)


def utc_now() -> str:
    """RFC 3339 with milliseconds."""
    seconds, millis = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_second(seconds)}.{millis:03d}Z"


# It is asked several times for each message.
@lru_cache(maxsize=2)
def _second(since_1970: int) -> str:
    return datetime.fromtimestamp(since_1970, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class Runtime(Generic[Row]):
    """One running process of a service."""

    def __init__(self, service: Service[Row], settings: Settings) -> None:
        self.service = service
        self.settings = settings
        self.name = service.domain.name
        self.metrics = Metrics()
        self.disk = _Measured(settings.data or ROOT / ".zoco" / self.name, self.metrics)
        self.store: JsonStore[Row] = JsonStore(
            self.disk, service.domain, utc_now, snapshot_bytes=settings.snapshot_bytes
        )
        self.bus = self._bus()
        self.loop = Loop(self.store, self.bus, self.metrics, batch_limit=settings.batch) if self.bus else None
        self.view = service.view(self.store, self.disk.folder / service.seed_file.name) if service.view else None
        self.extra: Any = None
        # The loop takes messages from now on.
        self.writing = asyncio.Event()
        self._loaded = False
        self._tasks: list[asyncio.Task[None]] = []

    def _bus(self) -> Bus | None:
        url = self.settings.rabbitmq_url
        if url is None:
            return None
        options = BusOptions(prefetch=self.settings.prefetch)
        return Bus(url.get_secret_value(), self.service.domain.name, options=options, now=utc_now)

    @property
    def ready(self) -> bool:
        """The journal is read, and the broker was seen once. Its later absence takes no process out of service."""
        return self._loaded and (self.bus is None or self.bus.seen_once)

    def state(self) -> dict[str, Any]:
        """How it is, for `/readyz` and `/estado`."""
        bus, store = self.bus, self.store
        return {
            "service": self.name,
            "ready": self.ready,
            "role": "writer" if store.leads else "follower",
            "records": store.seq,
            "diskFull": store.full,
            # Which of the replicas answers: its host (in a cluster, its pod) and its process there.
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "broker": {"connected": bus.connected, "consuming": bus.consuming, "trouble": bus.trouble} if bus else None,
        }

    def writer_url(self) -> str | None:
        """Where the process that writes answers, if it ever said."""
        with contextlib.suppress(OSError):
            return self.disk.read(WRITER).decode()
        return None

    async def start(self) -> None:
        """Read the journal; everything else goes on behind. Raises Damaged, OSError."""
        self.service.prepare(self)
        self.store.load()
        self._loaded = True
        # What was read stays, and what is made for a message has no cycles: looking for them took a tenth of the time.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        log.info("journal read", records=self.store.seq, rows=len(self.store.rows), folder=str(self.disk.folder))
        self._spawn(self._live())
        if self.bus:
            self._spawn(self.bus.run())

    async def stop(self) -> None:
        """Finish what is in hand, within STOP_SECONDS, and let another process take over."""
        if self.bus and self.loop and self.store.leads:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self.bus.stop_consuming()
                    await self.loop.idle()
        if self.extra is not None:
            await self.extra.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.store.leads and self.view:
            with contextlib.suppress(OSError):
                await self.view.write()
        if self.bus:
            await self.bus.close()
        self.disk.close()

    def measure(self) -> None:
        """Bring the gauges up to date."""
        metrics, store = self.metrics, self.store
        metrics.writer.set(store.leads)
        metrics.records.set(store.seq)
        metrics.torn.set(store.torn_bytes)
        metrics.disk_full.set(store.full)
        metrics.broker.set(bool(self.bus and self.bus.connected))
        metrics.consumer.set(bool(self.bus and self.bus.consuming))

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(self._or_end(work)))

    async def _or_end(self, work: Awaitable[None]) -> None:
        """A part that fails ends the process: Kubernetes, or `zoco up`, starts it anew, and the journal is whole."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            cause = _first_cause(error)
            end(exit_code(cause), sentence(cause), exc_info=None if _expected(cause) else error)

    async def _live(self) -> None:
        while not await self.store.lead():
            await asyncio.sleep(FOLLOW_SECONDS * random.uniform(0.5, 1))
            self.store.follow()
        await self.disk.replace(WRITER, self.settings.public_url.encode())
        await self._import_seed()
        log.info("this process writes", segment=self.store.segment, torn_bytes=self.store.torn_bytes)
        async with asyncio.TaskGroup() as tasks:
            if self.view:
                tasks.create_task(self._show(self.view))
            tasks.create_task(self._check())
            if self.bus and self.loop:
                self.bus.consume()
                tasks.create_task(self.loop.run())
                self.writing.set()
                if self.service.beside:
                    tasks.create_task(self.service.beside(self))  # type: ignore[arg-type]

    async def _import_seed(self) -> None:
        file = self.settings.seed or self.service.seed_file
        try:
            messages = self.service.seed(file.read_bytes()) if file.exists() or self.settings.seed else ()
        except OSError as error:
            raise WrongSetting(f"the seed {file} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = "/".join(str(part) for part in first["loc"])
            raise WrongSetting(f"the seed {file} is wrong at /{where}: {first['msg']}") from error
        except ValueError as error:
            raise WrongSetting(f"the seed {file} is wrong: {error}") from error
        # Nobody asked for these, so their answers are told to nobody.
        await self.store.once(messages)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self.store.check()

    async def _show(self, view: View) -> None:
        while True:
            started = time.monotonic()
            try:
                await view.write()
            except OSError as error:
                log.warning("the readable view cannot be written", error=str(error))
            # A view of many rows is written less often, so that it never takes more than a twentieth of the time.
            await asyncio.sleep(max(VIEW_SECONDS, 20 * (time.monotonic() - started)))


class _Measured(LocalDisk):
    """A disk whose syncs are timed."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        super().__init__(folder)
        self._seconds = metrics.sync

    async def sync(self, name: str) -> None:
        with self._seconds.time():
            await super().sync(name)


def _first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def sentence(error: BaseException) -> str:
    if unwritable(error):
        return (
            f"{error.filename} cannot be written ({error.strerror}): "
            f"let user {os.getuid()} write in its folder, or name another in ZOCO_DATA"
        )
    return f"{type(error).__name__}: {error}"


def unwritable(error: BaseException) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}


def _expected(error: BaseException) -> bool:
    return isinstance(error, Damaged | WrongSetting | Fenced | StoreBroken | BusRefused) or unwritable(error)


def exit_code(error: BaseException) -> int:
    match error:
        case Damaged() | WrongSetting() | BusRefused():
            return EX_CONFIG
        case _ if unwritable(error):
            return EX_CONFIG
        case Fenced():
            return EX_TEMPFAIL
        case StoreBroken() | OSError():
            return EX_IOERR
    return 1


def end(code: int, sentence: str, exc_info: BaseException | None = None) -> None:
    """End this process now: nothing that it still holds in memory may be believed or said."""
    log.error(sentence, exit_code=code, exc_info=exc_info)
    with contextlib.suppress(OSError):
        # Where Kubernetes looks for the reason.
        Path("/dev/termination-log").write_text(sentence + "\n", encoding="utf-8")
    os._exit(code)
