"""A service that lets each address ask three times, and then holds its connection for good:
python paced_program.py services.tokens.main:app [uvicorn's options]
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn

from services.shared.http import pieces
from services.shared.http.pace import Pace

LEVEL = 3


def main() -> None:
    async def run(self: Pace) -> None:
        self.level = LEVEL
        await asyncio.Event().wait()

    Pace.run = run  # type: ignore[method-assign]
    pieces.HOLD_SECONDS = 10_000.0  # type: ignore[misc]
    uvicorn.main(sys.argv[1:])


if __name__ == "__main__":
    main()
