"""What somebody got wrong: the pod says so where one looks, is not ready, and what was bought stays."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from k8s_builders import KubeShop, loaded, until


@pytest.fixture
def mended(shop: KubeShop) -> Iterator[KubeShop]:
    """A shop that is as it was, afterwards."""
    names = ("usuarios-rabbitmq",)
    before = {name: shop.cluster.kubectl("get", "secret", name, "--output", "json") for name in names}
    yield shop
    for manifest in before.values():
        secret = json.loads(manifest)
        secret["metadata"] = {key: secret["metadata"][key] for key in ("name", "labels")}
        path = shop.journal.with_name("secret.json")
        path.write_text(json.dumps(secret), encoding="utf-8")
        shop.cluster.kubectl("apply", "--filename", str(path))
    shop.cluster.kubectl("rollout", "undo", "deployment/usuarios")
    shop.deploy()


async def newest(shop: KubeShop) -> dict[str, Any]:
    """The pod of usuarios that came last."""
    pods = json.loads(
        await shop.run("get", "pods", "--selector", "app.kubernetes.io/name=usuarios", "--output", "json")
    )
    found: dict[str, Any] = max(pods["items"], key=lambda pod: pod["metadata"]["creationTimestamp"])
    return found


async def ends_with(shop: KubeShop, sentence: str) -> None:
    """The newest pod is not ready, and its container ended with these words, in its log and in `kubectl describe`."""

    async def so() -> bool:
        statuses = (await newest(shop))["status"].get("containerStatuses", [])
        ended = [
            status[state]["terminated"]
            for status in statuses
            for state in ("state", "lastState")
            if "terminated" in status[state]
        ]
        return any(sentence in end.get("message", "") and end["exitCode"] for end in ended)

    await until(so, f"no pod ends with {sentence!r}")
    pod = await newest(shop)
    assert not any(status["ready"] for status in pod["status"]["containerStatuses"])
    name = pod["metadata"]["name"]
    assert sentence in await shop.run("describe", "pod", name)

    async def said_once() -> bool:
        # While it begins anew it has said nothing yet.
        errors = [line for line in (await shop.run("logs", name)).splitlines() if '"level": "error"' in line]
        return len(errors) == 1 and sentence in errors[0]

    await until(said_once, f"the log does not say {sentence!r} in just one line")


async def test_a_missing_secret_is_named_and_the_pod_waits_for_it(mended: KubeShop) -> None:
    await mended.run("delete", "secret", "usuarios-rabbitmq")
    await mended.run("rollout", "restart", "deployment/usuarios")

    async def named() -> bool:
        described = await mended.run("describe", "pod", (await newest(mended))["metadata"]["name"])
        return 'secret "usuarios-rabbitmq" not found' in described

    await until(named, "nothing names the Secret")
    # The old one still serves.
    async with mended.client() as client:
        assert await client.get("/usuarios")


async def test_a_wrong_broker_password_ends_the_pod_with_the_reason(mended: KubeShop) -> None:
    wrong = base64.b64encode(b"amqp://usuarios:wrong@rabbitmq:5672/").decode()
    patch = json.dumps({"data": {"ZOCO_RABBITMQ_URL": wrong}})
    await mended.run("patch", "secret", "usuarios-rabbitmq", "--patch", patch)
    await mended.run("rollout", "restart", "deployment/usuarios")
    await ends_with(mended, "the broker refuses user 'usuarios': mend ZOCO_RABBITMQ_URL")
    async with mended.client() as client:
        assert await client.get("/usuarios")


async def test_a_volume_that_cannot_be_written_ends_the_pod_with_the_reason(mended: KubeShop) -> None:
    async with mended.client() as client:
        before = await client.get("/usuarios")
    readonly = {"name": "usuarios", "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}]}
    patch = {"spec": {"template": {"spec": {"containers": [readonly]}}}}
    await mended.run("patch", "deployment", "usuarios", "--patch", json.dumps(patch))
    await ends_with(mended, "/data/lock cannot be written (Read-only file system)")
    async with mended.client() as client:
        assert await client.get("/usuarios") == before


async def test_the_books_are_whole_after_all_that(shop: KubeShop) -> None:
    """And it sells: without a client's journal there would be nothing to hold the books against."""
    async with loaded(shop, 990_000, 2_000):
        pass
    await shop.audited()
