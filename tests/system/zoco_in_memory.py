"""`zoco up` whose four services keep all in memory, one process each. Its name has to have `zoco` in it."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

STORES = Path(__file__).parents[1] / "store"
sys.path.insert(0, str(STORES))

from memory_store import MemoryStore  # noqa: E402

from ops.child import Processes  # noqa: E402
from ops.supervisor import Local  # noqa: E402
from services.shared.decision import Domain  # noqa: E402
from services.shared.http.app import create_app  # noqa: E402


def in_memory(domain: Domain[Any], settings: object, metrics: object, now: Callable[[], str]) -> MemoryStore:
    return MemoryStore(domain, now)


def main(arguments: list[str]) -> None:
    """`up --data FOLDER --port N` starts the shop; `NAME` and uvicorn's options run one service of it."""
    if arguments[0] == "up":
        program = lambda name: (__file__, name)  # noqa: E731
        asyncio.run(Local(Path(arguments[2]), int(arguments[4]), processes=Processes(program)).run())
        return
    module: Any = importlib.import_module(f"services.{arguments[0]}.main")
    module.app = create_app(module.SERVICE, in_memory)
    uvicorn.main([f"services.{arguments[0]}.main:app", *arguments[1:]])


if __name__ == "__main__":
    main(sys.argv[1:])
