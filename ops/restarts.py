"""What ends is started again: after a pause that grows while it keeps ending, and not while it is to stay down."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from ops.running import HOLDS, POLL_SECONDS

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0
# Who lived so long had no trouble with its start.
HEALTHY_SECONDS: Final = 30.0
# It did not end by itself: whoever does this often wants to see it come back as often.
KILLED: Final = -signal.SIGKILL


class Pauses:
    """Those of one process."""

    def __init__(self) -> None:
        self._next_seconds = FIRST_PAUSE_SECONDS

    def after(self, code: int, lived_seconds: float) -> float:
        """How long to wait now, in seconds."""
        if lived_seconds > HEALTHY_SECONDS or code == KILLED:
            self._next_seconds = FIRST_PAUSE_SECONDS
        pause = self._next_seconds
        self._next_seconds = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return pause


async def until_let_go(data: Path, label: str) -> None:
    """Wait as long as `zoco kill --for` wants it down."""
    hold = data / HOLDS / label
    with contextlib.suppress(OSError, ValueError):
        while time.time() < float(hold.read_text(encoding="utf-8")):  # noqa: ASYNC110 - the file may change
            await asyncio.sleep(POLL_SECONDS)
        hold.unlink()


async def until_done(
    what: str, work: Callable[[], Awaitable[None]], note: Callable[[str], None], pause_seconds: float
) -> None:
    """Again after a pause that grows, whatever it raises: disks are full for a while, and so are tables of pids."""
    while True:
        try:
            return await work()
        except Exception as error:
            note(f"{what}: {str(error) or type(error).__name__}")
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


def ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
