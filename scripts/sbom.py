"""Writes down what is in each service's image, as CycloneDX: `make sbom`, into `dist/sbom-SERVICE.cdx.json`.

What is there comes from uv.lock, for the system that an image is; the base from images.lock. Nothing of it is of the
hour or of this machine: the same commit gives the same bytes (and so no serial number, which may be left out).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from packaging.markers import Marker
from packaging.requirements import Requirement

from broker.services import SERVICES

ROOT: Final = Path(__file__).parents[1]
MARKER: Final = "uv:package:marker"
# What the markers of uv.lock are asked with: an image's system, whatever this machine is.
IMAGE: Final = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "python_version": "3.11"}
Bom = dict[str, Any]


def bom(service: str) -> Bom:
    """Of what a service's image is made."""
    export = ("export", "--quiet", "--frozen", "--only-group", "service", "--no-emit-project")
    locked = json.loads(run(sys.executable, "-m", "uv", *export, "--format", "cyclonedx1.5"))
    components = [component for component in locked["components"] if _installed(component)]
    refs = {component["bom-ref"] for component in components}
    base = base_image(run("scripts/images", "base", "python"))
    image = f"zoco/{service}"
    own = {"type": "container", "bom-ref": image, "name": image, "version": run("scripts/images", "tag", service)}
    graph = [
        {"ref": each["ref"], "dependsOn": [ref for ref in each.get("dependsOn", ()) if ref in refs]}
        for each in locked["dependencies"]
        if each["ref"] in refs
    ]
    direct = [component["bom-ref"] for component in components if component["name"] in _asked_for()]
    return {
        **{name: locked[name] for name in ("bomFormat", "specVersion", "version")},
        "metadata": {"tools": locked["metadata"]["tools"], "component": own},
        "components": [base, *components],
        "dependencies": [{"ref": image, "dependsOn": [base["bom-ref"], *direct]}, *graph],
        # Debian's packages, and Python itself, are the base's own: its digest names them, nobody lists them here.
        "compositions": [{"aggregate": "incomplete", "assemblies": [base["bom-ref"]]}],
    }


def base_image(reference: str) -> Bom:
    name, _, digest = reference.partition("@")
    name, _, tag = name.partition(":")
    version = f"@{quote(digest, safe='')}" if digest else ""
    purl = f"pkg:oci/{name}{version}?repository_url=docker.io/library/{name}&tag={tag}"
    return {"type": "container", "bom-ref": reference, "name": name, "version": tag, "purl": purl}


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _installed(component: Bom) -> bool:
    markers = [each["value"] for each in component.get("properties", ()) if each["name"] == MARKER]
    return all(Marker(marker).evaluate(IMAGE) for marker in markers)


def _asked_for() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {Requirement(line).name for line in project["dependency-groups"]["service"]}


def main() -> None:
    folder = ROOT / "dist"
    folder.mkdir(exist_ok=True)
    for service in SERVICES:
        file = folder / f"sbom-{service}.cdx.json"
        file.write_text(json.dumps(bom(service), indent=2) + "\n", encoding="utf-8")
        print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
