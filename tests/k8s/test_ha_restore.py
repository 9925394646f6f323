"""PostgreSQL, and so all four books, put back to an earlier moment: what was sold after it is gone, and what is still
said of it is believed by nobody."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from k8s_builders import ROLLOUT, ROOT, SERVICES, KubeShop, in_primary, loaded, until

from loadgen.load.client import Client

RESTORE: Final = ROOT / "k8s" / "components" / "postgres-backup" / "restore"
BOOKS: Final = ("/usuarios", "/tokens", "/transacciones?limite=10000")
TOKENS: Final = 600
NOW: Final = "SELECT clock_timestamp() AT TIME ZONE 'UTC' || 'Z'"


@pytest.fixture
def kept(three: KubeShop) -> Iterator[KubeShop]:
    """One whose database's past is kept."""
    three.deploy(COMPONENTS=f"{three.components} postgres-backup")
    three.cluster.kubectl("rollout", "status", "deployment/postgres-archive", ROLLOUT)
    yield three
    three.cluster.kubectl("delete", "deployment/postgres-archive", "cronjob/postgres-backup")
    three.cluster.kubectl("delete", "job/postgres-restore", "--ignore-not-found")
    three.cluster.kubectl("delete", "pvc/postgres-archive")


def put_back(shop: KubeShop, when: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "NAMESPACE": shop.cluster.namespace}
    return subprocess.run([RESTORE, when], env=env, capture_output=True, text=True, check=False)


@pytest.mark.long
async def test_all_four_books_are_put_back_to_one_earlier_moment_and_go_on(
    kept: KubeShop, numbers: Iterator[int], tmp_path: Path
) -> None:
    async with loaded(kept, next(numbers), TOKENS):
        pass
    await kept.audited()
    async with kept.client() as client:
        before = [await client.get(path) for path in BOOKS]
        generations = await _generations(kept)
    moment = (await kept.run(*await in_primary(kept), "--command", NOW)).strip()

    # What is thrown away; and its words, which wait in a queue for whoever comes.
    gone = replace(kept, journal=tmp_path / "thrown-away.jsonl")
    gone.journal.touch()
    async with loaded(gone, next(numbers), TOKENS) as load:
        await gone.run("scale", "deployment", "tokens", "--replicas=0")
        await until(lambda: _is(load.backlog["tokens"] > 100), "nothing waits for tokens")
    done = await asyncio.to_thread(put_back, kept, moment)
    assert done.returncode == 0, done.stdout + done.stderr
    async with kept.client() as client:
        await until(lambda: _same(client, before), "the books are not what they were")
    assert all(now > then for now, then in zip(await _generations(kept), generations, strict=True))

    async with loaded(kept, next(numbers), TOKENS) as load:
        for service in SERVICES:
            await load.drained(service)
    kept.note("PostgreSQL put back to an earlier moment", load)
    await kept.audited()

    # A moment of which nothing is kept: said, and nothing is changed.
    async with kept.client() as client:
        before = [await client.get(path) for path in BOOKS]
    done = await asyncio.to_thread(put_back, kept, "2001-01-01 00:00:00Z")
    assert done.returncode == 1 and "no base backup is as old as 2001-01-01 00:00:00Z" in done.stderr, done.stderr
    await kept.ready()
    async with kept.client() as client:
        await until(lambda: _same(client, before), "the books are not what they were")


@pytest.mark.long
async def test_the_cron_job_makes_a_base_backup_by_itself_and_no_more_stay_than_are_to(
    kept: KubeShop, numbers: Iterator[int]
) -> None:
    """Its hour is night: here it is every minute, and of two bases one stays."""
    first = await _bases(kept)
    assert len(first) == 1
    async with loaded(kept, next(numbers), TOKENS):
        pass
    await kept.run("patch", "cronjob/postgres-backup", "--type=json", "--patch", OFTEN)
    await until(lambda: _another(kept, first), "no base backup is made in the CronJob's minute", 240)
    await kept.run("patch", "cronjob/postgres-backup", "--type=json", "--patch", SUSPENDED)
    # And it is one that a database can be put back from.
    async with kept.client() as client:
        before = [await client.get(path) for path in BOOKS]
    done = await asyncio.to_thread(put_back, kept, "last")
    assert done.returncode == 0, done.stdout + done.stderr
    async with kept.client() as client:
        await until(lambda: _same(client, before), "the books are not what they were")


ENV: Final = "/spec/jobTemplate/spec/template/spec/containers/0/env/0"
OFTEN: Final = json.dumps(
    [
        {"op": "replace", "path": "/spec/schedule", "value": "* * * * *"},
        {"op": "replace", "path": ENV, "value": {"name": "KEEP", "value": "1"}},
    ]
)
SUSPENDED: Final = json.dumps([{"op": "add", "path": "/spec/suspend", "value": True}])


async def _bases(kept: KubeShop) -> list[str]:
    found = await kept.run(
        "exec", "deployment/postgres-archive", "--", "find", "/archive", "-path", "*/base/*Z", "-prune"
    )
    return sorted(found.split())


async def _another(kept: KubeShop, first: list[str]) -> bool:
    """And the first one is gone."""
    found = await _bases(kept)
    return len(found) == 1 and found != first


async def _generations(shop: KubeShop) -> list[int]:
    """As which each book goes on."""
    found = await shop.run(*await in_primary(shop), "--command", GENERATIONS)
    return [int(one) for one in found.split()]


GENERATIONS: Final = " UNION ALL ".join(f"SELECT generacion FROM {service}.libro" for service in SERVICES)


async def _same(client: Client, before: list[object]) -> bool:
    return [await client.get(path) for path in BOOKS] == before


async def _is(answer: bool) -> bool:
    return answer
