"""A load spread over processes: this one is the first of its workers, follows the ends, and adds up their meters."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from loadgen.load.clock import CLOCK
from loadgen.load.frames import Assignment, Progress, frame, heard
from loadgen.load.journal import journal_of
from loadgen.load.load import Load
from loadgen.load.meter import Meter
from loadgen.load.plan import Plan
from ops.errors import UserError
from ops.running import Keys

# From the word to start until the start, so that all have heard it.
START_SECONDS: Final = 0.2


class WorkerDied(UserError):
    """A worker ended before it had done its share. One sentence."""


class Crew:
    """The workers of one load. `journals` are those of their clients, the first that of this process."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.journals = [journal_of(folder, number) for number in range(1, plan.workers + 1)]
        # All but the first worker, which is this process.
        self.processes: list[Process] = []
        self._start: float | None = None

    async def send(self, load: Load) -> None:
        """Return when all requests are accepted, rejected or given up, and counted by the load's meter. Raises
        WorkerDied."""
        self._start = CLOCK.now() + (START_SECONDS if self.processes else 0)
        self._tell(self._start)
        plan, meter = self.plan, load.meter
        try:
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(self._meter(place, meter)) for place in range(len(self.processes))]
                await load.send(plan.share(1), plan.rate, start=self._start, step=plan.workers)
                load.question(plan.all())
        except* WorkerDied as died:
            raise died.exceptions[0] from None
        meter.elsewhere.clear()
        for other in others:
            meter.add(other.result())

    def due_by(self, instant: float) -> int:
        """Requests that are due by then."""
        return 0 if self._start is None else max(0, int((instant - self._start) * self.plan.rate) + 1)

    def stop_at(self, until: int) -> None:
        """No more than so many requests in all."""
        self.plan.until = until
        self._tell(until)

    def _tell(self, what: float) -> None:
        for process in self.processes:
            assert process.stdin is not None
            # Who cannot hear it has died, and that is found where its meter is waited for.
            with suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(frame(what))

    async def begin(self, url: str, keys: Keys) -> None:
        """Start the others, and wait until they are ready. Raises WorkerDied."""
        for number, journal in enumerate(self.journals[1:], 2):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "loadgen.load.worker", stdin=PIPE, stdout=PIPE
            )
            self.processes.append(process)
            assert process.stdin is not None
            process.stdin.write(frame(Assignment(number, self.plan, url, keys, journal, CLOCK.ahead_seconds)))
        for place in range(len(self.processes)):
            await self._heard(place)

    async def end(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _meter(self, place: int, meter: Meter) -> Meter:
        """The meter of a worker, once it has done its share. Until then `meter` hears how far it is."""
        while not isinstance(found := await self._heard(place), Meter):
            meter.elsewhere[place] = found
        return found

    async def _heard(self, place: int) -> Meter | Progress:
        process = self.processes[place]
        assert process.stdout is not None
        try:
            found: Meter | Progress = await heard(process.stdout)
        except asyncio.IncompleteReadError:
            code = await process.wait()
            says = "worker {worker} of the load ended with exit code {code} before it had sent its share"
            raise WorkerDied(says, place + 2, code) from None
        return found


@asynccontextmanager
async def crew(plan: Plan, folder: Path, url: str, keys: Keys) -> AsyncIterator[Crew]:
    """The workers of this plan, ready. Raises WorkerDied."""
    found = Crew(plan, folder)
    try:
        await found.begin(url, keys)
        yield found
    finally:
        await found.end()
