"""A volume that is gone, and all of them: what the other books and a backup bring back, on the cluster."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from k8s_builders import ROLLOUT, SERVICES, KubeShop, until
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
