"""A shop on files goes to PostgreSQL of three by the lines of k8s/README.md, and its books come along."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml
from k8s_builders import ROOT, SERVICES, KubeShop, loaded, until
from readme_lines import type_in

BOOKS: Final = ("/usuarios", "/tokens", "/transacciones?limite=10000")
TOKENS: Final = 600


@pytest.mark.long
async def test_a_shop_on_files_goes_to_postgresql_as_the_readme_says(
    on_files: KubeShop, numbers: Iterator[int], tmp_path: Path
) -> None:
    shop, namespace = on_files, on_files.cluster.namespace
    async with loaded(shop, next(numbers), TOKENS):
        pass
    await shop.audited()
    async with shop.client() as client:
        before = [await client.get(path) for path in BOOKS]

    names = {"overlays/ha": str(overlay(tmp_path / "ha", namespace)), "before.tar": str(tmp_path / "before.tar")}
    await asyncio.to_thread(type_in, "From files to PostgreSQL", namespace, names)
    shop.of_three = ("rabbitmq", "postgres")
    await shop.ready()
    shop.find()
    assert not await shop.run("get", "deployments", "--output", CLAIMS), "a service has its volume still"

    async def same() -> bool:
        async with shop.client() as client:
            return [await client.get(path) for path in BOOKS] == before

    await until(same, "the books are not what they were")
    async with loaded(shop, next(numbers), TOKENS) as load:
        for service in SERVICES:
            await load.drained(service)
    shop.note("from files to PostgreSQL", load)
    await shop.audited()


CLAIMS: Final = "jsonpath={.items[*].spec.template.spec.volumes[*].persistentVolumeClaim.claimName}"


def overlay(folder: Path, namespace: str) -> Path:
    """overlays/ha in another namespace, and not on the one port that a cluster has once."""
    folder.mkdir()
    port = {
        "target": {"kind": "Service", "name": "compras"},
        "patch": yaml.safe_dump([{"op": "remove", "path": "/spec/ports/0/nodePort"}]),
    }
    whole = {
        "namespace": namespace,
        "resources": [os.path.relpath(ROOT / "overlays" / "ha", folder)],
        "patches": [port],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    return folder
