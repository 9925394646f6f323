"""A volume that is gone, and all of them: what the other books and a backup bring back, on the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from k8s_builders import ROLLOUT, ROOT, SERVICES, KubeShop, until
from patience import PATIENCE_SECONDS
from shop_builders import ZOCO

from loadgen.drill.reconcile import reconcile_cluster

TOKENS = 6


async def sold(shop: KubeShop, first: int) -> None:
    """As many are sold as there are tokens, and one buyer comes too late."""
    tokens = range(first, first + TOKENS)
    async with shop.client() as client:
        await client.prepare(users=[first, first + 1], tokens=tokens, saldo=1000, precio=10)
        for token in tokens:
            await client.buy(first, token)
            await client.buy(first + 1, token)
        await client.quiet()


async def without_volumes(shop: KubeShop, *names: str) -> None:
    """Their PersistentVolumeClaims are deleted, and made anew, empty."""
    replicas = {}
    for name in names:
        replicas[name] = await shop.run("get", "deployment", name, "--output", "jsonpath={.spec.replicas}")
        await shop.run("scale", "deployment", name, "--replicas=0")
        await shop.run("wait", "--for=delete", "pod", "--selector", f"app.kubernetes.io/name={name}", ROLLOUT)
        await shop.run("delete", "persistentvolumeclaim", f"{name}-data", ROLLOUT)
    await asyncio.to_thread(shop.deploy)
    for name in names:
        await shop.run("scale", "deployment", name, f"--replicas={replicas[name]}")
    await shop.ready()


def zoco(shop: KubeShop, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(ZOCO), *words, "--kube", "--namespace", shop.cluster.namespace],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def in_doubt(shop: KubeShop, name: str) -> bool:
    async with shop.client() as client:
        found = (await client.get("/estado"))["servicios"][name]
    return found.get("doubtOf") == name and found.get("role") == "writer"


async def test_a_volume_that_was_deleted_is_noticed_and_its_book_is_written_again(
    shop: KubeShop, numbers: Iterator[int]
) -> None:
    name = "tokens"
    await sold(shop, next(numbers))
    await without_volumes(shop, name)
    await until(lambda: in_doubt(shop, name), f"{name} does not notice that its volume is gone")
    code, said = await asyncio.to_thread(zoco, shop, "rebuild", name)
    assert code == 0, said

    async def decides() -> bool:
        async with shop.client() as client:
            found = (await client.get("/estado"))["servicios"][name]
        # Who does not answer yet says nothing of itself.
        return found.get("role") == "writer" and found["doubt"] is None

    await until(decides, f"{name} does not come back")
    await sold(shop, next(numbers))
    await shop.audited()


async def test_all_volumes_are_deleted_and_come_back_from_a_backup(
    shop: KubeShop, numbers: Iterator[int], tmp_path: Path
) -> None:
    await sold(shop, next(numbers))
    file = tmp_path / "shop.tar"
    code, said = await asyncio.to_thread(zoco, shop, "backup", str(file))
    assert code == 0 and "every promise holds" in said.replace("\n", " "), said
    await without_volumes(shop, *SERVICES)
    code, said = await asyncio.to_thread(zoco, shop, "restore", str(file), "--yes", "--json")
    assert code == 0, said
    # But for what each began with anew, nothing came since.
    assert not json.loads(said)["thrownAway"]["compras"]
    await sold(shop, next(numbers))
    verdict = await asyncio.to_thread(reconcile_cluster, shop.cluster, [shop.journal])
    assert verdict.holds, verdict.as_json()["breaches"]


RESTORE = ROOT / "k8s" / "components" / "backup" / "restore-job.yaml"


@contextlib.asynccontextmanager
async def with_backups(shop: KubeShop) -> AsyncIterator[None]:
    """The shop as it is, with a volume for backups, until the end of the block."""
    # The command has an image of its own, which a shop without backups does not need.
    await asyncio.to_thread(subprocess.run, [str(ROOT / "scripts" / "images"), "zoco"], check=True)
    before = shop.components
    shop.components = f"{before} backup".strip()
    await asyncio.to_thread(shop.deploy)
    try:
        yield
    finally:
        shop.components = before
        policies = ("networkpolicy/backup", "networkpolicy/services-backup")
        await shop.run("delete", "--ignore-not-found", "job/made", "job/restore", "cronjob/backup", *policies)
        await shop.run("delete", "--ignore-not-found", "persistentvolumeclaim", "backups", ROLLOUT)


async def ended(shop: KubeShop, job: str) -> None:
    """When it has ended well: what it said a kubelet does not always have any more."""

    async def so() -> bool:
        done = json.loads(await shop.run("get", "job", job, "--output", "json"))["status"]
        assert not done.get("failed"), await shop.run("logs", f"job/{job}")
        return bool(done.get("succeeded"))

    await until(so, f"the job {job} does not end")


@pytest.mark.long
async def test_the_job_puts_back_the_newest_backup_whichever_front_door_answers_it(
    shop: KubeShop, numbers: Iterator[int]
) -> None:
    """Of compras there are two, and one of them takes a book: by chance each such Job was right once of two times."""
    await sold(shop, next(numbers))
    assert len(shop.cluster.pods("compras")) == 2
    async with with_backups(shop):
        await shop.run("create", "job", "made", "--from=cronjob/backup")
        await ended(shop, "made")
        for turn in range(4):
            if turn == 0:
                await without_volumes(shop, *SERVICES)
            await shop.run("delete", "--ignore-not-found", "job/restore")
            await shop.run("apply", "--filename", str(RESTORE))
            await ended(shop, "restore")
    await shop.ready()
    await sold(shop, next(numbers))
    verdict = await asyncio.to_thread(reconcile_cluster, shop.cluster, [shop.journal])
    assert verdict.holds, verdict.as_json()["breaches"]
