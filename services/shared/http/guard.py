"""The guard where bytes arrive: an end to all that a client can send, or leave unsent.

Whatever is refused here is counted (`zoco_http_refused`), and nothing is logged: the log is not a stranger's to fill.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import defaultdict
from enum import Enum, auto
from functools import partial
from typing import Final, cast

import structlog
from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from services.shared.http.descriptors import raised_descriptors
from services.shared.http.for_whom import FOR, believed, client_of
from services.shared.http.pieces import PiecewiseProtocol
from services.shared.http.problems import Problem, unavailable
from services.shared.http.shares import Rounds, Shares, Unread, address_of, asker, whose
from services.shared.metrics import Metrics
from services.shared.settings import Settings

log = structlog.get_logger()

# Descriptors that are kept for the journal, the broker, and requests that are passed on.
KEPT_DESCRIPTORS: Final = 256
# Of the rest, no more than memory bears: a connection that waits takes about 8 kB.
MOST_CONNECTIONS: Final = 4_000
# So often is looked for who takes too long, and at so many connections in one turn of the loop.
LOOK_SECONDS: Final = 1.0
LOOKED_AT: Final = 200
# Chunks of one byte take six each; trailers are of no use to anybody here.
OVERHEAD_BYTES: Final = 128 * 1024
# So much of a body that is not wanted any more is read over, that the client may read why.
UNWANTED_BYTES: Final = 1024 * 1024
# Who has done nothing for so long makes room for somebody else of that address. Sooner they do not: to let in all who
# only come, and come again, would be all that this process does.
FRESH_SECONDS: Final = 2.0
FULL: Final = unavailable("too many connections from this address: use those that are open")
# The name under which all proxies' connections count together: each of them is many people's.
PROXIES: Final = "proxies"
# What is written and not sent yet. More would be held for everybody who does not read; and of all of them together.
UNSENT_BYTES: Final = 4 * 1024
UNREAD_BYTES: Final = 2 * 1024 * 1024
# Of that the kernel takes so much of a connection: unless told it takes a megabyte and a half, which nothing here sees.
KERNEL_BYTES: Final = 16 * 1024
# Whoever sends or reads less than this in the time that is given has stopped.
PROGRESS_BYTES: Final = 16 * 1024


class Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    IDLE = auto()


class Guard:
    """All connections of a process: whose they are, and for how long they may do nothing."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        most = min(settings.connections or MOST_CONNECTIONS, raised_descriptors() - KEPT_DESCRIPTORS)
        self._places = Shares(max(most, 1))
        self._open: dict[str, dict[GuardedProtocol, None]] = defaultdict(dict)
        # Those of them that can be asked for their place: the one first that has done nothing for longest.
        self._idle: dict[str, dict[GuardedProtocol, None]] = defaultdict(dict)
        self.rounds = Rounds()
        self.unread = Unread(UNREAD_BYTES, self.rounds)
        self._refused = metrics.refused
        metrics.connections.set_function(lambda: sum(map(len, self._open.values())))

    def counted(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def is_proxy(self, address: str) -> bool:
        proxies = self.settings.proxies
        return bool(proxies) and (found := address_of(address)) is not None and any(found in one for one in proxies)

    def let_in(self, protocol: GuardedProtocol, address: str) -> bool:
        """Whether there is a place. Whoever has their share already gets one by losing the one that has done nothing
        for longest."""
        if not self._places.take(address):
            idle = next(iter(self._idle[address]), None)
            if idle is None or idle.is_fresh():
                return False
            self.counted("connections")
            idle.cut()
            # Its place is free when the transport says that it is closed: this one has it from now on.
            del self._open[address][idle], self._idle[address][idle]
        self._open[address][protocol] = None
        self.entered(protocol, address)
        return True

    def entered(self, protocol: GuardedProtocol, address: str) -> None:
        """It does nothing from now on, or something."""
        if protocol not in self._open.get(address, ()):
            return
        self._idle[address].pop(protocol, None)
        # A proxy may be sending on one that was idle: it loses none for which it could be asked to answer a 502.
        if protocol.phase is Phase.HEAD or (protocol.phase is Phase.IDLE and address != PROXIES):
            self._idle[address][protocol] = None

    def gone(self, protocol: GuardedProtocol, address: str) -> None:
        if protocol in self._open[address]:
            del self._open[address][protocol]
            self._idle[address].pop(protocol, None)
            self._places.give(address)
        if not self._open[address]:
            del self._open[address]
            self._idle.pop(address, None)

    async def run(self) -> None:
        """Look for who takes too long, for as long as the process lives."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.unread.look()
            every = [one for those in list(self._open.values()) for one in those]
            for start in range(0, len(every), LOOKED_AT):
                for one in every[start : start + LOOKED_AT]:
                    try:
                        one.look(loop.time())
                    except Exception:
                        # A bug costs that connection, and nobody else's guard.
                        log.exception("a bug in the guard")
                        one.cut()
                await asyncio.sleep(0)


class GuardedProtocol(PiecewiseProtocol):
    """One connection. Its guard comes with the state that the application's lifespan yields."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(UNSENT_BYTES)
        with contextlib.suppress(OSError):
            # Who has hung up already, or came by no network.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BYTES)
        self._guard: Guard = self.app_state["guard"]
        self._limits = self._guard.settings
        self.timeout_keep_alive = self._limits.idle_seconds
        # Bytes of the message that is being read: all, and those of its body; and of one that nobody wants any more.
        self._wire = self._body = self._unwanted = 0
        # When the phase began, and how much of the body had come then.
        self._since, self._body_then = self.loop.time(), 0
        # What nobody reads, since when.
        self._unread, self._unread_since = 0, 0.0
        self.phase, self._begun = Phase.HEAD, False
        peer = self.client[0] if self.client else ""
        self._by_proxy = self._for_others = self._guard.is_proxy(peer)
        self._whose = whose(peer)
        self._place = PROXIES if self._by_proxy else self._whose
        if not self._guard.let_in(self, self._place):
            self._guard.counted("connections")
            self.over = True
            self.say_last(FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._guard.unread.gone(self, self._asker)
        self._guard.gone(self, self._place)

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        super().data_received(data)

    def feed(self, data: bytes) -> None:
        self._wire += len(data)
        super().feed(data)
        if self.over:
            return
        if self.phase is Phase.HEAD and self._wire > self._limits.head_bytes:
            self.refuse("long", self._too_long())
        elif self.phase is Phase.BODY and self._wire > 2 * self._body + self._limits.head_bytes + OVERHEAD_BYTES:
            self.refuse("long", Problem(400, "a body with so much around it is not read"))
        elif self._unwanted > UNWANTED_BYTES:
            self.over = True
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wire = self._body = self._unwanted = 0
        self._begun = True
        self._enter(Phase.HEAD)

    def on_headers_complete(self) -> None:
        self._enter(Phase.BODY)
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self._limits.head_bytes:
            raise self._too_long()
        if (told := self._told()) is not None:
            self.scope["client"] = (told, 0)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self.cycle.response_started:
            self._unwanted += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(Phase.IDLE if self.cycle and self.cycle.response_complete else Phase.ANSWER)

    def on_response_complete(self) -> None:
        if self.phase is Phase.ANSWER and self.cycle.response_complete:
            self._enter(Phase.IDLE)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._guard.unread.hold(self, self._asker, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._unread = 0
        super().resume_writing()
        self._guard.unread.read(self)

    def hold(self) -> None:
        # By a connection that is not the asker's own others ask, too.
        if not self._for_others:
            super().hold()

    def refuse(self, reason: str, problem: Problem) -> None:
        self._guard.counted(reason)
        super().refuse(reason, problem)

    def is_fresh(self) -> bool:
        return self.loop.time() - self._since < FRESH_SECONDS

    def look(self, now: float) -> None:
        """End what takes too long."""
        limits = self._limits
        if self.flow.write_paused or self.transport.is_closing():
            size = self.transport.get_write_buffer_size()
            if not self._unread or size <= self._unread - PROGRESS_BYTES:
                self._unread, self._unread_since = size, now
            elif now - self._unread_since > limits.unread_seconds:
                self._guard.counted("unread")
                self.cut()
            return
        if self.flow.read_paused or self._body - self._body_then >= PROGRESS_BYTES:
            # It is us who do not hear more, or enough has come.
            self._anew(now, self._body)
        elif self.phase is Phase.HEAD and now - self._since > limits.head_seconds:
            if self._begun:
                self.refuse("slow", Problem(408, f"the head of a request did not come in {limits.head_seconds:g} s"))
            else:
                # A browser opens connections ahead of its need.
                self._guard.counted("slow")
                self.cut()
        elif self.phase is Phase.BODY and now - self._since > limits.body_seconds:
            self.refuse("slow", Problem(408, f"the body of a request did not come in {limits.body_seconds:g} s"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        start = partial(super()._start_asgi_task, cycle, app)
        self._serving = cycle
        whose = self._asker
        # Who has hung up before it was their turn is not answered any more.
        begin = partial(self._guard.unread.begin, self, whose, lambda: cycle.disconnected or start())
        self._guard.rounds.add(whose, begin)

    @property
    def _asker(self) -> str:
        """Of the request that is answered now."""
        return asker(cast(Scope, self._serving.scope)) if self._serving else self._whose

    def _told(self) -> str | None:
        """For whom somebody asks who is believed."""
        if self._by_proxy:
            return client_of(self.headers, self._guard.is_proxy)
        said = dict(self.headers).get(FOR)
        told = None if said is None else believed(said, self._limits.books_token)
        self._for_others = told is not None
        return told

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._anew(self.loop.time(), 0)

    def _anew(self, since: float, body: int) -> None:
        self._since, self._body_then = since, body
        self._guard.entered(self, self._place)

    def _too_long(self) -> Problem:
        most = self._limits.head_bytes
        if self.headers and len(self.url) < most:
            return Problem(431, f"the head of a request is at most {most} bytes: send fewer headers, or shorter ones")
        return Problem(414, f"the head of a request is at most {most} bytes: the URL is too long")
