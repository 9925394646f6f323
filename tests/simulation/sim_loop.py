"""Virtual time, and processes that can be stopped and killed between any two steps, as SIGSTOP and SIGKILL do."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

PROCESS: contextvars.ContextVar[Any] = contextvars.ContextVar("process", default=None)


class Killed(BaseException):
    """Ends the step in which a process died. None of its code may catch it."""


class Process:
    """Something that can be stopped and killed: from then on none of its steps is taken, and no `finally` runs."""

    def __init__(self) -> None:
        self.alive = True
        self.paused = False
        self.fuse: int | None = None
        self.parked: list[_Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    def takes(self, handle: _Handle) -> bool:
        if not self.alive:
            return False
        if self.paused:
            self.parked.append(handle)
            return False
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.fuse = None
                self.die("between two steps")
                return False
        return True

    def die(self, why: str) -> None:
        self.alive = False

    def resume(self, loop: Loop) -> None:
        self.paused = False
        for handle in self.parked:
            loop.ready.append(handle)
        self.parked.clear()


class _Handle:
    __slots__ = ("args", "callback", "context", "gone", "number", "when")

    def __init__(self, callback: Any, args: Any, context: Any, when: float = 0.0, number: int = 0) -> None:
        self.callback, self.args, self.context, self.when, self.number = callback, args, context, when, number
        self.gone = False

    def cancel(self) -> None:
        self.gone = True

    def cancelled(self) -> bool:
        return self.gone

    def __lt__(self, other: _Handle) -> bool:
        return (self.when, self.number) < (other.when, other.number)


class Stuck(Exception):
    """It never comes to rest."""


class Loop(asyncio.AbstractEventLoop):
    def __init__(self, limit: int = 600_000) -> None:
        self.ready: deque[_Handle] = deque()
        self.timers: list[_Handle] = []
        self.now = 0.0
        self.number = 0
        self.left = limit
        self.tasks: list[asyncio.Task[Any]] = []
        self.failure: BaseException | None = None

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = _Handle(callback, args, contextvars.copy_context() if context is None else context)
        self.ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        self.number += 1
        handle = _Handle(callback, args, contextvars.copy_context() if context is None else context, when, self.number)
        heapq.heappush(self.timers, handle)
        return handle

    def create_future(self) -> Any:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        pass

    def run(self, done: Callable[[], bool]) -> None:
        """Go on until `done`, which is asked whenever time moves."""
        asyncio._set_running_loop(self)
        ready, timers = self.ready, self.timers
        try:
            while True:
                while ready:
                    handle = ready.popleft()
                    if handle.gone:
                        continue
                    process = handle.context.get(PROCESS)
                    if process is not None and not process.takes(handle):
                        continue
                    self.left -= 1
                    handle.context.run(handle.callback, *handle.args)
                if self.failure is not None:
                    raise self.failure
                if self.left < 0:
                    raise Stuck("too many steps")
                if done():
                    return
                if not timers:
                    raise Stuck("everybody waits for somebody")
                handle = heapq.heappop(timers)
                if handle.gone:
                    continue
                self.now = max(self.now, handle.when)
                ready.append(handle)
        finally:
            asyncio._set_running_loop(None)

    def close(self) -> None:
        """Drop whatever still waits, quietly."""
        asyncio._set_running_loop(self)
        self.ready.clear()
        self.timers.clear()
        for task in self.tasks:
            if not task.done():
                # What it still does on its way out is nobody's business.
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
        self.tasks.clear()
        asyncio._set_running_loop(None)
