"""`zoco up` as a process among others: it holds its folder, ends in time, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from patience import END_SECONDS, PATIENCE_SECONDS, wait_until
from shop_builders import ZOCO, Shop, processes_of, start

from ops.child import SPARE_SECONDS
from ops.rabbitmq import START_SECONDS
from ops.running import DATA, Running, typed


def zoco(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ZOCO), *words], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def test_a_second_one_on_the_same_folder_says_who_holds_it(shop: Shop) -> None:
    second = zoco("up", "--data", str(shop.data))
    assert second.returncode == 2
    assert f"pid {shop.process.pid}" in second.stderr
    assert zoco("reset", "--yes", "--data", str(shop.data)).returncode == 2


def test_the_commands_talk_to_the_one_that_runs(shop: Shop) -> None:
    data = ("--data", str(shop.data))
    queues = json.loads(zoco("queues", "--json", *data).stdout)
    assert queues["transacciones"] == {"messages": 0, "consumers": 1}
    assert zoco("doctor", *data).returncode == 0
    bought = zoco("buy", "424242", "101", "--json", *data)
    assert bought.returncode == 1
    assert json.loads(bought.stdout)["motivo"] in ("usuario-inexistente", "token-vendido")
    assert "no dead letters" in zoco("dead-letters", "list", *data).stdout
    assert zoco("audit", *data).returncode == 0


def test_without_one_the_commands_say_what_to_type(tmp_path: Path) -> None:
    for command in (("queues",), ("buy", "1", "101"), ("kill", "tokens"), ("dead-letters", "list")):
        answer = zoco(*command, "--data", str(tmp_path / "none"))
        assert answer.returncode == 2, answer
        assert "make up" in answer.stderr


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(one, marks=pytest.mark.long) for one in (signal.SIGINT, signal.SIGTERM))],
)
def test_whatever_ends_it_leaves_no_process_behind_and_the_books_stay(tmp_path: Path, number: signal.Signals) -> None:
    shop = start(tmp_path)
    assert zoco("buy", "1", "101", "--data", str(shop.data)).returncode == 0
    assert len(processes_of(tmp_path)) >= 6
    started = time.monotonic()
    shop.process.send_signal(number)
    shop.process.wait(END_SECONDS)
    wait_until(lambda: not processes_of(tmp_path), lambda: processes_of(tmp_path))
    assert time.monotonic() - started < END_SECONDS
    assert zoco("audit", "--data", str(shop.data)).returncode == 0
    again = start(tmp_path)
    refused = zoco("buy", "2", "101", "--data", str(shop.data))
    assert "token-vendido" in refused.stdout
    again.stop()
    assert zoco("reset", "--yes", "--data", str(shop.data)).returncode == 0
    assert not shop.data.exists()


def test_a_killed_service_goes_on_in_a_process_that_was_waiting_and_none_of_those_is_left(tmp_path: Path) -> None:
    shop = start(tmp_path, spares=True)
    wait_until(lambda: len(of_tokens(tmp_path)) == 2, "no next process gets ready")
    ready = of_tokens(tmp_path)
    killed = Running.read(shop.data).pids["tokens"]
    assert zoco("kill", "tokens", "--data", str(shop.data)).returncode == 0
    wait_until(lambda: Running.read(shop.data).pids["tokens"] != killed, "tokens does not come back")
    assert Running.read(shop.data).pids["tokens"] in ready
    assert zoco("buy", "1", "101", "--data", str(shop.data)).returncode == 0
    shop.process.kill()
    wait_until(lambda: not processes_of(tmp_path), lambda: processes_of(tmp_path))


def test_without_spares_nobody_waits_and_who_was_killed_is_back(tmp_path: Path) -> None:
    shop = start(tmp_path, spares=False)
    killed = Running.read(shop.data).pids["tokens"]
    assert zoco("kill", "tokens", "--data", str(shop.data)).returncode == 0
    wait_until(lambda: Running.read(shop.data).pids["tokens"] != killed, "tokens does not come back")
    # Longer than it takes until one gets ready.
    time.sleep(2 * SPARE_SECONDS)
    assert of_tokens(tmp_path) == [Running.read(shop.data).pids["tokens"]]
    shop.stop()


def of_tokens(folder: Path) -> list[int]:
    return [pid for pid, words in processes_of(folder).items() if "services.tokens.main" in words]


def pasted(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In another terminal, which stands in another folder. What watches for ever is left after its first table."""
    watched = f"{command} | head -n 8" if "--watch" in command else command
    return subprocess.run(watched, shell=True, cwd=folder, capture_output=True, text=True, check=False)


def test_each_command_that_it_prints_works_as_pasted_in_another_folder(tmp_path: Path) -> None:
    data = tmp_path / "with a space"
    data.mkdir()
    shop = start(data)
    other = tmp_path / "other"
    other.mkdir()
    printed = shop.log.read_text(encoding="utf-8").partition("Try, in another terminal:\n")[2]
    buy, kill, watch = (line.strip() for line in printed.splitlines() if line.startswith("  "))
    assert '"registrada"' in pasted(buy, other).stdout
    assert pasted(kill.replace("--for 20", "--for 1"), other).stdout.startswith("killed transacciones")
    assert "transacciones" in pasted(watch, other).stdout
    with urlopen(f"{shop.front}/estado") as answer:
        buttons = json.load(answer)["tumbar"]
    assert pasted(buttons["usuarios"], other).stdout.startswith("killed usuarios")
    shop.stop()


def test_in_the_folder_that_it_stands_in_a_printed_command_says_no_more_than_it_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ZOCO.parents[2])
    assert typed("queues", DATA.resolve()) == f"{ZOCO.relative_to(Path.cwd())} queues"
    assert typed("queues", Path("/a b")).endswith("/zoco queues --data '/a b'")


def test_rabbitmqs_metrics_are_where_it_says(shop: Shop) -> None:
    said = re.search(r"its metrics (\S+)", shop.log.read_text(encoding="utf-8"))
    assert said
    with urlopen(said[1]) as answer:
        assert b"\nrabbitmq_queue_messages " in answer.read()


def test_a_damaged_journal_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    shop = start(tmp_path)
    shop.stop()
    journal = next((shop.data / "tokens").glob("journal-*.jsonl"))
    raw = bytearray(journal.read_bytes())
    raw[len(raw) // 2] ^= 1
    journal.write_bytes(raw)
    before = {path.name: path.read_bytes() for path in (shop.data / "tokens").iterdir()}
    refused = start(tmp_path, wait=False)
    try:
        # That it ended is said once RabbitMQ has started, and why by a thread of its own: in any order.
        refused.says(f"{journal.name} is damaged at byte", "tokens ended with exit code 78")
        after = {path.name: path.read_bytes() for path in (shop.data / "tokens").iterdir()}
        assert after == before
    finally:
        refused.stop()


def test_a_wrong_setting_names_itself(tmp_path: Path) -> None:
    shop = start(tmp_path, wait=False, ZOCO_PREFETCH="many")
    try:
        shop.says("ZOCO_PREFETCH is wrong", "ended with exit code 78")
    finally:
        shop.stop()


def test_an_operators_key_of_ones_own_is_taken(tmp_path: Path) -> None:
    shop = start(tmp_path, ZOCO_OPERATOR_TOKEN="a-key-that-I-can-remember\n")
    key = "a-key-that-I-can-remember"
    assert shop.running.operator_token == key
    body, headers = b'{"nombre": "Eva"}', {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with urlopen(Request(f"{shop.front}/usuarios/7", body, headers, method="PUT")) as answer:
        assert answer.status == 202
    shop.stop()


def test_an_operators_key_that_no_header_carries_is_named_at_the_start(tmp_path: Path) -> None:
    env = os.environ | {"ZOCO_OPERATOR_TOKEN": "contraseña-del-operador", "ZOCO_DATA": str(tmp_path)}
    service = [sys.executable, "-m", "uvicorn", "services.tokens.main:app", "--port", "0"]
    for command, code in ((service, 78), ([str(ZOCO), "up", "--data", str(tmp_path), "--port", "0"], 2)):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        assert done.returncode == code, done
        assert "ZOCO_OPERATOR_TOKEN is wrong: it travels in a header" in done.stderr
        assert "contrase" not in done.stderr + done.stdout


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do() -> None:
    # Not even root makes a folder in there.
    env = os.environ | {"ZOCO_DATA": "/sys/zoco", "ZOCO_RABBITMQ_URL": "amqp://nobody:none@127.0.0.1:1/"}
    command = [sys.executable, "-m", "uvicorn", "services.tokens.main:app", "--port", "0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 78
    assert "/sys/zoco cannot be written" in done.stderr
    assert "name another in ZOCO_DATA" in done.stderr


@pytest.mark.parametrize(("error", "code"), [("EIO", 74), ("EMFILE", 74), ("ENOSPC", 74), ("ENOTDIR", 78)])
def test_a_machine_at_its_limits_is_no_wrong_setting(tmp_path: Path, error: str, code: int) -> None:
    program = f"""
import errno, os, uvicorn
from services.shared.http.app import create_app
from services.tokens.main import SERVICE
def broken(*_):
    raise OSError(errno.{error}, os.strerror(errno.{error}), "journal-1-1.jsonl")
uvicorn.run(create_app(SERVICE, broken), port=0)
"""
    env = os.environ | {"ZOCO_DATA": str(tmp_path), "ZOCO_RABBITMQ_URL": "amqp://nobody:none@127.0.0.1:1/"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == code, done.stderr
    assert os.strerror(getattr(errno, error)) in done.stderr


def test_a_rabbitmq_whose_disk_takes_nothing_when_it_starts_is_back_once_it_does(tmp_path: Path) -> None:
    shop = start(tmp_path)
    with shop.down("rabbitmq"):
        console, pids = (shop.data / "rabbitmq" / name for name in ("console.log", "processes.json"))
        console.unlink()
        console.mkdir()
        pids.unlink()
    shop.says("RabbitMQ does not start: [Errno 21]")
    # That it runs cannot be written down.
    pids.symlink_to(tmp_path / "none" / "processes.json")
    console.rmdir()
    shop.says("RabbitMQ does not start: [Errno 2]", "RabbitMQ is back")
    wait_until(lambda: zoco("doctor", "--data", str(shop.data)).returncode == 0, "the doctor finds something")
    shop.stop()


@pytest.mark.long
def test_a_rabbitmq_that_is_killed_while_it_starts_is_started_again_at_once(tmp_path: Path) -> None:
    shop = start(tmp_path)
    dead = {shop.running.pids["rabbitmq"]}
    shop.kill("rabbitmq")
    dead.add(starting := newborn(shop, dead))
    os.kill(starting, signal.SIGKILL)
    died = time.monotonic()
    newborn(shop, dead)
    # Not only when its time to start is over.
    assert time.monotonic() - died < START_SECONDS / 2
    wait_until(
        lambda: zoco("doctor", "--data", str(shop.data)).returncode == 0,
        lambda: shop.log.read_text(encoding="utf-8"),
    )
    shop.says("RabbitMQ does not start")
    shop.stop()


def newborn(shop: Shop, before: set[int]) -> int:
    """The pid of this shop's RabbitMQ, as soon as there is another one than these."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = {pid for pid, words in processes_of(shop.data).items() if "beam.smp " in words} - before
        if found:
            return found.pop()
        assert time.monotonic() < deadline, shop.log.read_text(encoding="utf-8")
        time.sleep(0.02)
