"""One more process of a load: sends its share, and hands its meter to the process that started it.

`python -m loadgen.load.worker` hears an Assignment, then the instant at which to start, then where to stop, as often as
that changes; it says READY, how far it is, and its meter (`frames.py`). Its stdin ends with whoever started it, and so
does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any, Final

from loadgen.load.client import Client
from loadgen.load.clock import CLOCK
from loadgen.load.frames import READY, Assignment, Progress, frame, heard
from loadgen.load.load import Load
from loadgen.load.meter import Meter

TELL_SECONDS: Final = 0.5


async def work() -> None:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin.buffer)
    mine: Assignment = await heard(reader)
    CLOCK.ahead_seconds = mine.ahead_seconds
    plan, meter, me = mine.plan, Meter(), asyncio.current_task()
    assert me is not None

    async def listen() -> None:
        try:
            while True:
                plan.until = await heard(reader)
        except asyncio.IncompleteReadError:
            me.cancel()

    async with Client(mine.url, mine.journal, mine.keys) as client:
        await client.know_shop()
        _say(READY)
        start: float = await heard(reader)
        beside = [asyncio.create_task(listen()), asyncio.create_task(_tell(meter))]
        load = Load(client, meter)
        await load.send(plan.share(mine.number), plan.rate, start=start, first=mine.number - 1, step=plan.workers)
        load.question(plan.all())
        for task in beside:
            task.cancel()
    _say(meter)


async def _tell(meter: Meter) -> None:
    while True:
        await asyncio.sleep(TELL_SECONDS)
        _say(Progress(meter.arrived, meter.accepted))


def _say(what: Any) -> None:
    sys.stdout.buffer.write(frame(what))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt, BrokenPipeError):
        asyncio.run(work())
