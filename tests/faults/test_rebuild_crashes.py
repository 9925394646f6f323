"""A service that is killed while it writes its lost book again, at each of its writes: it is in doubt still, or whole,
and who asks again gets the book. And a disk that has no room for it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from resource import RLIMIT_FSIZE, prlimit

import pytest
from crash_program import REBUILD
from fault_builders import FaultyShop, faulty, story
from patience import eventually
from shop_builders import HELD_SECONDS
from test_lost_books import back, in_doubt, is_sure, rebuild, state
from test_syscalls import injected

from broker.services import SERVICES

# Two of the places for each commit: half of the records are there; the whole has its name, and not yet that alone.
FEW = [("tokens", "rebuild-half")]
ALL = [(service, place) for service in SERVICES for place in REBUILD if (service, place) not in FEW]
# What a rebuild asks the kernel for: what it writes, syncs, names and removes. It logs and answers by `write`, too.
CALLS = ("write", "pwrite64", "fdatasync", "fsync", "openat", "link,linkat", "unlink,unlinkat")
# A rebuild makes fewer of them than this in any one thread, but for opens.
MOST = 60
# Less than any book of these tests needs, and more than its header does.
ROOM_BYTES = 1_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[FaultyShop]:
    env = {"ZOCO_RABBITMQ_URL": broker_url, "ZOCO_NUDGE_SECONDS": "1"}
    with faulty(tmp_path_factory.mktemp("rebuilds"), "crash_program.py", **env) as shop:
        yield shop


async def lost(shop: FaultyShop, service: str, first: int) -> None:
    """A story, and then the folder of this service is gone, and it knows."""
    shop.clear()
    async with shop.client() as client:
        await story(client, first, 2)
        # What only compras' own disk knows cannot come back: all that it accepted is on its way.
        await client.quiet()
    shop.kill(service, HELD_SECONDS)
    shutil.rmtree(shop.data / service)
    back(shop, service)
    await eventually(lambda: in_doubt(shop, service), f"{service} does not notice")


async def whole(shop: FaultyShop, service: str) -> None:
    """It is back, in doubt or by its new book; who asks again gets it; and all books agree."""
    await eventually(lambda: decided(shop, service), f"{service} does not come back")
    if state(shop, service)["doubt"]:
        code, said = await asyncio.to_thread(rebuild, shop, service)
        assert code == 0, said
    await eventually(lambda: is_sure(shop, service), f"{service} still doubts")
    assert not list((shop.data / service).glob("rebuilt-*"))
    await shop.audited()


async def decided(shop: FaultyShop, service: str) -> bool:
    """Whether it leads, and has made up its mind whether it doubts."""
    found = state(shop, service)
    return found["role"] == "writer" and bool(found["doubt"] or (found["broker"] or {}).get("consuming"))


@pytest.mark.parametrize(
    ("service", "place"),
    [pytest.param(*one, id=" ".join(one), marks=() if one in FEW else pytest.mark.long) for one in (*FEW, *ALL)],
)
async def test_a_rebuild_that_is_killed_at_a_write_is_begun_again(
    shop: FaultyShop, numbers: Iterator[int], service: str, place: str
) -> None:
    await lost(shop, service, next(numbers))
    order = {service: f"{place} * 1"}
    shop.order(order)
    code, said = await asyncio.to_thread(rebuild, shop, service)
    assert code == 2 and "ask again" in said.replace("\n", " "), said
    await shop.until_died(order)
    await whole(shop, service)


@pytest.mark.long
@pytest.mark.parametrize("call", CALLS)
async def test_a_rebuild_that_is_killed_at_the_nth_call_of_a_kind_is_begun_again(
    shop: FaultyShop, numbers: Iterator[int], tmp_path: Path, call: str
) -> None:
    met = 0
    for number in range(1, MOST):
        await lost(shop, "tokens", next(numbers))
        saw = tmp_path / f"strace-{number}"
        with injected(shop.running.pids["tokens"], call, "signal=SIGKILL", number, saw, None):
            await asyncio.to_thread(rebuild, shop, "tokens")
        await whole(shop, "tokens")
        if "SIGKILL" not in saw.read_text():
            break
        met += 1
    else:
        # A process opens files while it waits, too: on a slow machine there is no last one.
        assert call == "openat", f"the {MOST}th {call} of one rebuild"
    assert met


async def test_a_rebuild_without_room_says_how_much_is_needed_and_changes_nothing(
    shop: FaultyShop, numbers: Iterator[int]
) -> None:
    await lost(shop, "tokens", next(numbers))
    before = {path.name for path in (shop.data / "tokens").iterdir()}
    pid = shop.running.pids["tokens"]
    unlimited = prlimit(pid, RLIMIT_FSIZE)
    prlimit(pid, RLIMIT_FSIZE, (ROOM_BYTES, unlimited[1]))
    code, said = await asyncio.to_thread(rebuild, shop, "tokens")
    assert code == 2
    assert "no room on the disk" in said.replace("\n", " ") and "ask again" in said.replace("\n", " "), said
    assert "Traceback" not in shop.log.read_text(errors="replace")
    assert {path.name for path in (shop.data / "tokens").iterdir()} == before
    assert shop.running.pids["tokens"] == pid and state(shop, "tokens")["doubt"]
    prlimit(pid, RLIMIT_FSIZE, unlimited)
    await whole(shop, "tokens")
