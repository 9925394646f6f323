"""What others made, and how we know that it is still that: digests, hashes, and the list of what is in each image."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import digests
import pytest
import sbom
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from manifest_builders import ROOT, containers, copy_what_makes_images, render
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from broker.services import SERVICES

LOCK = (ROOT / "images.lock").read_text(encoding="utf-8")
PINNED = {f"{name}:{tag}": digest for name, tag, digest in digests.LINE.findall(LOCK)}
INDEX = "application/vnd.oci.image.index.v1+json"
# What says where an image comes from, in Dockerfiles and in manifests, compose files and code that holds such.
NAMED = re.compile(
    r"^(?:ARG (?:PYTHON|POSTGRES)=|FROM |COPY --from=|\s*(?:- )?\"?image\"?: *)[\"']?([^\s\"',]+)", re.MULTILINE
)


def our_files() -> list[Path]:
    folders = ("broker", "services", "ops", "loadgen", "zoco", "scripts", "k8s", "tests", "docs", ".ci")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return inside + [path for path in ROOT.iterdir() if path.is_file()]


def named_images() -> set[str]:
    found: set[str] = set()
    for file in our_files():
        if file.name == "Dockerfile" or file.suffix in (".yaml", ".yml"):
            text = file.read_text(encoding="utf-8")
            stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
            found |= set(NAMED.findall(text)) - stages - {"$PYTHON", "$POSTGRES"}
    return found


# --- images of others ---


def test_every_image_of_others_is_in_the_lock_with_a_digest_and_no_other_is() -> None:
    theirs = {image for image in named_images() if not image.startswith("zoco/")}
    assert theirs == PINNED.keys()
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    assert len(lines) == len(PINNED)


def test_rabbitmqs_image_is_the_one_of_the_lock_where_digests_are_chosen() -> None:
    images = {container["image"] for _, container in containers(render(("digests",)))}
    assert images == {*(f"zoco/{service}:dev" for service in SERVICES), f"rabbitmq@{PINNED['rabbitmq:4.0-management']}"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    copy_what_makes_images(tmp_path)
    return tmp_path


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value for name, value in os.environ.items() if name not in ("IMAGE_BUILD", "BASE_IMAGES", "REGISTRY")
    }
    return subprocess.run(
        command, cwd=cwd, env={**clean, "KUBECONFIG": os.devnull, **env}, capture_output=True, text=True, check=False
    )


def test_docker_builds_on_the_digest_and_another_builder_when_it_is_told_to(checkout: Path) -> None:
    (checkout / "bin").mkdir()
    docker = checkout / "bin" / "docker"
    docker.write_text('#!/bin/sh\necho "docker $*"\n', encoding="utf-8")
    docker.chmod(0o755)
    pinned = f"--build-arg PYTHON=python:3.11-slim@{PINNED['python:3.11-slim']} "
    path = f"{docker.parent}:{os.environ['PATH']}"
    for wanted, env in (
        (f"docker build {pinned}-t", {"REGISTRY": "registry.example", "PATH": path}),
        ("docker build -t", {"REGISTRY": "registry.example", "PATH": path, "BASE_IMAGES": "tags"}),
        ("built -t", {"IMAGE_BUILD": "echo built"}),
        (f"built {pinned}-t", {"IMAGE_BUILD": "echo built", "BASE_IMAGES": "digests"}),
    ):
        done = run("scripts/images", "tokens", cwd=checkout, **env)
        assert done.returncode == 0, done.stderr
        assert [line for line in done.stdout.splitlines() if line.startswith(wanted)], done.stdout
    assert run("scripts/images", "tokens", cwd=checkout, BASE_IMAGES="latest").returncode == 2


@pytest.mark.parametrize(
    ("by", "digest"), [({}, True), ({"BASE_IMAGES": "tags"}, False), ({"IMAGE_BUILD": "x"}, False)]
)
def test_deploy_asks_for_rabbitmq_by_the_digest(checkout: Path, by: dict[str, str], digest: bool) -> None:
    done = run("scripts/deploy", cwd=checkout, COMPONENTS="loadbalancer", **by)
    assert done.returncode != 0, "there is no cluster to put it into"
    rendered = run("kubectl", "kustomize", ".deploy", cwd=checkout)
    assert rendered.returncode == 0, rendered.stderr
    images = {container["image"] for _, container in containers(list(yaml.safe_load_all(rendered.stdout)))}
    (rabbitmq,) = (image for image in images if not image.startswith("zoco/"))
    tag = "rabbitmq:4.0-management"
    assert rabbitmq == (f"rabbitmq@{PINNED[tag]}" if digest else tag)


class Registry(http.server.BaseHTTPRequestHandler):
    """As Docker's: gives anyone a token, and no manifest without it. What it has stands in the server's `images`."""

    def do_GET(self) -> None:
        images: dict[str, tuple[str, bytes]] = self.server.images  # type: ignore[attr-defined]
        here = f"http://127.0.0.1:{self.server.server_address[1]}"  # type: ignore[index]
        if self.path.startswith("/token?"):
            self.answer(200, "application/json", json.dumps({"token": self.path}).encode())
        elif self.path not in images:
            self.answer(404, "text/plain", b"")
        elif not self.headers["Authorization"]:
            challenge = f'Bearer realm="{here}/token",service="registry",scope="repository:{self.path}:pull"'
            self.answer(401, "text/plain", b"", challenge)
        elif "scope=repository" not in self.headers["Authorization"] or INDEX not in self.headers["Accept"]:
            self.answer(403, "text/plain", b"")
        else:
            self.answer(200, *images[self.path])

    def answer(self, status: int, kind: str, body: bytes, challenge: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", "sha256:" + 64 * "0")
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[tuple[str, dict[str, tuple[str, bytes]]]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        server.images = {}  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", server.images  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def manifest(image: str) -> str:
    name, _, tag = image.partition(":")
    return f"/v2/library/{name}/manifests/{tag}"


def test_new_digests_are_those_of_the_bytes_that_came_and_are_written_wherever_they_stand(
    checkout: Path, registry: tuple[str, dict[str, tuple[str, bytes]]]
) -> None:
    url, images = registry
    for image in PINNED:
        images[manifest(image)] = (INDEX, image.encode())
    expected = {image: f"sha256:{hashlib.sha256(image.encode()).hexdigest()}" for image in PINNED}
    assert digests.renew(checkout, url) == [f"{image}@{digest}" for image, digest in expected.items()]
    lock = (checkout / "images.lock").read_text(encoding="utf-8")
    assert {f"{name}:{tag}": digest for name, tag, digest in digests.LINE.findall(lock)} == expected
    assert expected["rabbitmq:4.0-management"] in (checkout / digests.COMPONENT).read_text(encoding="utf-8")
    assert digests.renew(checkout, url) == []


@pytest.mark.parametrize("kind", [None, "application/vnd.oci.image.manifest.v1+json"])
def test_an_image_of_one_platform_is_no_index_and_then_nothing_is_changed(
    kind: str | None, checkout: Path, registry: tuple[str, dict[str, tuple[str, bytes]]]
) -> None:
    url, images = registry
    images[manifest("python:3.11-slim")] = (INDEX, b"newer")
    if kind:
        images[manifest("rabbitmq:4.0-management")] = (kind, b"{}")
    with pytest.raises(digests.NoDigest, match="rabbitmq"):
        digests.renew(checkout, url)
    assert (checkout / "images.lock").read_text(encoding="utf-8") == LOCK


# --- packages ---


def test_every_file_in_the_lock_comes_from_the_index_and_has_a_hash() -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    for package in packages:
        if package["name"] != "zoco":
            assert package["source"] == {"registry": "https://pypi.org/simple"}, package["name"]
            files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
            assert files and all(file["hash"].startswith("sha256:") for file in files), package["name"]
            # An image is built with --no-build: nobody's setup.py runs there.
            assert package.get("wheels"), f"{package['name']} must be built"


def test_whatever_pip_installs_has_hashes_and_so_has_what_builds_zoco() -> None:
    requirements = (ROOT / "requirements-uv.txt").read_text(encoding="utf-8")
    lines = re.sub(r"#.*\n", "", requirements).replace("\\\n", "").splitlines()
    assert [line.split()[0].partition("==")[0] for line in lines] == ["uv"]
    assert all(re.fullmatch(r"\S+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", line) for line in lines)
    installing = [
        file for file in our_files() if file.name in ("Dockerfile", "Makefile") or file.parent.name == "scripts"
    ]
    found = [
        line
        for file in installing
        for line in re.findall(r"pip install.*", file.read_text(encoding="utf-8").replace("\\\n", ""))
    ]
    # Each service's image, the command's, and make.
    assert len(found) == len(SERVICES) + 2
    assert all(line.endswith("--require-hashes --requirement requirements-uv.txt") for line in found), found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    builders = {Requirement(line).name for line in project["build-system"]["requires"]}
    assert builders <= {Requirement(line).name for line in project["dependency-groups"]["dev"]}
    assert project["tool"]["uv"]["no-build-isolation-package"] == [project["project"]["name"]]


# --- what is in an image ---


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What uv really puts into an image, on whatever machine this is: name==version."""
    folder = tmp_path_factory.mktemp("image")
    uv = (sys.executable, "-m", "uv")
    export = ("export", "--quiet", "--frozen", "--only-group", "service", "--no-emit-project")
    locked = run(*uv, *export, "--output-file", folder / "locked.txt", cwd=ROOT)
    assert locked.returncode == 0, locked.stderr
    system = ("--python-platform", "linux", "--python-version", "3.11", "--only-binary", ":all:")
    install = ("pip", "install", "--quiet", "--no-deps", "--require-hashes", *system)
    done = run(*uv, *install, "--target", folder / "there", "--requirement", folder / "locked.txt", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = [path.name.removesuffix(".dist-info").split("-") for path in (folder / "there").glob("*.dist-info")]
    return {f"{canonicalize_name(name)}=={version}" for name, version in found}


@pytest.mark.parametrize("service", SERVICES)
def test_the_bill_of_materials_is_valid_and_lists_what_is_in_the_image_and_nothing_else(
    service: str, installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGE_BUILD", raising=False)
    bom = sbom.bom(service)
    text = json.dumps(bom)
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    base, *packages = bom["components"]
    assert {f"{package['name']}=={package['version']}" for package in packages} == installed
    assert all(file["hashes"] for package in packages for file in package["externalReferences"])
    assert base["bom-ref"] == f"python:3.11-slim@{PINNED['python:3.11-slim']}"
    image = bom["metadata"]["component"]
    assert image["name"] == f"zoco/{service}"
    assert image["version"] == run("scripts/images", "tag", service, cwd=ROOT).stdout.strip()
    reached, ahead = set(), [image["bom-ref"]]
    needs = {each["ref"]: each["dependsOn"] for each in bom["dependencies"]}
    while ahead:
        ref = ahead.pop()
        reached.add(ref)
        ahead += [needed for needed in needs.get(ref, ()) if needed not in reached]
    assert reached == {image["bom-ref"], *(component["bom-ref"] for component in bom["components"])}


def test_the_same_commit_gives_the_same_bill() -> None:
    assert json.dumps(sbom.bom("tokens")) == json.dumps(sbom.bom("tokens"))
