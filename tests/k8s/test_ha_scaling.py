"""How many pods of a service there are is said by what waits for it (KEDA, if it is there), or by its CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import pytest
from k8s_builders import SERVICES, KubeShop, loaded, until

from ops.cluster import KubeError

BACKLOG: Final = 10_000
SCALES_SECONDS: Final = 300
# A second, while tokens is away.
FAST: Final = 150
TOKENS: Final = 600


@contextlib.contextmanager
def scaled_by(shop: KubeShop, component: str, kind: str) -> Iterator[KubeShop]:
    shop.deploy(COMPONENTS=f"{shop.components} {component}")
    try:
        yield shop
    finally:
        shop.cluster.kubectl("delete", kind, "--all")
        shop.cluster.kubectl("scale", "deployment", *SERVICES, "--replicas=2")


async def pods_wanted(shop: KubeShop, service: str) -> int:
    return int(await shop.run("get", "deployment", service, "--output", "jsonpath={.spec.replicas}"))


async def _are(shop: KubeShop, service: str, count: int) -> bool:
    return await pods_wanted(shop, service) == count


@pytest.mark.long
async def test_a_backlog_of_ten_thousand_takes_tokens_from_one_to_four_and_back(
    three: KubeShop, numbers: Iterator[int]
) -> None:
    try:
        three.cluster.kubectl("get", "crd", "scaledobjects.keda.sh")
    except KubeError:
        pytest.fail("KEDA is not there: install it (https://keda.sh/docs/latest/deploy/)")
    with scaled_by(three, "keda", "scaledobjects"):
        # A pod that may take all of this machine would be done before a second one is there.
        await three.run("set", "resources", "deployment/tokens", "--limits=cpu=200m,memory=512Mi")
        await until(lambda: _are(three, "tokens", 1), "idle, there is more than one tokens", SCALES_SECONDS)
        # What is bought is entered first: that needs tokens.
        async with loaded(three, next(numbers), TOKENS, FAST) as load:
            await three.run("annotate", "scaledobject/tokens", "autoscaling.keda.sh/paused-replicas=0")
            await until(lambda: _are(three, "tokens", 0), "KEDA does not pause")
            await until(lambda: _is(load.backlog["tokens"] > BACKLOG), "nothing waits for tokens", SCALES_SECONDS)
            await three.run("annotate", "scaledobject/tokens", "autoscaling.keda.sh/paused-replicas-")
            await until(lambda: _are(three, "tokens", 4), "a backlog brings no more pods", SCALES_SECONDS)
            await until(lambda: _is(load.backlog["tokens"] < 500), "the backlog stays", SCALES_SECONDS)
        # Nobody could read a token while there was no pod of tokens; who bought was not refused.
        assert not load.failed
        await until(lambda: _are(three, "tokens", 1), "there are four for good", SCALES_SECONDS)
        three.note("KEDA, 10,000 messages for tokens", load, pods="1 to 4 to 1", highest=load.highest["tokens"])
        await three.audited()
    limit = '[{"op": "remove", "path": "/spec/template/spec/containers/0/resources/limits/cpu"}]'
    await three.run("patch", "deployment", "tokens", "--type=json", f"--patch={limit}")


async def _is(answer: bool) -> bool:
    return answer


@pytest.mark.long
async def test_front_doors_that_use_much_cpu_become_more_and_fewer_again(
    three: KubeShop, numbers: Iterator[int]
) -> None:
    with scaled_by(three, "hpa", "horizontalpodautoscalers"):
        # What is much for a pod depends on the machine: on a fast one this load is not.
        less = '[{"op": "replace", "path": "/spec/metrics/0/resource/target/averageValue", "value": "50m"}]'
        await three.run("patch", "horizontalpodautoscaler", "compras", "--type=json", f"--patch={less}")
        await until(lambda: _are(three, "tokens", 1), "idle, there is more than one tokens", SCALES_SECONDS)
        async with loaded(three, next(numbers), TOKENS, FAST) as load:
            await until(lambda: _more(three, "compras", 2), "much CPU brings no more pods", SCALES_SECONDS)
            seen = await pods_wanted(three, "compras")
        load.none_failed()
        await until(lambda: _are(three, "compras", 2), "there are more for good", SCALES_SECONDS)
        three.note("HPA", load, front_doors=f"2 to {seen} to 2")
        await three.audited()


async def _more(shop: KubeShop, service: str, count: int) -> bool:
    return await pods_wanted(shop, service) > count
