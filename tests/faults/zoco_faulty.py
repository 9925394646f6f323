"""`zoco up` whose services are run by a program of ours: python zoco_faulty.py PROGRAM FOLDER --data DATA --port PORT

The program is started as `python PROGRAM FOLDER services.tokens.main:app [uvicorn's options]`; what it is to do lies in
FOLDER. This file's name has `zoco` in it, by which the commands know who holds a data folder.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from ops import child, restarts
from ops.supervisor import Local


def main() -> None:
    program, folder, _, data, _, port = sys.argv[1:]
    # What is killed a hundred times is wanted back a hundred times.
    child.LONGEST_PAUSE_SECONDS = restarts.LONGEST_PAUSE_SECONDS = 0.2  # type: ignore[misc]
    shop = Local(
        Path(data),
        int(port),
        broker_url=os.environ.get("ZOCO_RABBITMQ_URL"),
        processes=child.Processes(lambda name: (program, folder, f"services.{name}.main:app")),
    )
    asyncio.run(shop.run())


if __name__ == "__main__":
    main()
