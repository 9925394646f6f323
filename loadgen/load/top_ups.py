"""An operator beside a load: gives its buyers more money, from before the first fault until after the last one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final

from loadgen.load.load import Load

# From one top-up to the next, and of how much each is at most.
EVERY_SECONDS: Final = 0.5
MOST: Final = 5


@asynccontextmanager
async def topping_up(load: Load, buyers: Sequence[int], seed: int) -> AsyncIterator[None]:
    """One at once, then now and then, and one at the end; all are answered, or given up, when this ends."""
    random = Random(f"top-ups {seed}")
    sent: list[asyncio.Task[None]] = []

    def send() -> None:
        sent.append(asyncio.create_task(load.top_up(random.choice(buyers), random.randint(1, MOST))))

    async def go_on() -> None:
        while True:
            send()
            await asyncio.sleep(EVERY_SECONDS)

    going = asyncio.create_task(go_on())
    try:
        yield
        going.cancel()
        send()
        await asyncio.gather(*sent)
    finally:
        for task in (going, *sent):
            task.cancel()
