"""What a RabbitMQ and a PostgreSQL of our own have in common: one process that is started, waited for and ended."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from ops.errors import UserError
from ops.process import POLL_SECONDS, Process, is_free


class Server(ABC):
    """All it writes lies in its folder."""

    title: ClassVar[str]
    # What it raises when it does not run. Its text says why and what to do.
    error: ClassVar[type[UserError]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Its (first) process, None unless that lives."""
        return self._process.pid if self._process and self._process.code is None else None

    @property
    def code(self) -> int | None:
        """How it ended, if it was started and has."""
        return self._process.code if self._process else None

    async def wait(self) -> int:
        """Wait for its end. Returns its exit code, or minus the signal that ended it."""
        return await self._running().wait()

    @abstractmethod
    async def stop(self, timeout_seconds: float = 10) -> None:
        """End it, in order if that takes no longer than this. No process is left behind."""

    @abstractmethod
    def _said(self) -> str:
        """The end of its log, and where there is more."""

    def _running(self) -> Process:
        if self._process is None:
            says = "{title} in {folder} was not started."
            raise self.error(says, self.title, self.folder)
        return self._process

    def _check_stopped(self) -> None:
        if self.pid is not None:
            says = "{title} in {folder} already runs (pid {pid})."
            raise self.error(says, self.title, self.folder, self.pid)

    def _check_free(self, *ports: int) -> None:
        # It says this less clearly itself, and what listens there would pass for it meanwhile.
        for port in ports:
            if not is_free(port):
                says = "{title} cannot start: port {port} is taken. Stop what listens there."
                raise self.error(says, self.title, port)

    async def _until(self, ready: Callable[[], bool]) -> None:
        process = self._running()
        while not ready():
            if process.code is not None:
                says = "{title} ended while it started (code {code}). {log}"
                raise self.error(says, self.title, process.code, self._said())
            await asyncio.sleep(POLL_SECONDS)

    async def _until_ready(self, ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until it is ready. Raises `error` when it dies or takes too long: then nothing of it is left."""
        try:
            await asyncio.wait_for(self._until(ready), timeout_seconds)
        except TimeoutError:
            await self.stop(0)
            says = "{title} is not ready after {seconds:g} s. {log}"
            raise self.error(says, self.title, timeout_seconds, self._said()) from None
        except BaseException:
            await self.stop(0)
            raise
