"""compras with bugs: python raising_program.py services.compras.main:app [uvicorn's options]

Whoever buys as one of these users meets one. There is no such user in the seed. While a file `short` lies beside its
folder, the disk is nearly full. In a file `ended` it has a line for each wait for a purchase's end that is over.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import HTTPException

from services.compras.acceptance import Acceptance
from services.shared.room import Room

RAISED = {404: HTTPException(404), 410: HTTPException(410, "it was here"), 500: RuntimeError("a bug")}


def main() -> None:
    accept, finish = Acceptance.accept, Acceptance.finish
    full = Path(os.environ["ZOCO_DATA"]).with_name("short")

    async def raising(self: Acceptance, message: Any, whose: str = "") -> Any:
        if getattr(message, "usuario_id", None) in RAISED:
            raise RAISED[message.usuario_id]
        return await accept(self, message, whose)

    async def told(self: Acceptance, subject: str, seconds: float) -> None:
        try:
            await finish(self, subject, seconds)
        finally:
            with full.with_name("ended").open("a") as ended:
                ended.write(f"{subject}\n")

    Acceptance.finish = told  # type: ignore[method-assign]
    Acceptance.accept = raising  # type: ignore[method-assign]
    Room.short = property(lambda room: full.exists())  # type: ignore[assignment]
    uvicorn.main(sys.argv[1:])


if __name__ == "__main__":
    main()
