"""`zoco up` with a guarantee gone: what a drill's negative control runs. Its name has to have `zoco` in it, by
which the other commands know that it is one."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from loadgen.drill.guarantees import ASYNCHRONOUS
from ops.child import Processes
from ops.places import read_replicas
from ops.postgres_pair import Postgres
from ops.supervisor import Local


def main() -> None:
    """python -m loadgen.drill.zoco_without DATA CONTROL [REPLICAS [--standby]], these of a shop on PostgreSQL"""
    data, control, *more = sys.argv[1:]
    shop = Local(
        Path(data),
        0,
        broker_url=os.environ.get("ZOCO_RABBITMQ_URL"),
        postgres=Postgres(more[1:] == ["--standby"], control != ASYNCHRONOUS) if more else None,
        replicas=read_replicas("".join(more[:1])),
        processes=Processes(lambda name: ("-m", "loadgen.drill.controls", control, f"services.{name}.main:app")),
    )
    asyncio.run(shop.run())


if __name__ == "__main__":
    main()
