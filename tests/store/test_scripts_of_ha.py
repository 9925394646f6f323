"""The scripts of the three databases in a cluster, on a real PostgreSQL, and on a cluster that only writes down what it
is asked: tests/k8s/ has real ones."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import asyncpg
import pytest
from patience import PATIENCE_SECONDS
from postgres_server import waits_for_standby, without_standby

from ops.postgres import DATABASE, ROLES, USER, Database
from ops.postgres_pair import Pair
from ops.postgres_programs import find_postgres
from ops.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.postgres_pair import Member

K8S: Final = Path(__file__).parents[2] / "k8s" / "components"
HA: Final = K8S / "postgres-ha"
PASSWORD: Final = "p@ss/w0rd%'"
# What Patroni's members know each other by.
MEMBERS: Final = ("replicator", "rewind")
URL: Final = "postgresql://backup:{}@postgres,other:5432/zoco?target_session_attrs=any"

BACKUP: Final = {"backup": URL.format(quote(PASSWORD, safe=""))}


@asynccontextmanager
async def archive(source: Member, folder: Path) -> AsyncIterator[None]:
    """Whoever keeps the database's past, as the script starts it."""
    text = (HA / "zoco-archive").read_text(encoding="utf-8")
    (options,) = re.findall(r"pg_receivewal (.*) --directory", text)
    folder.mkdir()
    program = str(find_postgres(source.data).folder / "pg_receivewal")
    command = [program, *shlex.split(options), "--dbname", source.conninfo, "--directory", str(folder)]
    env = {**os.environ, "PGPASSWORD": source.url(USER).split(":")[2].split("@")[0]}
    with (folder.parent / "said").open("wb") as said:
        process = Process(command, env, said)
    try:
        async with source.connected() as owner, asyncio.timeout(PATIENCE_SECONDS):
            kept = "SELECT 1 FROM pg_stat_replication WHERE application_name = 'pg_receivewal' AND state = 'streaming'"
            while not await owner.fetchval(kept):
                assert process.code is None, (folder.parent / "said").read_text()
                await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()


async def test_who_keeps_the_past_is_no_standby(tmp_path: Path) -> None:
    """Patroni lets a commit wait for any one, whatever its name, until it knows who its members are."""
    # One whose owner may copy it, and who has no other yet.
    pair = Pair(tmp_path / "pair", strict=False)
    await pair.start()
    try:
        async with archive(pair.primary, tmp_path / "past"), pair.primary.connected() as owner:
            await owner.execute("SET synchronous_commit = local")
            await owner.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
            await owner.execute("SELECT pg_reload_conf()")
            committing = asyncio.ensure_future(committed(pair.primary))
            pid = await waits_for_standby(owner, DATABASE, "%")
            # Long enough for whoever counts to have said so.
            await asyncio.wait({committing}, timeout=2)
            assert not committing.done()
            await owner.execute("SELECT pg_cancel_backend($1)", pid)
            await committing
    finally:
        await pair.stop(0)


async def committed(source: Member) -> None:
    """Until one has to wait."""
    async with source.connected() as connection, asyncio.timeout(20):
        began = time.monotonic()
        while time.monotonic() - began < 1:
            began = time.monotonic()
            await connection.execute("SELECT pg_logical_emit_message(true, 'zoco', '')")


async def roles(
    postgres: Database, folder: Path, secrets: dict[str, str], members: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What zoco-roles says of these Secrets, where it makes their roles in this database."""
    secret_folder, member_folder, bin_folder = folder / "secrets", folder / "members", folder / "bin"
    for made in (secret_folder, member_folder, bin_folder):
        made.mkdir(exist_ok=True)
    for role, url in secrets.items():
        (secret_folder / role).write_text(url)
    for role, password in (dict.fromkeys(MEMBERS, PASSWORD) | (members or {})).items():
        (member_folder / role).write_text(password)
    programs = find_postgres(postgres.data).folder
    (bin_folder / "zoco-password").write_text(f'#!/bin/sh\nexec {sys.executable} {HA / "zoco-password"} "$@"\n')
    (bin_folder / "zoco-password").chmod(0o755)
    script = (HA / "zoco-roles").read_text(encoding="utf-8")
    script = script.replace("/run/secrets/zoco", str(secret_folder)).replace("/usr/share/zoco/roles.sql", str(ROLES))
    script = script.replace("/run/secrets/patroni", str(member_folder))
    env = {
        **os.environ,
        "PATH": f"{bin_folder}:{programs}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(postgres.port),
        "PGUSER": USER,
        "PGPASSWORD": postgres.url(USER).split(":")[2].split("@")[0],
    }
    # That ends psql, too, if it waits.
    command = ["timeout", str(PATIENCE_SECONDS), "sh", "-c", script]
    return await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, check=False)


async def enters(postgres: Database, password: str, role: str = "backup") -> None:
    """Or is refused: asyncpg.PostgresError."""
    connection = await asyncpg.connect(
        host="127.0.0.1", port=postgres.port, user=role, password=password, database="postgres"
    )
    await connection.close()


@pytest.mark.parametrize("password", [PASSWORD, "a\\'b\"$(c)"])
async def test_a_password_with_escapes_is_the_one_that_whoever_has_the_url_uses(
    postgres: Database, tmp_path: Path, password: str
) -> None:
    done = await roles(postgres, tmp_path, {"backup": URL.format(quote(password, safe="")) + "\n"})
    assert done.returncode == 0, done.stderr
    await enters(postgres, password)
    # The archive asks the same way.
    assert "PGPASSWORD=$(zoco-password " in (HA / "zoco-archive").read_text(encoding="utf-8")


@pytest.mark.parametrize("wrong", ["postgresql://backup@postgres/zoco", "postgresql://backup:@postgres/zoco", "\n"])
async def test_a_secret_without_a_password_takes_nobodys_and_is_named(
    postgres: Database, tmp_path: Path, wrong: str
) -> None:
    done = await roles(postgres, tmp_path, BACKUP)
    assert done.returncode == 0, done.stderr
    done = await roles(postgres, tmp_path, {"backup": wrong})
    assert done.returncode != 0
    assert str(tmp_path / "secrets" / "backup") in done.stderr
    await enters(postgres, PASSWORD)


@pytest.fixture
async def members(postgres: Database) -> AsyncIterator[None]:
    """As Patroni makes them, once it has made the first of the three."""
    async with postgres.connected() as owner:
        for role in MEMBERS:
            await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'former'")
        yield
        for role in MEMBERS:
            await owner.execute(f"DROP ROLE {role}")


@pytest.mark.usefixtures("members")
async def test_what_the_members_know_each_other_by_is_changed_as_the_secret_is(
    postgres: Database, tmp_path: Path
) -> None:
    for password in (PASSWORD, "another"):
        done = await roles(postgres, tmp_path, BACKUP, dict.fromkeys(MEMBERS, password))
        assert done.returncode == 0, done.stderr
        for role in MEMBERS:
            await enters(postgres, password, role)
    done = await roles(postgres, tmp_path, BACKUP, {"rewind": ""})
    assert done.returncode != 0 and str(tmp_path / "members" / "rewind") in done.stderr
    await enters(postgres, "another", "rewind")


async def test_patroni_makes_its_members_roles_itself_afterwards(postgres: Database, tmp_path: Path) -> None:
    done = await roles(postgres, tmp_path, BACKUP)
    assert done.returncode == 0, done.stderr
    async with postgres.connected() as owner:
        assert not await owner.fetch("SELECT FROM pg_roles WHERE rolname = ANY($1)", MEMBERS)


@pytest.mark.usefixtures("members")
async def test_passwords_are_given_also_while_every_commit_waits_for_standbys_that_are_refused(
    postgres: Database, tmp_path: Path
) -> None:
    async with without_standby(postgres):
        done = await roles(postgres, tmp_path, BACKUP, {"replicator": "another"})
        assert done.returncode == 0, done.stderr
        await enters(postgres, "another", "replicator")
        await enters(postgres, PASSWORD)


KUBECTL: Final = """#!/bin/sh
echo "$*" >>"$ASKED"
case "$*" in
*"get scaledobjects"*) [ -z "$SCALED" ] && exit 1; echo "$SCALED" ;;
*"get job"*) ;;
*persistentVolumeClaim*) echo data-postgres-1 ;;
*"get deployment"*) echo 3 ;;
*"get "*) echo node ;;
*" wait "*) exit 1 ;;
esac
"""


@pytest.mark.parametrize("scaled", ["", "scaledobject.keda.sh/tokens"])
def test_a_restore_that_ends_before_it_began_lets_all_go_on_and_keda_starts_nobody_meanwhile(
    tmp_path: Path, scaled: str
) -> None:
    """Here the database does not end in time. Where nobody has heard of KEDA, it is asked for nothing."""
    kubectl, asked = tmp_path / "kubectl", tmp_path / "asked"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "ASKED": str(asked), "SCALED": scaled}
    done = subprocess.run([K8S / "postgres-backup" / "restore", "last"], env=env, capture_output=True, check=False)
    changed = [line for line in asked.read_text().splitlines() if " get " not in line and " wait " not in line]
    words = [line.removeprefix("--namespace zoco ") for line in changed]
    pause = "annotate scaledobject.keda.sh/tokens --overwrite autoscaling.keda.sh/paused-replicas"
    services = ("usuarios", "tokens", "transacciones", "compras")
    assert done.returncode == 1
    assert words == [
        *([f"{pause}=0"] if scaled else []),
        f"scale deployment {' '.join(services)} --replicas=0",
        "scale statefulset postgres --replicas=0",
        *([f"{pause}-"] if scaled else []),
        'patch statefulset postgres --type merge --patch {"spec":{"replicas":3,"ordinals":{"start":0}}}',
        *(f"scale deployment {service} --replicas=3" for service in services),
    ]


# The Job of this one stands in $ENDED; its pod runs where $RUNS is set; $NEVER is what does not come to be.
BEGUN: Final = """#!/bin/sh
echo "$*" >>"$ASKED"
case "$*" in
*"get scaledobjects"*) exit 1 ;;
*"get job"*conditions*) echo "$ENDED" ;;
*"get job"*) ;;
*phase=Running*) echo "$RUNS" ;;
*"get events"*) echo "pod/postgres-restore-x 0/3 nodes are available"; echo "pod/another all is well" ;;
*persistentVolumeClaim*) echo data-postgres-1 ;;
*"get deployment"*) echo 3 ;;
*"get "*) echo node ;;
*"$NEVER"*) exit 1 ;;
esac
"""


def begun(folder: Path, **said: str) -> subprocess.Popen[str]:
    kubectl = folder / "kubectl"
    kubectl.write_text(BEGUN)
    kubectl.chmod(0o755)
    env = {"ENDED": "", "RUNS": "", "NEVER": "nothing", "TELL_SECONDS": "1"} | said
    env |= {"PATH": f"{folder}:{os.environ['PATH']}", "ASKED": str(folder / "asked")}
    command = [str(K8S / "postgres-backup" / "restore"), "last"]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def lets_go_on(folder: Path) -> bool:
    return "--replicas=3" in (folder / "asked").read_text()


@pytest.mark.parametrize("runs", ["", "pod/postgres-restore-x"])
def test_a_restore_whose_pod_finds_no_place_says_why_and_when_it_is_ended_that_it_is_to_be_started_again(
    tmp_path: Path, runs: str
) -> None:
    with begun(tmp_path, RUNS=runs) as restore:
        asked, looks = tmp_path / "asked", "phase=Running"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not asked.exists() or asked.read_text().count(looks) < 2:
            assert restore.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        # As Ctrl-C, which whoever is started in the background never hears of.
        restore.terminate()
        _, said = restore.communicate(timeout=PATIENCE_SECONDS)
    assert restore.returncode == 1
    assert ("0/3 nodes are available" in said) == (not runs)
    assert "all is well" not in said
    assert "start this again" in said.splitlines()[-1]
    assert not lets_go_on(tmp_path)


def test_a_restore_that_ends_half_way_says_what_is_to_be_done(tmp_path: Path) -> None:
    with begun(tmp_path, ENDED="Complete", NEVER="condition=Ready") as restore:
        _, said = restore.communicate(timeout=PATIENCE_SECONDS)
    assert restore.returncode == 1
    assert "start this again" in said.splitlines()[-1]
    assert not lets_go_on(tmp_path)


def test_a_restore_that_is_done_is_not_to_be_started_again_though_not_all_is_ready(tmp_path: Path) -> None:
    with begun(tmp_path, ENDED="Complete", NEVER="rollout status") as restore:
        _, said = restore.communicate(timeout=PATIENCE_SECONDS)
    assert restore.returncode == 1
    assert "the books are as they were (last)" in said.splitlines()[-1] and "again" not in said
    assert lets_go_on(tmp_path)
