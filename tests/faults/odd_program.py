"""A service whose messages come again, in any order, or whose clock jumps.

python odd_program.py FOLDER services.tokens.main:app [uvicorn's options]
Which of it, is in the environment: ODD=messages or ODD=clock. It is done from a seed: ODD_SEED and the service's name.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

import uvicorn

from broker.amqp.bus import Bus
from broker.messages import Message
from services.shared import clock
from services.shared import runtime as run

MOST_TIMES = 5
LATE_SECONDS = 0.5
# How long a clock stays as it was set, and where it may be set to.
STEP_SECONDS = 0.3
STEPS_SECONDS = (0, 0.9, -0.9, 3_600, -3_600, 400 * 86_400, -400 * 86_400)


def odd_messages(random: Random) -> None:
    """Each message is said 1 to 5 times, in any order, some of it while others are said."""
    publish = Bus.publish
    late: set[asyncio.Task[None]] = set()

    async def say_later(self: Bus, messages: Sequence[Message]) -> None:
        await asyncio.sleep(random.uniform(0, LATE_SECONDS))
        await publish(self, messages)

    async def say_oddly(self: Bus, messages: Sequence[Message]) -> None:
        times = {message: random.randint(1, MOST_TIMES) for message in messages}
        await publish(self, random.sample(messages, len(messages)))
        for turn in range(1, MOST_TIMES):
            again = [message for message in messages if times[message] > turn]
            task = asyncio.create_task(say_later(self, random.sample(again, len(again))))
            late.add(task)
            task.add_done_callback(late.discard)

    Bus.publish = say_oddly  # type: ignore[method-assign]


def odd_clock(random: Random) -> None:
    """It is set forward and back, by less than a second and by more than a year."""
    offsets: dict[int, float] = {}

    def odd_now() -> str:
        step = int(time.monotonic() / STEP_SECONDS)
        offset = offsets.setdefault(step, random.choice(STEPS_SECONDS))
        return datetime.fromtimestamp(time.time() + offset, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    clock.utc_now = run.utc_now = odd_now


def main() -> None:
    app = sys.argv[2]
    odd = {"messages": odd_messages, "clock": odd_clock}[os.environ["ODD"]]
    odd(Random(f"{os.environ['ODD_SEED']} {app}"))
    uvicorn.main(sys.argv[2:])


if __name__ == "__main__":
    main()
