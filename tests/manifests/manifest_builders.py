"""What kustomize makes of k8s/, and pieces of it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())
FILES = sorted(path for path in K8S.glob("*.yaml") if path.name not in ("kustomization.yaml", "compras-nodeport.yaml"))
# Of the version that the cluster of CI runs.
KUBERNETES = "1.34"
Manifest = dict[str, Any]


def all_combinations() -> list[tuple[str, ...]]:
    return [chosen for size in range(len(COMPONENTS) + 1) for chosen in combinations(COMPONENTS, size)]


@functools.cache
def render(components: tuple[str, ...] = (), namespace: str = "zoco") -> list[Manifest]:
    """k8s/ with these components in this namespace, as `kubectl apply -k` would send it. Not to be changed."""
    if shutil.which("kubectl") is None:
        pytest.fail("kubectl is missing: install it (https://kubernetes.io/docs/tasks/tools/), it renders k8s/")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        base = os.path.relpath(K8S, folder)
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": namespace,
            "resources": [base],
            "components": [f"{base}/components/{name}" for name in components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return _kustomize(folder)


def render_plain() -> list[Manifest]:
    """What `kubectl apply -k k8s/` sends."""
    return _kustomize(K8S)


def _kustomize(folder: Path) -> list[Manifest]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # kustomize's warnings are of things that will go.
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def read(file: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def workloads(manifests: Sequence[Manifest]) -> list[Manifest]:
    return of_kind(manifests, "Deployment", "StatefulSet", "Job")


def pod_of(workload: Manifest) -> Manifest:
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def containers(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Of every workload: its name, and each of its containers."""
    for workload in workloads(manifests):
        pod = pod_of(workload)
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            yield workload["metadata"]["name"], container


def pod_labels(manifests: Sequence[Manifest]) -> list[Manifest]:
    return [workload["spec"]["template"]["metadata"]["labels"] for workload in workloads(manifests)]


def matches(selector: Manifest, labels: Manifest) -> bool:
    return selector.items() <= labels.items()
