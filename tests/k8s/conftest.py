"""One shop for the whole run, on the cluster that kubectl points at, in a namespace of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count

import pytest
from k8s_builders import KubeShop

from ops.cluster import Cluster, KubeError

NAMESPACE = "zoco-test"
# The whole table holds with them and without: COMPONENTS="" make test-k8s.
COMPONENTS = os.environ.get("COMPONENTS", "knock-down")
measured: list[str] = []


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeShop]:
    cluster = Cluster(NAMESPACE)
    if shutil.which("kubectl") is None:
        pytest.fail("kubectl is missing: install it (https://kubernetes.io/docs/tasks/tools/)")
    try:
        cluster.kubectl("get", "nodes")
    except KubeError as error:
        pytest.fail(f"no cluster answers: point KUBECONFIG at one ({error})")
    journal = tmp_path_factory.mktemp("client") / "client.jsonl"
    journal.touch()
    shop = KubeShop(cluster, COMPONENTS, journal, measured=measured)
    # What an earlier run may have left.
    shop.deploy("undeploy", VOLUMES="delete")
    shop.deploy()
    shop.find()
    yield shop
    shop.deploy("undeploy", VOLUMES="delete")


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Beginnings of ranges of ten thousand ids that no other test uses."""
    return count(10_000, 10_000)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in measured:
        terminalreporter.write_line(line)
