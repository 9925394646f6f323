"""Which pod `--kube` takes, of pods as k8s/ makes them, on a cluster that only writes down what it is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from manifest_builders import Manifest, of_kind, pod_of, render
from patience import wait_until
from typer.testing import CliRunner

from broker.services import SERVICES
from ops.cluster import Cluster, KubeError
from zoco.cli import app

KUBECTL: Final = """#!/bin/sh
echo "$*" >>"$FOLDER/asked"
case "$*" in
*"get pods"*) cat "$FOLDER/pods" ;;
*" exec "*) cat "$FOLDER/writer" ;;
*"get endpoints postgres"*) cat "$FOLDER/leader" ;;
*port-forward*)
  echo "Forwarding from 127.0.0.1:1 -> 8000"
  head -c 1048576 /dev/zero | tr '\\0' '\\n'
  echo >"$FOLDER/served" ;;
*spec.replicas*) cat "$FOLDER/replicas" ;;
*"get scaledobjects"*)
  cat "$FOLDER/scaled" 2>/dev/null && exit
  echo 'error: the server does not have a resource type "scaledobjects"' >&2
  exit 1 ;;
esac
"""
POSTGRES: Final = ("postgres", "postgres-ha", "rabbitmq-ha")


class Pods:
    """What runs: three of one workload, the last of which are ready."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, components: tuple[str, ...], name: str, ready: int, ending: int = 0) -> None:
        (owner,) = [
            one for one in of_kind(render(components), "Deployment", "StatefulSet") if one["metadata"]["name"] == name
        ]
        self.put("pods", json.dumps({"items": [pod(owner, number, 3 - ready <= number) for number in range(3)]}))
        items = json.loads((self._folder / "pods").read_text(encoding="utf-8"))["items"]
        for one in items[3 - ending :]:
            one["metadata"]["deletionTimestamp"] = "2026-12-01T00:00:00Z"
        self.put("pods", json.dumps({"items": items}))

    def put(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8")

    def changed(self) -> list[str]:
        lines = (self._folder / "asked").read_text(encoding="utf-8").splitlines()
        return [line.removeprefix("--namespace zoco ") for line in lines if " get " not in line]


def pod(owner: Manifest, number: int, ready: bool) -> dict[str, Any]:
    volumes = [*pod_of(owner)["volumes"], *({"name": one["metadata"]["name"]} for one in claims(owner))]
    return {
        "metadata": {"name": f"{owner['metadata']['name']}-{number}"},
        "spec": {"volumes": volumes},
        "status": {
            "podIP": f"10.0.0.{number}",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def claims(owner: Manifest) -> list[Manifest]:
    found: list[Manifest] = owner["spec"].get("volumeClaimTemplates", [])
    return found


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pods]:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL, encoding="utf-8")
    kubectl.chmod(0o755)
    found = Pods(tmp_path)
    found.put("replicas", "3")
    # Rendered by the real one, and kept.
    for components in ((), POSTGRES):
        render(components)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FOLDER", str(tmp_path))
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_of_pods_on_files_it_is_the_one_that_writes_and_one_that_is_ready_is_asked_who_that_is(
    service: str, pods: Pods
) -> None:
    pods.run((), service, ready=1)
    pods.put("writer", "http://10.0.0.1:8000")
    assert Cluster().writer(service) == f"{service}-1"
    assert pods.changed() == [f"exec {service}-2 -- cat /data/writer"]


@pytest.mark.parametrize("name", [*SERVICES, "rabbitmq"])
def test_where_all_decide_it_is_one_that_is_ready_and_none_that_ends(name: str, pods: Pods) -> None:
    pods.run(POSTGRES, name, ready=2, ending=1)
    assert Cluster().writer(name) == f"{name}-1"
    pods.run(POSTGRES, name, ready=0)
    with pytest.raises(KubeError, match="is ready"):
        Cluster().writer(name)


def test_of_the_databases_the_one_that_leads_is_killed(pods: Pods) -> None:
    pods.run(POSTGRES, "postgres", ready=3)
    pods.put("leader", "postgres-2")
    done = CliRunner().invoke(app, ["kill", "postgres", "--kube"])
    assert done.exit_code == 0, done.output
    assert pods.changed() == ["delete pod postgres-2 --grace-period=0 --force"]
    done = CliRunner().invoke(app, ["kill", "postgres", "--kube", "--for", "0.1"])
    assert done.exit_code == 0, done.output
    assert pods.changed()[1:] == [
        "scale statefulset/postgres --replicas=0",
        "delete pod postgres-0 postgres-1 postgres-2 --grace-period=0 --force",
        "scale statefulset/postgres --replicas=3",
    ]
    pods.put("leader", "")
    with pytest.raises(KubeError, match="leads"):
        Cluster().writer("postgres")


def test_a_port_that_is_forwarded_serves_however_much_kubectl_says(pods: Pods, tmp_path: Path) -> None:
    """It says a line of each connection, before it serves it."""
    assert pods
    with Cluster().forwarded("tokens") as url:
        assert url == "http://127.0.0.1:1"
        wait_until((tmp_path / "served").exists, "kubectl waits for whoever reads what it says")


PAUSE: Final = "autoscaling.keda.sh/paused-replicas"
AWAY: Final = [
    "scale deployment/tokens --replicas=0",
    "delete pod tokens-0 tokens-1 tokens-2 --grace-period=0 --force",
]


@pytest.mark.parametrize(
    ("annotations", "afterwards"), [(None, f"{PAUSE}-"), ({"one": "2"}, f"{PAUSE}-"), ({PAUSE: "2"}, f"{PAUSE}=2")]
)
def test_keda_starts_none_while_a_service_is_kept_down_and_is_then_as_it_was(
    annotations: dict[str, str] | None, afterwards: str, pods: Pods
) -> None:
    pods.run(POSTGRES, "tokens", ready=3)
    said = {"metadata": {"name": "tokens"} | ({} if annotations is None else {"annotations": annotations})}
    pods.put("scaled", json.dumps(said))
    done = CliRunner().invoke(app, ["kill", "tokens", "--kube", "--for", "0.1"])
    assert done.exit_code == 0, done.output
    paused = "annotate scaledobjects.keda.sh tokens --overwrite"
    assert pods.changed() == [
        f"{paused} {PAUSE}=0",
        *AWAY,
        f"{paused} {afterwards}",
        "scale deployment/tokens --replicas=3",
    ]


@pytest.mark.parametrize("scaled", [None, ""])
def test_where_keda_is_not_or_scales_nothing_it_is_not_told_to_pause(scaled: str | None, pods: Pods) -> None:
    pods.run(POSTGRES, "tokens", ready=3)
    if scaled is not None:
        pods.put("scaled", scaled)
    done = CliRunner().invoke(app, ["kill", "tokens", "--kube", "--for", "0.1"])
    assert done.exit_code == 0, done.output
    assert pods.changed() == [*AWAY, "scale deployment/tokens --replicas=3"]


@pytest.mark.parametrize(
    ("name", "paused", "cure"),
    [
        ("postgres", None, "`make deploy`"),
        ("tokens", None, "`make deploy`"),
        # It would be taken down again by KEDA.
        ("tokens", "0", f"`kubectl --namespace zoco annotate scaledobjects.keda.sh tokens {PAUSE}-`"),
    ],
)
def test_who_is_kept_down_already_is_not_left_so_for_good(name: str, paused: str | None, cure: str, pods: Pods) -> None:
    """Whoever keeps it down knows how many there were."""
    pods.put("leader", "postgres-2")
    pods.put("replicas", "0")
    if paused is not None:
        pods.put("scaled", json.dumps({"metadata": {"annotations": {PAUSE: paused}}}))
    with pytest.raises(KubeError) as raised:
        Cluster().kill(name, 0.1)
    assert str(raised.value).startswith(f"{name} is down already") and cure in str(raised.value)
    assert pods.changed() == []
