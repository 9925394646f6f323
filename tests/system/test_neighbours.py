"""Another local user, beside a shop that runs: nothing to read, no lock to take, no command to run in the broker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop_builders import Shop, processes_of, start

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
NOBODY = 65534
# What can be done with each of these paths and processes.
PROGRAM = """
import fcntl, json, os, sys
told = json.load(sys.stdin)
# Who started it may have its Python where nobody else may look.
os.setgroups([])
os.setgid(told["user"])
os.setuid(told["user"])

def tried(work):
    try:
        return work()
    except OSError:
        return None

def locked(path):
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

done = {"read": [], "written": [], "listed": [], "locked": [], "killed": [], "environ": [], "cmdline": ""}
for path in told["paths"]:
    for what, work in {
        "read": lambda: open(path, "rb").read(1) is not None,
        "written": lambda: open(path, "ab").close() is None,
        "listed": lambda: os.listdir(path) is not None,
        "locked": lambda: locked(path) is None,
    }.items():
        if tried(work):
            done[what].append(path)
for pid in told["pids"]:
    if tried(lambda: os.kill(pid, 0) is None):
        done["killed"].append(pid)
    if tried(lambda: open(f"/proc/{pid}/environ", "rb").read()):
        done["environ"].append(pid)
    done["cmdline"] += tried(lambda: open(f"/proc/{pid}/cmdline").read()) or ""
json.dump(done, sys.stdout)
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Shop]:
    """A shop in a folder that everybody may enter, of somebody whose files are for everybody."""
    folder = Path(tempfile.mkdtemp(prefix="zoco-neighbours-"))
    folder.chmod(0o755)
    before = os.umask(0)
    try:
        shop = start(folder)
    finally:
        os.umask(before)
    yield shop
    shop.stop()
    shutil.rmtree(folder)


def as_nobody(*words: str, **env: str) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={"PATH": os.environ["PATH"], **env},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
    )
    return done.stdout


def files_of(shop: Shop) -> list[str]:
    return [str(shop.data), *(str(path) for path in shop.data.rglob("*"))]


def secrets_of(shop: Shop) -> list[str]:
    files = ("operator-token", "books-token", "rabbitmq/password", "rabbitmq/.erlang.cookie")
    return [(shop.data / name).read_text(encoding="utf-8") for name in files]


async def test_nothing_is_read_or_written_or_locked_and_no_process_tells_a_secret(shared: Shop) -> None:
    async with shared.client() as client:
        await client.prepare(users=[1], tokens=[101], saldo=10, precio=1)
        await client.buy(1, 101)
        await client.quiet()
    pids = list(processes_of(shared.data.parent))
    assert len(pids) >= 6
    files = files_of(shared)
    assert {"lock", "up.lock", "up.json"} <= {Path(path).name for path in files}
    told = {"paths": files, "pids": pids, "user": NOBODY}
    words = (sys.executable, "-c", PROGRAM)
    done = json.loads(
        subprocess.run(words, input=json.dumps(told), stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    assert {what: done[what] for what in ("read", "written", "listed", "locked", "killed", "environ")} == {
        "read": [], "written": [], "listed": [], "locked": [], "killed": [], "environ": []
    }  # fmt: skip
    # Everybody sees what was typed.
    assert "services.compras.main" in done["cmdline"]
    assert not [secret for secret in secrets_of(shared) if secret in done["cmdline"]]


def test_the_brokers_cookie_is_no_guess_and_who_has_another_runs_nothing(shared: Shop) -> None:
    file = shared.data / "rabbitmq" / ".erlang.cookie"
    assert re.fullmatch(r"[0-9a-f]{64}", cookie := file.read_text(encoding="utf-8"))
    assert file.stat().st_mode & 0o777 == 0o400
    broker = shared.running.pids["rabbitmq"]
    environ = dict(
        word.split("=", 1) for word in Path(f"/proc/{broker}/environ").read_text(encoding="utf-8").split("\0") if word
    )
    home = Path(tempfile.mkdtemp(prefix="zoco-nobody-"))
    os.chown(home, NOBODY, NOBODY)

    def asked(guess: str) -> str:
        code = 'catch io:format("~s", [rpc:call(\'zoco@localhost\', os, cmd, ["id -un"], 10000)]), halt().'
        name = f"guess{guess[:8].lower()}@localhost"
        words = ("erl", "-noinput", "-sname", name, "-setcookie", guess, "-eval", code)
        return as_nobody(*words, HOME=str(home), ERL_EPMD_PORT=environ["ERL_EPMD_PORT"])

    try:
        # The form that Erlang's own have.
        assert "root" not in asked("ABCDEFGHIJKLMNOPQRST")
        # It is the cookie that keeps them out, and nothing else.
        assert "root" in asked(cookie)
    finally:
        shutil.rmtree(home)


def test_what_listens_does_so_on_this_machine_only(shared: Shop) -> None:
    # The port mapper is told no folder.
    brokers = json.loads((shared.data / "rabbitmq" / "processes.json").read_text(encoding="utf-8"))
    pids = {*processes_of(shared.data.parent), *map(int, brokers)}
    said = subprocess.run(("ss", "-Hltnp"), capture_output=True, text=True, check=True).stdout
    ours = [line.split()[3] for line in said.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    # The four, the broker's three, its distribution and its port mapper.
    assert len(ours) >= 9
    assert {place.rpartition(":")[0] for place in ours} <= {"127.0.0.1", "[::1]"}


def test_zoco_up_prints_no_secret(shared: Shop) -> None:
    said = shared.log.read_text(encoding="utf-8")
    assert not [secret for secret in secrets_of(shared) if secret in said]
