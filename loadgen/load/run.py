"""One load, from the entries of its buyers and tokens to its last answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from loadgen.load.client import Client
from loadgen.load.crew import crew
from loadgen.load.journal import JOURNAL
from loadgen.load.load import PATIENCE_SECONDS, Load
from loadgen.load.meter import Meter
from loadgen.load.onlooker import Onlooker
from loadgen.load.plan import Plan, prepared
from loadgen.terminal import Progress
from ops.running import Keys


async def run(plan: Plan, folder: Path, url: str, keys: Keys, meter: Meter, progress: Progress) -> bool:
    """Whether all that was accepted came to its end. Writes the clients' journals. Raises UserError."""
    async with Client(url, folder / JOURNAL, keys) as client:
        progress.tell("registering buyers and tokens ...", None)
        plan.fixture = await prepared(client, plan.fixture)
        onlooker = Onlooker(client)
        load = Load(client, meter, onlooker.accepted)
        async with crew(plan, folder, url, keys) as workers, load.measured(), onlooker.watching():
            watching = asyncio.create_task(progress.watch(meter))
            try:
                await workers.send(load)
                return await load.finish(PATIENCE_SECONDS)
            finally:
                watching.cancel()
