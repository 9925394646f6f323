"""Zoco as `pip install` leaves it: a wheel in an environment of its own, used in a folder that has nothing of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from shop_builders import Shop, start

ROOT = Path(__file__).parents[2]
UV = (sys.executable, "-m", "uv")
# What is ours inside the wheel may be the user's, too, and is then no less theirs.
NAMES = ("services", "broker", "ops", "loadgen")
OTHERS = 'raise SystemExit("this is the user\'s own")\n'


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    # Nothing of this checkout: neither its environment nor where the tests find their modules.
    clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env={**clean, **env}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run(*UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which the wheel is, and what it asks for, in the versions of the lock file."""
    folder = tmp_path_factory.mktemp("environment")
    asked = ("--frozen", "--no-hashes", "--no-default-groups", "--no-emit-project", "--quiet")
    locked = run(*UV, "export", *asked, "--project", ROOT, cwd=folder)
    (folder / "locked.txt").write_text(locked.stdout, encoding="utf-8")
    for words in (
        ("venv", "--quiet", "--python", sys.executable, folder / "venv"),
        ("pip", "install", "--quiet", "--python", folder / "venv", "--constraint", folder / "locked.txt", wheel),
    ):
        done = run(*UV, *words, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "venv" / "bin"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A folder with packages of these names, none of them ours."""
    folder = tmp_path / "users"
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(OTHERS, encoding="utf-8")
    return folder


def test_nothing_in_the_wheel_has_a_name_that_may_be_somebody_elses(wheel: Path) -> None:
    with ZipFile(wheel) as files:
        first = {name.split("/")[0] for name in files.namelist()}
    assert first == {"zoco", f"zoco-{metadata.version('zoco')}.dist-info"}


@pytest.mark.parametrize("way", [["zoco"], ["python", "-m", "zoco"]])
def test_an_installed_zoco_says_what_it_is_beside_a_users_own_packages(
    installed: Path, users: Path, way: list[str]
) -> None:
    program = (installed / way[0], *way[1:])
    version = run(*program, "--version", cwd=users)
    assert (version.stdout, version.stderr) == (metadata.version("zoco") + "\n", "")
    assert "dead-letters" in run(*program, "--help", cwd=users).stdout
    nothing = run(*program, "buy", "1", "101", cwd=users)
    assert nothing.returncode == 2 and "start it with `zoco up`" in nothing.stderr
    theirs = run(installed / "python", "-c", "import zoco, services", cwd=users)
    assert theirs.stderr == "this is the user's own\n"


@pytest.fixture
def shop(installed: Path, users: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    for name in ("VIRTUAL_ENV", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(users)
    shop = start(users, command=(str(installed / "zoco"), "up"))
    yield shop
    shop.stop()


def test_an_installed_zoco_runs_a_shop_beside_a_users_own_packages(installed: Path, users: Path, shop: Shop) -> None:
    zoco, data = installed / "zoco", ("--data", shop.data)
    bought = run(zoco, "buy", "1", "101", *data, cwd=users)
    assert bought.returncode == 0 and "registrada" in bought.stdout
    loaded = run(zoco, "load", "--workers", "2", "--rate", "20", "--for", "2", *data, cwd=users)
    assert loaded.returncode == 0, loaded.stderr
    audited = run(zoco, "audit", *data, cwd=users)
    assert audited.returncode == 0, audited.stderr
    assert sorted(path.name for path in users.iterdir()) == sorted([*NAMES, ".drill", "data", "up.log"])
