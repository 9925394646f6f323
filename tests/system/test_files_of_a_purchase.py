"""Which files one purchase goes through, measured in the four processes, is what ARCHITECTURE.md says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from patience import wait_until
from shop_builders import Shop, start

from broker.services import SERVICES

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("zoco_profiled.py")
# Twice the period of whatever a service does once a second, whether or not somebody buys.
IDLE_SECONDS = 2.5
# The file beside the books that a person may read: written within a second of a sale, and no part of it.
BESIDE = "services/shared/journal/json_file.py"
FILES_AT_MOST, OF_THE_STORY_AT_MOST = 45, 21
# The text of a record is what the stores have in common.
ENGINE_ROOMS = ("broker/amqp/", "services/shared/journal/", "services/shared/records.py", "services/shared/http/")
# (service, file, function) and when it was entered first.
Entered = dict[tuple[str, str, str], float]


def entered(shop: Shop) -> Entered:
    """What was entered since the last time."""
    files = {name: shop.data.parent / f"{name}.json" for name in SERVICES}
    for name, file in files.items():
        file.unlink(missing_ok=True)
        os.kill(shop.running.pids[name], signal.SIGUSR1)
    wait_until(lambda: all(file.exists() for file in files.values()), "a service does not say what it entered")
    return {
        (name, path, function): first
        for name, file in files.items()
        for path, function, first in json.loads(file.read_text("utf-8"))
    }


async def test_a_purchase_enters_the_files_that_the_page_lists(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("profiled")
    shop = start(folder, command=(sys.executable, str(PROGRAM), "up"), PROFILED=str(folder))
    try:
        async with shop.client() as client:
            await client.prepare(users=[11], tokens=[11, 12, 13], saldo=100, precio=10)
            for token in (11, 12):
                assert (await client.buy(11, token, wait_seconds=60))["estado"] == "registrada"
            await client.quiet()
            await asyncio.sleep(IDLE_SECONDS)
            entered(shop)
            await asyncio.sleep(IDLE_SECONDS)
            background = entered(shop).keys()
            assert (await client.buy(11, 13, wait_seconds=60))["estado"] == "registrada"
            during = entered(shop)
            await asyncio.sleep(IDLE_SECONDS)
            entered(shop)
            await asyncio.sleep(IDLE_SECONDS)
            background |= entered(shop).keys()
    finally:
        shop.stop()
    bought = {one: first for one, first in during.items() if one not in background}
    in_order = (path for (_, path, _), _ in sorted(bought.items(), key=lambda one: one[1]))
    measured = [path for path in dict.fromkeys(in_order) if path != BESIDE]
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    table = re.search(r"<!-- entered: .*?-->\n(.*?)<!-- end of entered -->", page, re.DOTALL)
    assert table
    # Four processes are at it at once: where the paths of two of them cross, either is first.
    assert sorted(measured) == sorted(re.findall(r"`([\w/]+\.py)`", table[1])), "\n".join(measured)
    story = [path for path in measured if not path.startswith(ENGINE_ROOMS)]
    assert f"enters {len(measured)} files" in page
    assert f"{len(story)} of the story, {len(measured) - len(story)} of the engine rooms" in page
    assert len(measured) <= FILES_AT_MOST
    assert len(story) <= OF_THE_STORY_AT_MOST
