"""Whatever keeps something from starting again, `zoco up` tries again, and never goes on without it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from patience import eventually

from ops.child import Child, Processes, Supervisor
from ops.errors import UserError
from ops.places import Place
from ops.process import free_port
from ops.running import BROKER, STATE, LocalError
from ops.supervisor import Local
from ops.watching import Watchers

SLEEPS = ("-c", "import time; time.sleep(600)")
EMPTY = OSError(errno.ENOSPC, "No space left on device")


class DyingEngine:
    """It died; of its next starts these end in errors."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.starts, self.deaths = list(errors), 0, asyncio.Semaphore(1)
        self.pid: int | None = None

    async def start(self) -> None:
        self.starts += 1
        # As a program that runs already when what comes next fails.
        self.pid = 1000 + self.starts
        if self.errors:
            raise self.errors.pop(0)

    async def wait(self) -> int:
        await self.deaths.acquire()
        return -signal.SIGKILL


class Lines(list[str]):
    """What is said."""

    def say(self, name: str, text: str) -> None:
        self.append(f"{name} {text}")

    async def until(self, text: str, task: asyncio.Future[None], times: int = 1) -> None:
        async def said() -> bool:
            assert not task.done(), task
            return sum(text in line for line in self) >= times

        await eventually(said, lambda: self)


@asynccontextmanager
async def going_on(*work: Awaitable[None]) -> AsyncIterator[asyncio.Future[None]]:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def said() -> Lines:
    return Lines()


@pytest.fixture
def local(tmp_path: Path, said: Lines, monkeypatch: pytest.MonkeyPatch) -> Local:
    monkeypatch.setattr(Local, "_print", lambda _, name, text: said.say(name, text))
    return Local(tmp_path, 0)


@pytest.mark.parametrize("error", [EMPTY, RuntimeError("can't start new thread"), LocalError("the port is taken")])
async def test_an_engine_that_cannot_start_is_started_until_it_does(
    local: Local, said: Lines, error: Exception
) -> None:
    engine = DyingEngine(error, error)
    local._engines[BROKER] = engine
    async with going_on(local._watch_engine(BROKER)) as watching:
        await said.until("RabbitMQ is back", watching)
        assert engine.starts == 3
        assert sum(f"RabbitMQ does not start: {error}" in line for line in said) == 2
        engine.deaths.release()
        await said.until("RabbitMQ is back", watching, times=2)


async def test_while_nothing_can_be_written_down_engines_are_watched_all_the_same(
    local: Local, said: Lines, tmp_path: Path
) -> None:
    engine = DyingEngine()
    local._engines[BROKER] = engine
    (tmp_path / f".{STATE}").mkdir()
    async with going_on(local._watch_engine(BROKER), local._keep_state()) as watching:
        await said.until("RabbitMQ is back", watching)
        await said.until(f"{STATE} is not written: [Errno {errno.EISDIR}]", watching)
        engine.deaths.release()
        await said.until("RabbitMQ is back", watching, times=2)
        (tmp_path / f".{STATE}").rmdir()

        async def written() -> bool:
            return (tmp_path / STATE).exists() and json.loads((tmp_path / STATE).read_text())["pids"] == {BROKER: 1002}

        await eventually(written, lambda: said)


async def nothing() -> bool:
    return False


@contextmanager
def child_of(data: Path, said: Lines, mended: Callable[[], Awaitable[bool]] = nothing, *words: str) -> Iterator[Child]:
    by = Supervisor(data, Processes(lambda _: words or SLEEPS), said.say, lambda: None, mended)
    child = Child(Place("tokens", "tokens", free_port()), dict(os.environ), by, alone=True)
    child.start()
    try:
        yield child
    finally:
        assert child.process is not None
        child.process.kill()
        assert child.process.output
        child.process.output.close()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_service_that_cannot_start_is_tried_until_it_does(tmp_path: Path, said: Lines) -> None:
    with child_of(tmp_path, said) as child:
        first = child.process
        assert first is not None
        async with going_on(child.watch()) as watching:
            with no_descriptor_left():
                first.kill()
                await said.until(f"tokens does not start: [Errno {errno.EMFILE}]", watching)

            async def is_back() -> bool:
                return child.process is not first and child.process is not None and child.process.code is None

            await eventually(is_back, lambda: said)
            assert not watching.done()
        assert first.output
        first.output.close()


async def test_a_service_whose_next_process_cannot_start_gets_one_later(tmp_path: Path, said: Lines) -> None:
    with child_of(tmp_path, said) as child:
        child._with_spare, child._started = True, 0.0
        async with going_on(child.keep_spare()) as keeping:
            with no_descriptor_left():
                await said.until(f"the next tokens does not start: [Errno {errno.EMFILE}]", keeping)

            async def has_one() -> bool:
                return child._spare is not None

            await eventually(has_one, lambda: said)
        spare = child._spare
        assert spare is not None
        spare.kill()
        assert spare.output
        spare.output.close()


async def test_what_cannot_be_mended_keeps_no_service_from_its_next_start(tmp_path: Path, said: Lines) -> None:
    async def fails() -> bool:
        raise UserError("rabbitmqctl is gone")

    with child_of(tmp_path, said, fails, "-c", "raise SystemExit(78)") as child:
        async with going_on(child.watch()) as watching:
            await said.until("tokens ended with exit code 78; it is started again", watching)
    assert any("rabbitmqctl is gone" in line for line in said)


@pytest.mark.parametrize(
    ("error", "says"),
    [(EMPTY, r"OSError: \[Errno 28\] No space left on device.*start it again"), (LocalError("so it is"), "^so it is$")],
)
async def test_a_watcher_that_ends_by_an_error_ends_all_of_it_with_that_sentence(
    tmp_path: Path, error: Exception, says: str
) -> None:
    async def fails() -> None:
        raise error

    class Unwatched(Local):
        async def _start(self, watchers: Watchers) -> None:
            watchers.add(fails())
            await asyncio.Event().wait()

    with pytest.raises(LocalError, match=says):
        await Unwatched(tmp_path, 0).run()
