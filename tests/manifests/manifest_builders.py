"""What kustomize makes of k8s/, and pieces of it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())
FILES = sorted(path for path in K8S.glob("*.yaml") if path.name not in ("kustomization.yaml", "compras-nodeport.yaml"))
# Of the version that the cluster of CI runs.
KUBERNETES = "1.34"
Manifest = dict[str, Any]
# The one in C reads a combination in a tenth of the time.
LOADER = yaml.CSafeLoader


def copy_what_makes_images(folder: Path) -> None:
    """What `make images` and `make deploy` read, to be written into."""
    for name in ("broker", "services", "scripts", "k8s"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "uv.lock", "requirements-uv.txt", "images.lock", ".dockerignore"):
        shutil.copy(ROOT / name, folder / name)


# What it keeps the past of has to be there.
NEEDS = {"postgres-backup": "postgres-ha"}
# Both would say how many pods there are.
EITHER = {"keda", "hpa"}
WHOLE = tuple(name for name in COMPONENTS if name != "hpa")


def all_combinations() -> list[tuple[str, ...]]:
    """None, each, each with each other one, and all: what two of them do to each other, a third does not undo."""
    small = [chosen for size in range(3) for chosen in combinations(COMPONENTS, size) if not set(chosen) >= EITHER]
    with_needs = (dict.fromkeys([*chosen, *(NEEDS[one] for one in chosen if one in NEEDS)]) for chosen in small)
    return [*dict.fromkeys(tuple(chosen) for chosen in with_needs), WHOLE]


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
        return kustomize(folder)


def render_plain() -> list[Manifest]:
    """What `kubectl apply -k k8s/` sends."""
    return kustomize(K8S)


def kustomize(folder: Path) -> list[Manifest]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # kustomize's warnings are of things that will go.
    assert not done.stderr, done.stderr
    return list(yaml.load_all(done.stdout, LOADER))


@functools.cache
def valid(manifest: str) -> None:
    """As JSON: most are the same in many combinations, and for each the schema of all of Kubernetes is read again."""
    kubernetes_validate.validate(json.loads(manifest), KUBERNETES, strict=True)


def read(file: Path) -> list[Manifest]:
    return list(yaml.load_all(file.read_text(encoding="utf-8"), LOADER))


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def workloads(manifests: Sequence[Manifest]) -> list[Manifest]:
    return of_kind(manifests, "Deployment", "StatefulSet", "Job", "CronJob")


def template_of(workload: Manifest) -> Manifest:
    spec = workload["spec"]
    template: Manifest = (spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]
    return template


def pod_of(workload: Manifest) -> Manifest:
    spec: Manifest = template_of(workload)["spec"]
    return spec


def containers(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Of every workload: its name, and each of its containers."""
    for workload in workloads(manifests):
        pod = pod_of(workload)
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            yield workload["metadata"]["name"], container


def pod_labels(manifests: Sequence[Manifest]) -> list[Manifest]:
    return [template_of(workload)["metadata"]["labels"] for workload in workloads(manifests)]


def matches(selector: Manifest, labels: Manifest) -> bool:
    return selector.items() <= labels.items()
