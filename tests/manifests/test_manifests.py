"""k8s/ without a cluster: every combination of its components is valid, whole and safe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from manifest_builders import (
    COMPONENTS,
    FILES,
    K8S,
    ROOT,
    WHOLE,
    Manifest,
    all_combinations,
    containers,
    kustomize,
    matches,
    of_kind,
    pod_labels,
    pod_of,
    read,
    render,
    render_plain,
    template_of,
    valid,
    workloads,
)

from broker.credentials import PARTS
from broker.services import SERVICES
from ops.doctor_database import KEPT_BYTES
from services.shared.settings import PREFIX, Settings

EVERY = pytest.mark.parametrize("components", all_combinations(), ids=lambda chosen: "+".join(chosen) or "alone")
# Images that have a user of their own.
OTHERS = ("rabbitmq", "zoco/postgres:")
LABELS = {"app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of"}


@pytest.fixture(scope="module")
def plain() -> list[Manifest]:
    return render_plain()


@pytest.fixture(scope="module")
def whole() -> list[Manifest]:
    """With all components at once, but for the one that excludes another."""
    return render(WHOLE)


@EVERY
def test_every_combination_is_valid_and_in_its_namespace(components: tuple[str, ...]) -> None:
    manifests = render(components)
    for manifest in manifests:
        # What is KEDA's it brings the schema of, and the API server checks it there.
        if not manifest["apiVersion"].startswith("keda.sh/"):
            valid(json.dumps(manifest))
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
    # What has no selector leads where somebody writes: components/postgres-ha.
    selectors = [service["spec"].get("selector", {}) for service in of_kind(manifests, "Service")]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in of_kind(manifests, "PodDisruptionBudget")]
    for policy in of_kind(manifests, "NetworkPolicy"):
        spec = policy["spec"]
        selectors.append(spec["podSelector"].get("matchLabels", {}))
        for rule in [*spec.get("ingress", ()), *spec.get("egress", ())]:
            for peer in [*rule.get("from", ()), *rule.get("to", ())]:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    selectors.append(peer["podSelector"]["matchLabels"])
    for selector in selectors:
        assert any(matches(selector, labels) for labels in pods), selector
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        found = [labels for labels in pods if matches(workload["spec"]["selector"]["matchLabels"], labels)]
        assert found == [workload["spec"]["template"]["metadata"]["labels"]]


def test_every_object_has_the_recommended_labels(whole: list[Manifest]) -> None:
    for manifest in whole:
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["labels"].keys() >= LABELS, manifest["metadata"]
    for labels in pod_labels(whole):
        assert labels.keys() >= LABELS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_can_be_applied_alone_into_any_namespace(file: Path) -> None:
    for manifest in read(file):
        valid(json.dumps(manifest))
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
    code = (ROOT / "broker" / "credentials.py").read_text(encoding="utf-8")
    named = set(re.findall(r'"([a-z]+-[a-z]+)", (?:\{|passwords)', code))
    named |= {f"{service}-{where}" for service in SERVICES for where in re.findall(r'f"\{service\}-([a-z]+)"', code)}
    made: set[str] = set()
    for job in sorted(K8S.rglob("secrets-job.yaml")):
        (role,) = of_kind(read(job), "Role")
        names = {rule for rules in role["rules"] for rule in rules.get("resourceNames", ())}
        assert not made & names
        made |= names
        parts = of_kind(read(job), "Job")[0]["spec"]["template"]["spec"]["containers"][0]["command"][3:]
        assert [PARTS[part] for part in parts] or job.parent == K8S
    assert made == named
    files = [file for file in K8S.rglob("*.yaml") if file.name != "kustomization.yaml"]
    for workload in [manifest for file in files for manifest in workloads(read(file))]:
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


def test_only_a_job_talks_to_kubernetes(plain: list[Manifest]) -> None:
    for workload in workloads(plain):
        assert pod_of(workload)["automountServiceAccountToken"] == (workload["kind"] == "Job")


def test_every_pod_is_restricted(whole: list[Manifest]) -> None:
    whole = [*whole, *(job for file in sorted(K8S.rglob("restore-job.yaml")) for job in read(file))]
    for workload in workloads(whole):
        pod = pod_of(workload)
        context = pod["securityContext"]
        assert context["runAsNonRoot"]
        assert context["runAsUser"] == (999 if pod["containers"][0]["image"].startswith(OTHERS) else 10001)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        # Their variables would be settings of ours.
        assert pod["enableServiceLinks"] is False
    for _, container in containers(whole):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        # A limit of CPU would only slow a purchase down.
        assert container["resources"]["limits"].keys() == {"memory"}


def test_every_image_of_every_component_is_one_that_make_images_builds(whole: list[Manifest]) -> None:
    ours = {*(f"zoco/{name}:dev" for name in (*SERVICES, "postgres", "zoco"))}
    images = {container["image"] for _, container in containers(whole) if container["image"].startswith("zoco/")}
    assert images == ours
    for name in ours:
        tag = subprocess.run(
            [ROOT / "scripts" / "images", "tag", name.removeprefix("zoco/").removesuffix(":dev")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert re.fullmatch("[0-9a-f]{12}\n", tag.stdout)


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


def test_every_setting_in_the_manifests_is_one(plain: list[Manifest], whole: list[Manifest]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {env["name"] for _, container in containers(whole) for env in container.get("env", ())}
    given |= {name for config in of_kind(whole, "ConfigMap") for name in config["data"]}
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
    # Who leads, and who the others are, stands there.
    assert talks(("postgres-ha",)) == {"secrets", "postgres-secrets", "postgres"}
    assert talks(("rabbitmq-ha",)) == {"secrets", "rabbitmq-secrets", "rabbitmq"}


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


def test_whoever_asks_kubernetes_may_change_what_is_named_and_nothing_else(whole: list[Manifest]) -> None:
    """Kubernetes cannot bind `create`, `list` and `watch` to names; nor `delete` to pods that have none yet."""
    free = {"create", "list", "watch"}
    rules = [(role["metadata"]["name"], rule) for role in of_kind(whole, "Role") for rule in role["rules"]]
    assert {name for name, rule in rules if not rule.get("resourceNames") and {*rule["verbs"]} - free} == {"knock-down"}
    (three,) = [one for one in of_kind(whole, "StatefulSet") if one["metadata"]["name"] == "postgres"]
    members = [f"postgres-{number}" for number in range(three["spec"]["replicas"])]
    (own,) = [
        rule for name, rule in rules if name == "postgres" and "pods" in rule["resources"] and "patch" in rule["verbs"]
    ]
    assert own["resourceNames"] == members


# --- three of everything ---


@pytest.mark.parametrize("name", ["postgres", "rabbitmq"])
def test_each_of_three_stands_on_a_node_of_its_own_and_is_not_killed_for_what_the_others_do(name: str) -> None:
    manifests = render((f"{name}-ha",))
    (three,) = [one for one in of_kind(manifests, "StatefulSet") if one["metadata"]["name"] == name]
    assert three["spec"]["replicas"] == 3
    assert three["spec"]["podManagementPolicy"] == "Parallel"
    (apart,) = pod_of(three)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert matches(apart["labelSelector"]["matchLabels"], three["spec"]["template"]["metadata"]["labels"])
    (budget,) = [one for one in of_kind(manifests, "PodDisruptionBudget") if one["metadata"]["name"] == name]
    assert budget["spec"]["maxUnavailable"] == 1
    (container,) = pod_of(three)["containers"]
    # Not 5432 nor 5672: who waits for the others does not serve, and is well.
    probe = container["livenessProbe"]
    assert probe == {
        "postgres": {"httpGet": {"path": "/liveness", "port": "patroni"}, "failureThreshold": 12},
        "rabbitmq": {"tcpSocket": {"port": 25672}, "failureThreshold": 6},
    }[name] | {"periodSeconds": 10, "timeoutSeconds": 10}


def test_three_databases_confirm_by_two_and_let_in_nobody_but_the_services_and_each_other() -> None:
    manifests = render(("postgres-ha",))
    (config,) = [one for one in of_kind(manifests, "ConfigMap") if one["metadata"]["name"] == "postgres"]
    patroni = yaml.safe_load(config["data"]["patroni.yml"])
    dcs = patroni["bootstrap"]["dcs"]
    assert (dcs["synchronous_mode"], dcs["synchronous_mode_strict"], dcs["failsafe_mode"]) == ("quorum", True, True)
    assert dcs["ttl"] >= dcs["loop_wait"] + 2 * dcs["retry_timeout"], "Patroni would take other numbers"
    ways = [line.split() for line in patroni["postgresql"]["pg_hba"]]
    assert ["local", "all", "postgres", "peer"] in ways
    assert {way[-1] for way in ways if way[0] == "host"} == {"scram-sha-256"}
    assert not [way for way in ways if way[0] == "host" and "postgres" in way[2].split(",")], (
        "the superuser from outside"
    )
    assert set(",".join(way[2] for way in ways if way[1] == "zoco").split(",")) == {*SERVICES}
    roles = (ROOT / "services" / "shared" / "postgres" / "roles.sql").read_text(encoding="utf-8")
    assert all(f"'{service}'" in roles for service in SERVICES)


def test_a_database_that_is_away_fills_nobodys_disk_and_is_named_before_it_is_given_up() -> None:
    manifests = render(("postgres-ha",))
    (config,) = [one for one in of_kind(manifests, "ConfigMap") if one["metadata"]["name"] == "postgres"]
    # Not below `bootstrap`: a cluster that is there takes these, too.
    parameters = yaml.safe_load(config["data"]["patroni.yml"])["postgresql"]["parameters"]
    # PostgreSQL's MB are MiB. While one checkpoint is written, what the next one will write comes on top.
    kept, at_most = (int(parameters[name][:-2]) << 20 for name in ("max_slot_wal_keep_size", "max_wal_size"))
    (three,) = [one for one in of_kind(manifests, "StatefulSet") if one["metadata"]["name"] == "postgres"]
    (claim,) = three["spec"]["volumeClaimTemplates"]
    size = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) << 30
    # A restore leaves what was there beside what it makes: each half holds tables, too.
    assert 2 * (kept + at_most) <= size / 2
    assert kept == 2 * KEPT_BYTES
    alarms = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert f"`zoco_database_slots_wal_bytes > {KEPT_BYTES >> 20} * 2^20`" in alarms


def test_three_brokers_know_each_other_and_their_queues_have_three_members() -> None:
    manifests = render(("rabbitmq-ha",))
    (config,) = [one for one in of_kind(manifests, "ConfigMap") if one["metadata"]["name"] == "rabbitmq"]
    assert config["data"].keys() == {"20-zoco.conf", "30-three.conf", "enabled_plugins"}
    said = dict(line.split(" = ") for line in config["data"]["30-three.conf"].splitlines() if " = " in line)
    prefix = "quorum_queue.continuous_membership_reconciliation"
    assert (said[f"{prefix}.enabled"], said[f"{prefix}.target_group_size"]) == ("true", "3")
    (three,) = of_kind(manifests, "StatefulSet")
    # In whatever DNS domain; and for some thirty years nobody who may not join goes on alone.
    assert said["cluster_formation.k8s.host"] == "kubernetes.default.svc"
    assert int(said["cluster_formation.discovery_retry_limit"]) >= 1_000_000_000
    service = said["cluster_formation.k8s.service_name"]
    assert three["spec"]["serviceName"] == service
    assert said["cluster_formation.k8s.hostname_suffix"] == f".{service}"
    (nodes,) = [one for one in of_kind(manifests, "Service") if one["metadata"]["name"] == service]
    assert nodes["spec"]["clusterIP"] == "None" and nodes["spec"]["publishNotReadyAddresses"]
    (role,) = [one for one in of_kind(manifests, "Role") if one["metadata"]["name"] == "rabbitmq"]
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["endpoints"], "resourceNames": [service], "verbs": ["get"]}
    ]


def test_on_postgresql_no_service_has_a_volume_and_each_pod_stands_apart_and_is_soon_elsewhere() -> None:
    manifests = render(("postgres",))
    assert not of_kind(manifests, "PersistentVolumeClaim")
    for service in SERVICES:
        (deployment,) = [one for one in of_kind(manifests, "Deployment") if one["metadata"]["name"] == service]
        assert deployment["spec"]["replicas"] == 2
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        pod, labels = pod_of(deployment), template_of(deployment)["metadata"]["labels"]
        (container,) = pod["containers"]
        assert {volume["name"] for volume in pod["volumes"]} <= {"seed", "secrets", "tmp"}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert "ZOCO_DATA" not in {env["name"] for env in container["env"]}
        # Its own way into the database, what it had before, and nobody else's.
        (plain,) = of_kind(read(K8S / f"{service}-deployment.yaml"), "Deployment")
        before, after = (
            {
                source["secret"]["name"]
                for volume in one["volumes"]
                for source in volume.get("projected", {}).get("sources", ())
            }
            for one in (pod_of(plain), pod)
        )
        assert after == before | {f"{service}-postgres"}
        assert pod["affinity"].keys() == {"podAntiAffinity"}
        node, zone = pod["topologySpreadConstraints"]
        assert (node["topologyKey"], node["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
        # A dead node counts for none, and a rollout's old pods neither.
        assert (node["nodeTaintsPolicy"], node["matchLabelKeys"]) == ("Honor", ["pod-template-hash"])
        assert zone["whenUnsatisfiable"] == "ScheduleAnyway"
        assert all(matches(one["labelSelector"]["matchLabels"], labels) for one in (node, zone))
        # 50 s until Kubernetes calls a node dead, and the rest of a minute to stand elsewhere.
        kept = {one["key"]: one["tolerationSeconds"] for one in pod["tolerations"]}
        assert kept == {"node.kubernetes.io/unreachable": 0, "node.kubernetes.io/not-ready": 5}
    (policy,) = [one for one in of_kind(manifests, "NetworkPolicy") if one["metadata"]["name"] == "services-database"]
    assert policy["spec"]["egress"] == [{"ports": [{"port": 5432}]}]
    (asked,) = {
        env["value"]
        for _, container in containers(render(("postgres-ha",)))
        for env in container.get("env", ())
        if env["name"] == "ZOCO_STORE_STANDBYS"
    }
    assert asked == "1"


def test_the_overlay_for_three_nodes_is_what_deploy_makes_of_its_components() -> None:
    def sent(manifests: list[Manifest]) -> list[str]:
        return sorted(yaml.safe_dump(manifest) for manifest in manifests)

    assert sent(kustomize(ROOT / "overlays" / "ha")) == sent(render(("postgres", "postgres-ha", "rabbitmq-ha")))


def test_more_pods_come_by_the_length_of_a_services_own_queue_or_by_cpu_and_an_apply_undoes_nothing() -> None:
    for component, kind in (("keda", "ScaledObject"), ("hpa", "HorizontalPodAutoscaler")):
        manifests = render(("postgres", component))
        scaled = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, kind)}
        assert scaled.keys() == {*SERVICES}
        for name, spec in scaled.items():
            assert spec["scaleTargetRef"]["name"] == name
        for deployment in of_kind(manifests, "Deployment"):
            assert "replicas" not in deployment["spec"]
    scaled = {one["metadata"]["name"]: one["spec"] for one in of_kind(render(("keda",)), "ScaledObject")}
    for name, spec in scaled.items():
        (trigger,) = spec["triggers"]
        asked = trigger["metadata"]
        assert (asked["queueName"], asked["protocol"], asked["excludeUnacknowledged"]) == (name, "http", "false")


# --- backups ---


def test_a_backup_is_the_command_that_there_is_and_its_pods_know_no_other_credential(tmp_path: Path) -> None:
    manifests = render(("backup",))
    (nightly,) = of_kind(manifests, "CronJob")
    (restore,) = read(K8S / "components" / "backup" / "restore-job.yaml")
    valid(json.dumps(restore))
    asked = [words := pod_of(nightly)["containers"][0]["args"]]
    asked.append(pod_of(restore)["containers"][0]["args"])
    assert [words[0] for words in asked] == ["backup", "restore"]
    for pod in (pod_of(nightly), pod_of(restore)):
        kept = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        assert kept == {"books-token"}
        assert pod["containers"][0]["envFrom"] == [{"configMapRef": {"name": "compras"}}]
    assert pod_of(nightly)["volumes"] == pod_of(restore)["volumes"]
    # Every word is understood: what is missing here is the shop.
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    words = [str(tmp_path) if word == "/backups" else word for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "zoco", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "is not set: with --settings" in done.stderr, done.stderr


def test_the_past_of_postgresql_is_kept_by_who_may_only_copy_it_and_put_back_beside_it() -> None:
    manifests = render(("postgres-ha", "postgres-backup"))
    (archive,) = [one for one in of_kind(manifests, "Deployment") if one["metadata"]["name"] == "postgres-archive"]
    (daily,) = of_kind(manifests, "CronJob")
    (restore,) = read(K8S / "components" / "postgres-backup" / "restore-job.yaml")
    valid(json.dumps(restore))
    verbs = [pod_of(one)["containers"][0]["command"][1] for one in (archive, daily, restore)]
    script = (K8S / "components" / "postgres-ha" / "zoco-archive").read_text(encoding="utf-8")
    assert all(f"\n  {verb}) " in script for verb in verbs)
    for one in (archive, daily):
        kept = {volume["secret"]["secretName"] for volume in pod_of(one)["volumes"] if "secret" in volume}
        assert kept == {"postgres-backup"}
    # Whoever puts it back reaches nothing, and knows no credential.
    assert not [volume for volume in pod_of(restore)["volumes"] if "secret" in volume]
    label = restore["spec"]["template"]["metadata"]["labels"]
    policies = [one["spec"] for one in of_kind(manifests, "NetworkPolicy") if one["spec"]["podSelector"]]
    assert not [one for one in policies if matches(one["podSelector"]["matchLabels"], label)]
    # A volume is on one node at a time.
    for one, beside in ((archive, "postgres"), (daily, "postgres-archive"), (restore, "postgres-archive")):
        (near,) = pod_of(one)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert near["labelSelector"]["matchLabels"]["app.kubernetes.io/name"] == beside
    # What the script beside it puts into the Job stands there.
    text = (K8S / "components" / "postgres-backup" / "restore-job.yaml").read_text(encoding="utf-8")
    wanted = (K8S / "components" / "postgres-backup" / "restore").read_text(encoding="utf-8")
    for pattern in re.findall(r"s\|([^|]+)\|", wanted):
        assert text.count(pattern) == 1, pattern


def test_a_lost_archive_s_claim_is_gone_before_it_is_applied_again() -> None:
    """It stays for as long as a pod names it, and no Deployment makes a claim."""
    text = " ".join((K8S / "README.md").read_text(encoding="utf-8").split())
    (told,) = re.findall(r"Where the node had the archive's volume, .*? and apply\.", text)
    assert re.findall(r"`kubectl -n zoco delete (.+?)`", told) == [
        "deployment postgres-archive",
        "pvc postgres-archive",
    ]


def test_the_readme_has_every_file() -> None:
    text = (K8S / "README.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w./-]+)` \|", text, re.MULTILINE))
    files = {path.name for path in K8S.glob("*.yaml")} | {f"components/{name}" for name in COMPONENTS}
    assert rows == files
