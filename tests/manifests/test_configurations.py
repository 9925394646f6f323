"""A changed ConfigMap starts the pods anew that read it when they start: its sum stands in their template. Not in its
name, as kustomize would have it: each file can be applied alone, too."""

from __future__ import annotations

import hashlib
import json

import pytest
from manifest_builders import of_kind, pod_of, render, template_of, workloads

from broker.services import SERVICES

SUM = "zoco/configuration"


@pytest.mark.parametrize("components", [(), ("rabbitmq-ha",), ("postgres-ha",), ("digests",)])
def test_a_changed_configuration_starts_its_brokers_and_databases_anew(components: tuple[str, ...]) -> None:
    manifests = render(components)
    configs = {one["metadata"]["name"]: one["data"] for one in of_kind(manifests, "ConfigMap")}
    for owner in of_kind(manifests, "StatefulSet"):
        names = {volume["configMap"]["name"] for volume in pod_of(owner)["volumes"] if "configMap" in volume}
        data = json.dumps([configs[name] for name in sorted(names)], sort_keys=True)
        wanted = hashlib.sha256(data.encode()).hexdigest()[:12]
        said = template_of(owner)["metadata"]["annotations"][SUM]
        assert said == wanted, f"{SUM} of {owner['metadata']['name']} with {components} is to be {wanted}"


def test_who_else_reads_a_config_map_when_it_starts_is_restarted_by_hand_as_the_readme_says() -> None:
    """The services: their seed, and where the front door finds the others."""
    manifests = render(("postgres", "postgres-ha", "rabbitmq-ha", "postgres-backup", "backup"))
    readers = {
        owner["metadata"]["name"]
        for owner in workloads(manifests)
        if any("configMap" in volume for volume in pod_of(owner).get("volumes", ()))
        and SUM not in template_of(owner)["metadata"].get("annotations", {})
    }
    assert readers <= {*SERVICES}


def test_a_job_that_is_done_does_not_refuse_the_next_version() -> None:
    for job in of_kind(render(("postgres-ha", "rabbitmq-ha")), "Job"):
        assert 0 < job["spec"]["ttlSecondsAfterFinished"] <= 3600
