"""An operator beside a load: gives its buyers more money, and one of them one name after the other, from before the
first fault until after the last one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Final

from loadgen.load.load import Load

# From one top-up to the next, and of how much each is at most.
EVERY_SECONDS: Final = 0.5
MOST: Final = 5


@asynccontextmanager
async def topping_up(load: Load, buyers: Sequence[int], seed: int) -> AsyncIterator[None]:
    """One at once, then now and then, and one at the end; all are answered, or given up, when this ends. Of the names
    the last one may have no answer."""
    random = Random(f"top-ups {seed}")
    sent: list[asyncio.Task[None]] = []

    def send() -> None:
        sent.append(asyncio.create_task(load.top_up(random.choice(buyers), random.randint(1, MOST))))

    async def go_on() -> None:
        while True:
            send()
            await asyncio.sleep(EVERY_SECONDS)

    async def rename() -> None:
        # Each after the one before was answered: so it is known which is the later.
        for number in count(1, 2):
            await load.rename_twice(buyers[0], number)
            await asyncio.sleep(EVERY_SECONDS)

    going, renaming = asyncio.create_task(go_on()), asyncio.create_task(rename())
    try:
        yield
        going.cancel()
        renaming.cancel()
        send()
        await asyncio.gather(*sent)
    finally:
        for task in (going, renaming, *sent):
            task.cancel()
