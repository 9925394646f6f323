"""The Dockerfiles, and the tags that `make images` gives."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from manifest_builders import ROOT, copy_what_makes_images
from patience import wait_until
from shop_builders import answers

from broker.services import SERVICES
from ops.process import free_port

LOCKS = ("uv.lock", "requirements-uv.txt", "images.lock")
EVERY = pytest.mark.parametrize("service", SERVICES)


def dockerfile(service: str) -> str:
    return (ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8")


@EVERY
def test_an_image_is_of_one_service_and_runs_as_nobody(service: str) -> None:
    text = dockerfile(service)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"$PYTHON"}
    # What is in the lock and nothing else, and none of it built here.
    assert "uv sync --quiet --frozen --no-build --no-install-project --only-group service" in text
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    (command,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    assert json.loads(command)[:2] == ["uvicorn", f"services.{service}.main:app"]
    assert "--port" in command
    copied = set(re.findall(r"^COPY (services/\S+) ", text, re.MULTILINE))
    assert copied == {"services/__init__.py", "services/rebuild", "services/shared", f"services/{service}"}


def test_an_image_listens_on_both_kinds_of_address(tmp_path: Path) -> None:
    """`--host ::` would be IPv6 alone: asyncio and uvloop see to that."""
    (command,) = re.findall(r"^CMD (.*)$", dockerfile("tokens"), re.MULTILINE)
    program, *words = json.loads(command)
    port = free_port()
    words[words.index("--port") + 1] = str(port)
    env = {name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")}
    with subprocess.Popen([sys.executable, "-m", program, *words], env=env | {"ZOCO_DATA": str(tmp_path)}) as process:
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/livez"), "it does not answer by IPv4")
            assert answers(f"http://[::1]:{port}/livez") or not socket.has_dualstack_ipv6()
        finally:
            process.terminate()


@EVERY
def test_the_four_differ_only_where_they_must(service: str) -> None:
    mine = dockerfile(service).replace(service, "SERVICE")
    assert mine == dockerfile("tokens").replace("tokens", "SERVICE")


def test_a_tag_is_made_of_what_goes_into_the_image_and_of_nothing_else(tmp_path: Path) -> None:
    copy_what_makes_images(tmp_path)
    shutil.copy(ROOT / "README.md", tmp_path)

    def tags() -> dict[str, str]:
        return {
            service: subprocess.run(
                [tmp_path / "scripts" / "images", "tag", service], capture_output=True, text=True, check=True
            ).stdout.strip()
            for service in SERVICES
        }

    before = tags()
    assert len(set(before.values())) == len(SERVICES)
    (tmp_path / "README.md").write_text("other", encoding="utf-8")
    (tmp_path / "broker" / "__pycache__").mkdir()
    (tmp_path / "broker" / "__pycache__" / "bus.pyc").write_text("other", encoding="utf-8")
    assert tags() == before
    with (tmp_path / "services" / "tokens" / "domain.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    after = tags()
    assert {service for service in SERVICES if after[service] != before[service]} == {"tokens"}
    for changed in ("broker/amqp/bus.py", "services/rebuild/run.py", "services/shared/store.py", *LOCKS):
        before = tags()
        text = (tmp_path / changed).read_text(encoding="utf-8")
        (tmp_path / changed).write_text(f"{text.replace('sha256:', 'sha256:0')}# changed\n", encoding="utf-8")
        after = tags()
        assert all(after[service] != before[service] for service in SERVICES), f"{changed} is in every image"


@pytest.mark.parametrize("name", [*SERVICES, "postgres", "zoco"])
def test_whatever_an_image_copies_makes_its_tag(name: str) -> None:
    """A tag that stays is an image that is on every node already: nothing is built."""
    folder = {"postgres": "k8s/components/postgres-ha", "zoco": "zoco"}.get(name, f"services/{name}")
    text = (ROOT / folder / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line.split()[1:-1] for line in text.splitlines() if re.match("COPY (?!--from)", line)]
    copied = {ROOT / source for words in lines for source in words}
    assert len(copied) > 3 and all(path.exists() for path in copied)
    said = subprocess.run([ROOT / "scripts" / "images", "sources", name], capture_output=True, text=True, check=True)
    made = {ROOT / source for source in said.stdout.splitlines()}
    files = {one for path in copied for one in (path.rglob("*") if path.is_dir() else (path,)) if one.is_file()}
    missing = {one for one in files - made if "__pycache__" not in one.parts}
    # The Dockerfile itself, too.
    assert not missing and ROOT / folder / "Dockerfile" in made, missing


@EVERY
def test_what_an_image_has_needs_no_file_that_it_does_not_have(service: str, tmp_path: Path) -> None:
    for source, target in re.findall(r"^COPY ((?:broker|services)\S*) (\S+)$", dockerfile(service), re.MULTILINE):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / target)
        else:
            (tmp_path / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / target)
    # The project itself is installed too: only what is found first, in this folder, is what the image has.
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    # All of them: `python -m services.rebuild.migration` is started in there, too.
    modules = [".".join(path.relative_to(tmp_path).with_suffix("").parts) for path in tmp_path.rglob("*.py")]
    everything = f"import importlib\nfor name in {modules}: importlib.import_module(name)\n"
    program = [sys.executable, "-c", f"{everything}import services.{service}.main as main; print(main.__file__)"]
    done = subprocess.run(program, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


@EVERY
def test_what_an_image_compiles_is_the_same_whenever_and_wherever_that_is_done(service: str, tmp_path: Path) -> None:
    (command,) = re.findall(r"^RUN python (-m compileall .*)$", dockerfile(service), re.MULTILINE)
    made = []
    for day in (1, 2):
        folder = tmp_path / "app"
        shutil.copytree(ROOT / "services" / service, folder / "services", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "broker").mkdir()
        for path in folder.rglob("*.py"):
            os.utime(path, (day * 86400, day * 86400))
        subprocess.run([sys.executable, *command.split()], cwd=folder, check=True)
        made.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.pyc")})
        shutil.rmtree(folder)
    assert made[0]
    assert made[0] == made[1]
    assert "PYC_INVALIDATION_MODE=UNCHECKED_HASH" in dockerfile(service)


def test_the_commands_image_has_all_that_the_command_is_made_of_and_runs_as_nobody() -> None:
    text = (ROOT / "zoco" / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"$PYTHON"}
    assert "uv sync --quiet --frozen --no-build --no-install-project --no-default-groups" in text
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(re.findall(r"^COPY (\w+) \w+$", text, re.MULTILINE)) == packages
    needed = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert all(f"!{name}\n" in needed for name in packages)
