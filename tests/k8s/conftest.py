"""One shop for the whole run, on the cluster that kubectl points at, in a namespace of its own; and one with three of
everything, in another one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from k8s_autopsy import autopsy
from k8s_builders import KubeShop, is_so

from ops.cluster import Cluster, KubeError

NAMESPACE = "zoco-test"
# The whole table holds with them and without: COMPONENTS="" make test-k8s.
COMPONENTS = os.environ.get("COMPONENTS", "knock-down")
measured: list[str] = []


@contextlib.contextmanager
def deployed(namespace: str, components: str, journal: Path, **more: Any) -> Iterator[KubeShop]:
    """A shop with these components, from its beginning to its end."""
    journal.touch()
    shop = KubeShop(Cluster(namespace), components, journal, measured=measured, **more)
    # What an earlier run may have left.
    shop.deploy("undeploy", VOLUMES="delete")
    shop.deploy()
    shop.find()
    yield shop
    shop.deploy("undeploy", VOLUMES="delete")


@pytest.fixture(scope="session")
def nodes() -> list[str]:
    """The names of the cluster's nodes that are ready."""
    if shutil.which("kubectl") is None:
        pytest.fail("kubectl is missing: install it (https://kubernetes.io/docs/tasks/tools/)")
    try:
        found = json.loads(Cluster().kubectl("get", "nodes", "--output", "json"))["items"]
    except KubeError as error:
        pytest.fail(f"no cluster answers: point KUBECONFIG at one ({error})")
    return [node["metadata"]["name"] for node in found if is_so(node, "Ready")]


@pytest.fixture(scope="session")
def shop(nodes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeShop]:
    assert nodes
    with deployed(NAMESPACE, COMPONENTS, tmp_path_factory.mktemp("client") / "client.jsonl") as shop:
        yield shop


@pytest.fixture(scope="session")
def three(nodes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeShop]:
    """One that any node may burn under."""
    if len(nodes) < 3:
        pytest.fail(f"three nodes are needed, and these are ready: {', '.join(nodes)}")
    journal = tmp_path_factory.mktemp("client") / "client.jsonl"
    with deployed("zoco-ha", "postgres postgres-ha rabbitmq-ha", journal, of_three=("rabbitmq", "postgres")) as shop:
        yield shop


@pytest.fixture
def on_files(nodes: list[str], tmp_path: Path) -> Iterator[KubeShop]:
    """One that is to become one of three."""
    assert len(nodes) >= 3
    with deployed("zoco-moved", "", tmp_path / "client.jsonl") as shop:
        yield shop


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Beginnings of ranges of ten thousand ids that no other test uses."""
    return count(10_000, 10_000)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    shops = [one for one in getattr(item, "funcargs", {}).values() if isinstance(one, KubeShop)]
    if report.failed and call.when == "call":
        report.sections += [("what the cluster shows", autopsy(shop.cluster)) for shop in shops]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in measured:
        terminalreporter.write_line(line)
