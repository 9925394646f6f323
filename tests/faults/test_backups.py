"""Backups of a shop that sells all the while: each is one consistent state, and the shop goes on from it."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from fault_builders import story
from patience import PATIENCE_SECONDS, eventually
from shop_builders import HELD_SECONDS, ZOCO, Shop, start
from test_lost_books import back, in_doubt, is_sure, state

from broker.amqp.calls import number_and_frame_max
from broker.amqp.connect import Address, connect
from broker.amqp.envelope import outgoing
from broker.amqp.frames import Publisher
from broker.amqp.tap import FrameTap
from broker.messages import CompraSolicitada
from broker.services import SERVICES
from loadgen.audit.verdict import Verdict
from loadgen.drill.reconcile import reconcile, reconcile_backup
from loadgen.load.client import Client
from ops.backup import read
from ops.copies import BackupFailed
from ops.rabbitmq import Node


@pytest.fixture(scope="module")
def shop(node: Node, tmp_path_factory: pytest.TempPathFactory, broker_url: str) -> Iterator[Shop]:
    shop = start(tmp_path_factory.mktemp("backups"), ZOCO_RABBITMQ_URL=broker_url, ZOCO_NUDGE_SECONDS="1")
    yield shop
    shop.stop()


def zoco(shop: Shop, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(ZOCO), *words, "--data", str(shop.data)],
        capture_output=True,
        text=True,
        # It reads four books that grow all the while, and audits them.
        timeout=4 * PATIENCE_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


@asynccontextmanager
async def crowd(client: Client, first: int, buyers: int = 4) -> AsyncIterator[None]:
    """Several buy all the while, and are patient."""
    tokens = range(first, first + 400)
    await client.prepare(users=range(first, first + buyers), tokens=tokens, saldo=10_000, precio=1)

    async def buy(user: int) -> None:
        for token in itertools.cycle(tokens):
            await client.buy(user, token)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(buy(user)) for user in range(first, first + buyers)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def judged(shop: Shop) -> Verdict:
    """By the books: what was thrown away its clients know better."""
    async with Client(shop.front, None) as client:
        await client.quiet()
    verdict = await reconcile(shop.data)
    assert verdict.holds, verdict.as_json()["breaches"]
    return verdict


async def is_back_and_doubts(shop: Shop) -> bool:
    """compras, of which the backup was of the generation before."""
    found = state(shop, "compras")
    return found["role"] == "writer" and bool(found["doubt"]) and found["doubtOf"] != "compras"


async def sure(shop: Shop) -> None:
    for service in SERVICES:
        await eventually(lambda service=service: is_sure(shop, service), f"{service} still doubts")  # type: ignore[misc]


# A hundred in all, each of them put back: ten at a time, so that no audit is of more than the shop of its round.
ROUNDS, EACH = range(10), 10


# They buy as fast as they are answered, but for 10 ms: three hundred a second on two idle cores.
MANY = 12


async def backed_up_and_put_back(
    shop: Shop, first: int, files: Sequence[Path], back: Sequence[Path], buyers: int = 4
) -> None:
    under_way = 0
    async with shop.client() as client:
        async with crowd(client, first, buyers):
            for file in files:
                code, said = await asyncio.to_thread(zoco, shop, "backup", str(file))
                assert code == 0 and "audited: every promise holds" in said, said
        await client.quiet()
    for file in files:
        found = await reconcile_backup(file)
        assert found.holds, found.as_json()["breaches"]
        under_way += found.under_way
        if file not in back:
            continue
        if file == back[0]:
            # What is thrown away is listed, and nothing is done before somebody says yes.
            code, said = await asyncio.to_thread(zoco, shop, "restore", str(file))
            assert code == 1 and "thrown away" in said and "Aborted" in said
        code, said = await asyncio.to_thread(zoco, shop, "restore", str(file), "--yes")
        assert code == 0 and "all four books are back" in said.replace("\n", " "), said
        assert (await judged(shop)).accepted == found.accepted
    assert under_way, "nothing was on its way in any of them: nobody bought"
    async with shop.client() as client:
        await story(client, first + 500, 2)
    await judged(shop)


async def test_each_backup_of_a_shop_that_sells_is_whole_and_the_shop_goes_on_from_it(
    shop: Shop, numbers: Iterator[int], tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.tar" for number in range(4)]
    await backed_up_and_put_back(shop, next(numbers), files, files[1:2])


@pytest.mark.long
@pytest.mark.parametrize("turn", ROUNDS)
async def test_every_backup_of_ten_is_put_back(node: Node, tmp_path: Path, numbers: Iterator[int], turn: int) -> None:
    await node.add_vhost(f"backups-{turn}")
    shop = start(tmp_path, ZOCO_RABBITMQ_URL=node.url(f"backups-{turn}"), ZOCO_NUDGE_SECONDS="1")
    try:
        files = [tmp_path / f"{number}.tar" for number in range(EACH)]
        await backed_up_and_put_back(shop, next(numbers), files, files, MANY)
    finally:
        shop.stop()


@pytest.mark.long
async def test_all_four_folders_are_lost_and_come_back_from_a_backup_though_its_command_dies(
    shop: Shop, numbers: Iterator[int], tmp_path: Path
) -> None:
    async with shop.client() as client, crowd(client, next(numbers)):
        await asyncio.sleep(1)
        code, said = await asyncio.to_thread(zoco, shop, "backup", str(tmp_path))
        assert code == 0, said
        await asyncio.sleep(1)
    (file,) = tmp_path.glob("zoco-*Z.tar")
    for service in SERVICES:
        shop.kill(service, HELD_SECONDS)
        shutil.rmtree(shop.data / service)
    for service in SERVICES:
        back(shop, service)
    words = [str(ZOCO), "restore", str(file), "--yes", "--data", str(shop.data)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as it:
        assert it.stdout
        for line in it.stdout:
            if line.startswith("compras:"):
                it.send_signal(signal.SIGKILL)
                break
    await eventually(lambda: is_back_and_doubts(shop), "compras sells, and the books of the others are lost")
    code, said = await asyncio.to_thread(zoco, shop, "backup", str(tmp_path / "no.tar"))
    assert code == 2 and "do not fit together" in said.replace("\n", " ")
    code, said = await asyncio.to_thread(zoco, shop, "restore", str(file), "--yes")
    assert code == 0, said
    await sure(shop)
    async with shop.client() as client:
        await story(client, next(numbers), 2)
    await judged(shop)
    # And once more, onto itself: what came since is thrown away, and older words are believed by nobody.
    code, said = await asyncio.to_thread(zoco, shop, "restore", str(file), "--yes")
    assert code == 0, said
    await sure(shop)
    await judged(shop)


async def test_an_older_state_is_made_the_true_one_where_an_operator_wants_that(
    shop: Shop, numbers: Iterator[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop.client() as client:
        await story(client, next(numbers), 2)
        await client.quiet()
        shop.kill("tokens", HELD_SECONDS)
        shutil.copytree(shop.data / "tokens", tmp_path / "tokens")
        back(shop, "tokens")
        sold = [told["id"] for told in [await client.buy(next(numbers), 1)]]
        await story(client, next(numbers), 2)
        await client.quiet()
    shop.kill("tokens", HELD_SECONDS)
    shutil.rmtree(shop.data / "tokens")
    shutil.move(tmp_path / "tokens", shop.data / "tokens")
    back(shop, "tokens")
    await eventually(lambda: in_doubt(shop, "tokens"), "tokens does not notice")
    monkeypatch.chdir(tmp_path)
    code, said = await asyncio.to_thread(zoco, shop, "rebuild", "--adopt")
    assert code == 1 and "Aborted" in said and await in_doubt(shop, "tokens"), said
    code, said = await asyncio.to_thread(zoco, shop, "rebuild", "--adopt", "--yes", "--json")
    assert code == 0, said
    found = json.loads(said)
    assert sold[0] in found["thrownAway"]["compras"] and Path(found["file"]).exists()
    await sure(shop)
    async with shop.client() as client:
        await story(client, next(numbers), 2)
    await judged(shop)


async def test_what_a_book_said_that_was_lost_before_anybody_had_a_record_of_it_is_doubted_until_it_is_thrown_away(
    shop: Shop, numbers: Iterator[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but the one in whose queue it is knows that there was such a book."""
    async with shop.client() as client:
        await story(client, next(numbers), 2)
        await client.quiet()
    buyer = next(numbers)
    said = CompraSolicitada(
        compra_id=str(uuid4()), usuario_id=buyer, token_id=buyer, fecha="2026-01-01T00:00:00.000Z"
    ).said("compras/0badb00c/1/3/1-07e2")
    line = FrameTap()
    connection = await connect(Address.read(shop.running.broker_url), "a-front-door", line=line)
    publisher = Publisher(line, *await number_and_frame_max(await connection.channel()))
    assert await publisher.publish([outgoing(said, "compras", said.fecha)], 5) == [True]
    await connection.close()
    await eventually(lambda: in_doubt(shop, "tokens"), "tokens does not notice")
    found = state(shop, "tokens")
    assert (found["doubtOf"], found["doubtBook"]) == ("compras", "0badb00c")
    monkeypatch.chdir(tmp_path)
    code, told = await asyncio.to_thread(zoco, shop, "rebuild", "--adopt", "--yes", "--json")
    assert code == 0, told
    await sure(shop)
    async with shop.client() as client:
        await story(client, next(numbers), 2)
    # Nobody sold it, and it is no dead letter.
    await judged(shop)


async def test_a_backup_that_is_cut_short_or_altered_is_refused(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "whole.tar"
    code, said = await asyncio.to_thread(zoco, shop, "backup", str(file))
    assert code == 0, said
    whole, chance, bad = file.read_bytes(), Random(18), tmp_path / "bad.tar"
    read(file)
    with tarfile.open(file) as tar:
        # Behind it there is only padding.
        end = max(member.offset_data + member.size for member in tar)
    altered = [bytearray(whole) for _ in range(40)]
    for one in altered:
        one[chance.randrange(end)] ^= 1 << chance.randrange(8)
    refused = 0
    for one in [*altered, *(whole[: chance.randrange(end)] for _ in range(20)), b"", b"no tar"]:
        bad.write_bytes(one)
        try:
            read(bad)
        except BackupFailed:
            refused += 1
        else:
            assert matters(whole, bytes(one)) is None, "an altered backup was read"
    assert refused > 40
    bad.write_bytes(whole[: end // 2])
    code, said = await asyncio.to_thread(zoco, shop, "restore", str(bad), "--yes")
    assert code == 2 and "bad.tar" in said
    code, said = await asyncio.to_thread(zoco, shop, "audit", str(bad))
    assert code == 3, said
    code, said = await asyncio.to_thread(zoco, shop, "backup", str(file))
    assert code == 2 and "is there already" in said.replace("\n", " ")


def matters(whole: bytes, altered: bytes) -> Any:
    """Where something differs that is neither padding nor what a tar says beside name and size. None: nowhere."""

    def members(raw: bytes) -> dict[str, bytes]:
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            return {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]

    return None if members(whole) == members(altered) else members(altered).keys()
