"""k8s/ without a cluster: every combination of its components is valid, whole and safe."""

from __future__ import annotations

import json
import re
from pathlib import Path

import kubernetes_validate
import pytest
from manifest_builders import (
    COMPONENTS,
    FILES,
    K8S,
    KUBERNETES,
    ROOT,
    Manifest,
    all_combinations,
    containers,
    matches,
    of_kind,
    pod_labels,
    pod_of,
    read,
    render,
    render_plain,
    workloads,
)

from broker.services import SERVICES
from services.shared.settings import PREFIX, Settings

EVERY = pytest.mark.parametrize("components", all_combinations(), ids=lambda chosen: "+".join(chosen) or "alone")
LABELS = {"app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of"}


@pytest.fixture(scope="module")
def plain() -> list[Manifest]:
    return render_plain()


@EVERY
def test_every_combination_is_valid_and_in_its_namespace(components: tuple[str, ...]) -> None:
    manifests = render(components)
    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "zoco"
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(set(names)) == len(names)


@EVERY
def test_every_combination_goes_into_another_namespace_whole(components: tuple[str, ...]) -> None:
    manifests = render(components, namespace="otra")
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["name"] == "otra"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {manifest["metadata"].get("namespace", "otra") for manifest in manifests} == {"otra"}
    for binding in of_kind(manifests, "RoleBinding"):
        assert {subject.get("namespace", "otra") for subject in binding["subjects"]} == {"otra"}


@EVERY
def test_every_selector_finds_its_pods(components: tuple[str, ...]) -> None:
    manifests = render(components)
    pods = pod_labels(manifests)
    selectors = [service["spec"]["selector"] for service in of_kind(manifests, "Service")]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in of_kind(manifests, "PodDisruptionBudget")]
    for policy in of_kind(manifests, "NetworkPolicy"):
        spec = policy["spec"]
        selectors.append(spec["podSelector"].get("matchLabels", {}))
        for rule in [*spec.get("ingress", ()), *spec.get("egress", ())]:
            for peer in [*rule.get("from", ()), *rule.get("to", ())]:
                if "namespaceSelector" not in peer:
                    selectors.append(peer["podSelector"]["matchLabels"])
    for selector in selectors:
        assert any(matches(selector, labels) for labels in pods), selector
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        found = [labels for labels in pods if matches(workload["spec"]["selector"]["matchLabels"], labels)]
        assert found == [workload["spec"]["template"]["metadata"]["labels"]]


def test_every_object_has_the_recommended_labels(plain: list[Manifest]) -> None:
    for manifest in plain:
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["labels"].keys() >= LABELS, manifest["metadata"]
    for labels in pod_labels(plain):
        assert labels.keys() >= LABELS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_can_be_applied_alone_into_any_namespace(file: Path) -> None:
    for manifest in read(file):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        assert "namespace" not in manifest["metadata"]


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_the_files_that_the_original_names(service: str) -> None:
    for kind in ("deployment", "service", "configmap"):
        assert (K8S / f"{service}-{kind}.yaml").is_file()
    claim, deployment = read(K8S / f"{service}-deployment.yaml")
    (data,) = [volume for volume in pod_of(deployment)["volumes"] if volume["name"] == "data"]
    assert data["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_nothing_is_a_secret_and_every_secret_that_is_wanted_is_made() -> None:
    kinds = {manifest["kind"] for file in K8S.rglob("*.yaml") for manifest in read(file)}
    assert "Secret" not in kinds
    made = set(re.findall(r'"([a-z]+-[a-z]+)", \{', (ROOT / "broker" / "credentials.py").read_text(encoding="utf-8")))
    made |= {f"{service}-rabbitmq" for service in SERVICES}
    job = read(K8S / "secrets-job.yaml")
    (role,) = of_kind(job, "Role")
    assert {rule for rules in role["rules"] for rule in rules.get("resourceNames", ())} == made
    for workload in [manifest for file in FILES for manifest in workloads(read(file))]:
        for volume in pod_of(workload).get("volumes", ()):
            sources = volume.get("projected", {}).get("sources", ())
            wanted = {source["secret"]["name"] for source in sources}
            if "secret" in volume:
                wanted.add(volume["secret"]["secretName"])
            assert wanted <= made
            # A pod without its credentials waits; it does not start as something else.
            assert not any(source["secret"].get("optional") for source in sources)


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_gets_its_own_credentials_and_no_other_services(service: str) -> None:
    (deployment,) = of_kind(read(K8S / f"{service}-deployment.yaml"), "Deployment")
    (volume,) = [volume for volume in pod_of(deployment)["volumes"] if volume["name"] == "secrets"]
    names = {source["secret"]["name"] for source in volume["projected"]["sources"]}
    # The operator is the front door's alone, and by the last one its replicas know each other.
    front = {"operator-token", "replica-secret"} if service == "compras" else set()
    assert names == {f"{service}-rabbitmq", "books-token"} | front


def test_every_pod_is_restricted(plain: list[Manifest]) -> None:
    for workload in workloads(plain):
        pod = pod_of(workload)
        context = pod["securityContext"]
        assert context["runAsNonRoot"]
        assert context["runAsUser"] == (999 if workload["metadata"]["name"] == "rabbitmq" else 10001)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        # Only the Job talks to Kubernetes.
        assert pod["automountServiceAccountToken"] == (workload["kind"] == "Job")
        # Their variables would be settings of ours.
        assert pod["enableServiceLinks"] is False
    for _, container in containers(plain):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        # A limit of CPU would only slow a purchase down.
        assert container["resources"]["limits"].keys() == {"memory"}


def test_every_image_is_ours_or_the_brokers_and_is_not_pulled_when_it_is_there(plain: list[Manifest]) -> None:
    ours = {f"zoco/{service}:dev" for service in SERVICES}
    assert {container["image"] for _, container in containers(plain)} == {*ours, "rabbitmq:4.0-management"}
    assert {container["imagePullPolicy"] for _, container in containers(plain)} == {"IfNotPresent"}
    for name, container in containers(plain):
        if name in SERVICES:
            assert container["image"] == f"zoco/{name}:dev"


@pytest.mark.parametrize("service", SERVICES)
def test_the_probes_ask_what_the_design_says(service: str) -> None:
    (deployment,) = of_kind(read(K8S / f"{service}-deployment.yaml"), "Deployment")
    (container,) = pod_of(deployment)["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    # Nothing that looks at the broker may end a process, or begin its life.
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    drain = next(int(env["value"]) for env in container["env"] if env["name"] == "ZOCO_DRAIN_SECONDS")
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= 2 * (drain + 8)


@pytest.mark.parametrize("service", SERVICES)
def test_replicas_share_a_node_and_a_rollout_takes_none_away_before_another_is_there(service: str) -> None:
    (deployment,) = of_kind(read(K8S / f"{service}-deployment.yaml"), "Deployment")
    (term,) = pod_of(deployment)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert matches(term["labelSelector"]["matchLabels"], labels)
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_every_setting_in_the_manifests_is_one(plain: list[Manifest]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {env["name"] for _, container in containers(plain) for env in container.get("env", ())}
    given |= {name for config in of_kind(plain, "ConfigMap") for name in config["data"]}
    assert {name for name in given if name.startswith(PREFIX)} <= known
    # Kubernetes puts variables with the names of Services into pods that ask for them.
    assert not [service for service in of_kind(plain, "Service") if service["metadata"]["name"].startswith("zoco")]


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "compras"])
def test_the_config_maps_carry_the_seeds(service: str) -> None:
    (config,) = read(K8S / f"{service}-configmap.yaml")
    seed = ROOT / "services" / service / f"{service}.json"
    assert json.loads(config["data"][seed.name]) == json.loads(seed.read_text(encoding="utf-8"))
    (deployment,) = of_kind(read(K8S / f"{service}-deployment.yaml"), "Deployment")
    env = {env["name"]: env.get("value") for env in pod_of(deployment)["containers"][0]["env"]}
    assert env["ZOCO_SEED"] == f"/etc/zoco/{seed.name}"


def test_the_front_door_is_open_in_the_ways_that_the_readme_says(plain: list[Manifest]) -> None:
    def front(manifests: list[Manifest]) -> Manifest:
        (service,) = [one for one in of_kind(manifests, "Service") if one["metadata"]["name"] == "compras"]
        spec: Manifest = service["spec"]
        return spec

    (alone,) = read(K8S / "compras-service.yaml")
    assert alone["spec"]["type"] == "ClusterIP"
    assert front(plain)["type"] == "NodePort"
    assert front(plain)["ports"][0]["nodePort"] == 30080
    assert front(render(("loadbalancer",)))["type"] == "LoadBalancer"
    (ingress,) = of_kind(render(("ingress",)), "Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "compras", "port": {"name": "http"}}
    for service in of_kind(plain, "Service"):
        if service["metadata"]["name"] != "compras":
            assert service["spec"]["type"] == "ClusterIP"


def test_the_policies_name_every_pod_and_let_nothing_in_by_default(plain: list[Manifest]) -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(plain, "NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies.keys() == {"default-deny", "services", "compras", "rabbitmq", "kubernetes-api"}
    services = [{"podSelector": {"matchLabels": {
        "app.kubernetes.io/component": "service", "app.kubernetes.io/part-of": "zoco"}}}]  # fmt: skip
    # The front door reads from all, and who lost its book reads the others'.
    assert policies["services"]["ingress"] == [{"from": services, "ports": [{"port": 8000}]}]
    assert policies["rabbitmq"]["ingress"] == [{"from": services, "ports": [{"port": 5672}]}]
    assert policies["compras"]["ingress"] == [{"ports": [{"port": 8000}]}]
    # Whom each lets out: what no policy says is denied by the first.
    assert {name for name, spec in policies.items() if "egress" in spec} == {"services", "kubernetes-api"}
    assert [rule["ports"][0]["port"] for rule in policies["services"]["egress"]] == [8000, 5672, 53]
    found = {
        labels["app.kubernetes.io/name"]
        for labels in pod_labels(plain)
        if matches(policies["services"]["podSelector"]["matchLabels"], labels)
    }
    assert found == {*SERVICES}


def test_only_who_talks_to_kubernetes_is_let_out_to_it() -> None:
    def talks(components: tuple[str, ...]) -> set[str]:
        manifests = render(components)
        (policy,) = [one for one in of_kind(manifests, "NetworkPolicy") if one["metadata"]["name"] == "kubernetes-api"]
        selector = policy["spec"]["podSelector"]["matchLabels"]
        assert policy["spec"]["egress"] == [{"ports": [{"port": 443}, {"port": 6443}, {"port": 8443}]}]
        out = {labels["app.kubernetes.io/name"] for labels in pod_labels(manifests) if matches(selector, labels)}
        tokens = {
            workload["metadata"]["name"]
            for workload in workloads(manifests)
            if pod_of(workload)["automountServiceAccountToken"]
        }
        assert out == tokens
        return out

    assert talks(()) == {"secrets"}
    assert talks(("knock-down",)) == {"secrets", "compras"}


def test_knocking_down_is_off_unless_chosen_and_then_the_front_door_may_delete_pods_and_nothing_else(
    plain: list[Manifest],
) -> None:
    assert not [env for _, container in containers(plain) for env in container.get("env", ()) if "KNOCK" in env["name"]]
    chosen = render(("knock-down",))
    (role,) = [one for one in of_kind(chosen, "Role") if one["metadata"]["name"] == "knock-down"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]}]
    (binding,) = [one for one in of_kind(chosen, "RoleBinding") if one["metadata"]["name"] == "knock-down"]
    assert binding["roleRef"]["name"] == "knock-down"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "knock-down", "namespace": "zoco"}]
    for deployment in of_kind(chosen, "Deployment"):
        (container,) = pod_of(deployment)["containers"]
        knocks = {"name": "ZOCO_KNOCK_DOWN", "value": "cluster"} in container["env"]
        ours = deployment["metadata"]["name"] == "compras"
        assert (pod_of(deployment).get("serviceAccountName") == "knock-down") == ours == knocks
    assert not of_kind(chosen, "ClusterRole", "ClusterRoleBinding")
    assert not of_kind(plain, "RoleBinding")[1:]


def test_the_readme_has_every_file() -> None:
    text = (K8S / "README.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w./-]+)` \|", text, re.MULTILINE))
    files = {path.name for path in K8S.glob("*.yaml")} | {f"components/{name}" for name in COMPONENTS}
    assert rows == files
