"""Long work in short pieces: whoever waits for the event loop waits for no more than one of them."""

from __future__ import annotations

import asyncio
import time
from typing import Final

# A piece of work that is longer than this is followed by a pause.
TURN_SECONDS: Final = 0.002


class Turns:
    """Of one piece of long work. Call `pause` wherever it may be interrupted."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def pause(self) -> None:
        """Let the others go on, if this one has had its time."""
        if time.perf_counter() - self._began > TURN_SECONDS:
            await asyncio.sleep(0)
            self._began = time.perf_counter()
