"""`make deploy` and `make undeploy` on a cluster that only writes down what it is asked: tests/k8s/ has real ones."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml
from manifest_builders import (
    ROOT,
    Manifest,
    all_combinations,
    copy_what_makes_images,
    kustomize,
    of_kind,
    pod_of,
    render,
)

from broker.services import SERVICES

# What runs, and what was left, stands in its environment; without $SCALED nobody has heard of KEDA.
KUBECTL: Final = """#!/bin/sh
echo "$*" >>"$ASKED"
case "$*" in
*"get scaledobjects"*) [ -n "$SCALED" ] || exit 1; printf '%s\\n' $SCALED ;;
*spec.replicas*) printf %s "$RUN" ;;
*"get deployment tokens"*) printf %s "$TOKENS" ;;
*"get cronjob backup"*) printf %s "$IMAGE" ;;
*"apply --filename -"*) cat ;;
*"get pvc"*) printf '%s\\n' $CLAIMS ;;
esac
"""
SCALED: Final = "scaledobject.keda.sh/tokens triggerauthentication.keda.sh/rabbitmq"
FILES, TABLES = "tokens tokens-data", "tokens "
HA: Final = "postgres postgres-ha rabbitmq-ha"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    copy_what_makes_images(tmp_path)
    (tmp_path / "bin").mkdir()
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.write_text(KUBECTL, encoding="utf-8")
    kubectl.chmod(0o755)
    return tmp_path


def deploy(checkout: Path, *words: str, **said: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """How it ended, and what it asked."""
    env = {**os.environ, "TOKENS": "", "CLAIMS": "", "SCALED": "", "RUN": "", "COMPONENTS": "", "BOOKS": "", **said}
    env |= {"PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "ASKED": str(checkout / "asked")}
    (checkout / "asked").write_text("", encoding="utf-8")
    command = [checkout / "scripts" / "deploy", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return done, (checkout / "asked").read_text(encoding="utf-8").splitlines()


def applied(asked: list[str]) -> bool:
    return "apply -k .deploy" in asked


def test_books_of_one_kind_are_not_left_for_empty_ones_of_the_other_without_a_word(checkout: Path) -> None:
    claims = {"files": "persistentvolumeclaim/tokens-data", "PostgreSQL": "persistentvolumeclaim/data-postgres-0"}
    for now, components, there in (
        ("files", HA, {"TOKENS": FILES}),
        ("PostgreSQL", "", {"TOKENS": TABLES}),
        # Undeployed: the volumes stay.
        ("files", HA, {"CLAIMS": claims["files"]}),
        ("PostgreSQL", "knock-down", {"CLAIMS": claims["PostgreSQL"]}),
    ):
        done, asked = deploy(checkout, COMPONENTS=components, **there)
        assert done.returncode == 1 and not applied(asked), there
        assert f"are in {now}. " in done.stderr and "BOOKS=elsewhere" in done.stderr
        done, asked = deploy(checkout, COMPONENTS=components, BOOKS="elsewhere", **there)
        assert done.returncode == 0 and applied(asked), done.stderr
    (anchor,) = re.findall(r"k8s/README\.md#([\w-]+)", (checkout / "scripts" / "deploy").read_text(encoding="utf-8"))
    assert f"### {anchor.replace('-', ' ')}" in (ROOT / "k8s" / "README.md").read_text(encoding="utf-8").lower()


def test_books_of_the_same_kind_or_none_are_deployed(checkout: Path) -> None:
    both = "persistentvolumeclaim/tokens-data persistentvolumeclaim/data-postgres-0"
    for components, there in (
        ("", {}),
        (HA, {}),
        ("", {"TOKENS": FILES}),
        (HA, {"TOKENS": TABLES, "CLAIMS": both}),
        (HA, {"CLAIMS": both}),
    ):
        done, asked = deploy(checkout, COMPONENTS=components, **there)
        assert done.returncode == 0 and applied(asked), done.stderr


def deleted(asked: list[str]) -> set[str]:
    """Every word of each deletion."""
    lines = [line for line in asked if " delete " in line]
    return {word for line in lines for word in re.split(r"[ ,/.]", line)}


def test_undeploy_leaves_nothing_but_the_books_the_credentials_and_the_namespace(checkout: Path) -> None:
    kinds = {manifest["kind"] for components in all_combinations() for manifest in render(components)}
    done, asked = deploy(checkout, "undeploy", SCALED=SCALED)
    assert done.returncode == 0, done.stderr
    assert {kind.lower() for kind in kinds - {"Namespace", "PersistentVolumeClaim"}} <= deleted(asked)
    assert not {"namespace", "persistentvolumeclaim", "pvc", "secret"} & deleted(asked)
    # Who would start again what is gone goes first.
    first = [number for number, line in enumerate(asked) if "scaled" in line or "autoscaler" in line]
    assert max(first) < min(number for number, line in enumerate(asked) if "deployment" in line)


def test_who_scaled_before_and_is_not_chosen_any_more_is_forgotten(checkout: Path) -> None:
    for chosen, gone in (
        ("", {"scaledobject", "triggerauthentication", "horizontalpodautoscaler"}),
        ("keda", {"horizontalpodautoscaler"}),
        ("hpa", {"scaledobject", "triggerauthentication"}),
    ):
        done, asked = deploy(checkout, COMPONENTS=chosen, SCALED=SCALED)
        assert done.returncode == 0, done.stderr
        assert deleted(asked) & {"scaledobject", "triggerauthentication", "horizontalpodautoscaler"} == gone


def sent(checkout: Path) -> list[Manifest]:
    """What the last one applied."""
    return kustomize(checkout / ".deploy")


@pytest.mark.parametrize("component", ["keda", "hpa"])
def test_no_pod_ends_because_from_now_on_an_autoscaler_says_how_many_there_are(checkout: Path, component: str) -> None:
    """A number that was applied before, and is not any more, would be 1."""
    least = dict.fromkeys(SERVICES, 1) | {"compras": 2}
    for spec in (one["spec"] for one in of_kind(render((component,)), "ScaledObject", "HorizontalPodAutoscaler")):
        name = spec["scaleTargetRef"]["name"]
        assert least[name] == spec.get("minReplicaCount", spec.get("minReplicas"))
    for run, wanted in (("3", dict.fromkeys(SERVICES, 3)), ("0", least), ("", dict.fromkeys(SERVICES))):
        done, asked = deploy(checkout, COMPONENTS=component, RUN=run)
        assert done.returncode == 0 and applied(asked), done.stderr
        found = {one["metadata"]["name"]: one["spec"].get("replicas") for one in of_kind(sent(checkout), "Deployment")}
        assert found == wanted, run


def test_where_no_autoscaler_is_the_manifest_says_how_many_there_are(checkout: Path) -> None:
    deploy(checkout, RUN="3")
    found, wanted = (
        {one["metadata"]["name"]: one["spec"].get("replicas") for one in of_kind(manifests, "Deployment")}
        for manifests in (sent(checkout), render())
    )
    assert found == wanted


@pytest.mark.parametrize("registry", ["", "registry.example/shop"])
def test_a_backup_is_put_back_by_the_image_that_makes_them(checkout: Path, registry: str) -> None:
    """By the lines of the documentation: the cluster may have no other, or an older one."""
    done, _ = deploy(checkout, COMPONENTS="backup", REGISTRY=registry)
    assert done.returncode == 0, done.stderr
    (hourly,) = of_kind(sent(checkout), "CronJob")
    (container,) = pod_of(hourly)["containers"]
    text = (ROOT / "docs" / "backup.md").read_text(encoding="utf-8")
    (lines,) = (one for one in re.findall(r"(?:^ {4}.+\n)+", text, re.MULTILINE) if "restore-job" in one)
    assert "jsonpath={.spec.jobTemplate.spec.template.spec.containers[0].image}" in lines
    env = {**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "ASKED": str(checkout / "asked")}
    command, env["IMAGE"] = ["bash", "-c", lines], container["image"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    job = yaml.safe_load(done.stdout)
    assert pod_of(job)["containers"][0]["image"] == container["image"] != "zoco/zoco:dev"
