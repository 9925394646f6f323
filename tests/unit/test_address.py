"""ZOCO_RABBITMQ_URL and ZOCO_STORE: one host or several; what is wrong is named, and no part of it is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.amqp.connect import Address
from services.shared.settings import WrongSetting, read_settings

SECRET = "s3cr3t"
SERVICE = ["-m", "uvicorn", "services.tokens.main:app", "--port", "0"]
WRONG = {
    "a port too high": (f"amqp://zoco:{SECRET}@host:99999/", "a port is a number from 1 to 65535"),
    "a port with zeros": (f"amqp://zoco:{SECRET}@host:00655360/", "a port is a number from 1 to 65535"),
    "a port that is none": (f"amqp://zoco:{SECRET}@host:http/", "a port is a number"),
    "half a bracket": (f"amqp://zoco:{SECRET}@[::1", "it names no host"),
    "no host": (f"amqp://zoco:{SECRET}@/", "it names no host"),
    "no second host": (f"amqp://zoco:{SECRET}@one,/", "it names no host"),
    "a bare IPv6 address": (f"amqp://zoco:{SECRET}@fe80::1:5672/", "it names no host"),
    "another scheme": (f"http://zoco:{SECRET}@host/", "it begins with neither amqp:// nor amqps://"),
    "a slash in the password": (f"amqp://zoco:{SECRET}/x@host/", "a port is a number"),
    "two URLs": (f"amqp://zoco:{SECRET}@one/,amqp://two", None),
    "an option": (f"amqp://zoco:{SECRET}@host/?happy_eyeballs_delay=soon", "it is no URL"),
    "nothing": ("", "it begins with neither"),
}
PORT = "a port is a number from 1 to 65535"
WRONG_STORE = {
    # What asyncio's other loop takes modulo 65536, and connects to 30672.
    "a port too high": (f"postgresql://tokens:{SECRET}@127.0.0.1:96208/zoco", PORT),
    "a second port too high": (f"postgresql://tokens:{SECRET}@one,two:65536/zoco", PORT),
    "port 0": (f"postgresql://tokens:{SECRET}@one:0/zoco", PORT),
    "a port that is none": (f"postgresql://tokens:{SECRET}@one:http/zoco", PORT),
    "no second host": (f"postgresql://tokens:{SECRET}@127.0.0.1:1,/zoco", "it names no host"),
    "no host": (f"postgresql://tokens:{SECRET}@/zoco", "it names no host"),
    "a bare IPv6 address": (f"postgresql://tokens:{SECRET}@fe80::1:5432/zoco", "it names no host"),
    "half a bracket": (f"postgresql://tokens:{SECRET}@[::1/zoco", "it names no host"),
    "a space": (f"postgresql://tokens:{SECRET}@one, two/zoco", "it names no host"),
    "nothing but the scheme": ("postgresql://", "it names no role and its password"),
    "no role": ("postgresql://one/zoco", "it names no role and its password"),
    "no password": ("postgresql://tokens@one/zoco", "it names no role and its password"),
    "an empty role": (f"postgresql://:{SECRET}@one/zoco", "it names no role and its password"),
    "no slashes": (f"postgresql:tokens:{SECRET}@one:5432/zoco", "it does not begin with postgresql://"),
    "another scheme": (f"mysql://tokens:{SECRET}@one/zoco", "it does not begin with postgresql://"),
    "a slash in the password": (f"postgresql://tokens:{SECRET}/x@one/zoco", "it names no role and its password"),
    "an @ in the password": (f"postgresql://tokens:{SECRET}@x@one/zoco", "an @ in role or password"),
    "a bracket in the password": (f"postgresql://tokens:{SECRET}[@one/zoco", "it is no URL"),
    "an option without a value": (f"postgresql://tokens:{SECRET}@one/zoco?sslmode", "it is no URL"),
    "nothing": ("", "it does not begin with postgresql://"),
}


@pytest.mark.parametrize(("text", "hosts"), [
    ("amqp://host", [("host", 5672)]),
    ("amqps://host", [("host", 5671)]),
    ("amqp://u:p@host:1/vhost", [("host", 1)]),
    ("amqp://u:p@[::1]", [("::1", 5672)]),
    ("amqp://u:p@[::1]:5673/%2F", [("::1", 5673)]),
    ("amqp://u:p%40@one,two:5673,[::1]:5674/v?heartbeat=5", [("one", 5672), ("two", 5673), ("::1", 5674)]),
])  # fmt: skip
def test_hosts_are_read(text: str, hosts: list[tuple[str, int]]) -> None:
    address = Address.read(text)
    assert list(address.hosts) == hosts
    assert (address.url.host, address.url.port) == hosts[0]


def test_all_else_of_a_url_stays() -> None:
    url = Address.read("amqps://us%2Fer:p%40ss@one,two/a%2Fb?cafile=/ca.pem").url
    assert (url.user, url.password, url.path, url.query["cafile"]) == ("us/er", "p@ss", "/a/b", "/ca.pem")


def test_who_took_the_connection_and_did_not_answer_is_the_last_the_next_time() -> None:
    address = Address.read("amqp://one,two,three")
    assert [host for host, _ in address.after(0)] == ["one", "two", "three"]
    assert [host for host, _ in address.after(1)] == ["two", "three", "one"]
    assert [host for host, _ in address.after(3)] == ["one", "two", "three"]


@pytest.mark.parametrize(("text", "why"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_and_nothing_of_it_is_shown(text: str, why: str | None) -> None:
    if why is None:
        # The first is whole; what is behind it is a virtual host, if an odd one.
        assert Address.read(text).hosts == (("one", 5672),)
        return
    with pytest.raises(ValueError, match=why) as caught:
        Address.read(text)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", [WRONG["a port too high"][0], WRONG["half a bracket"][0], WRONG["no host"][0]])
@pytest.mark.parametrize(
    "program", [["-m", "uvicorn", "services.tokens.main:app", "--port", "0"], ["-m", "zoco", "up"]]
)
def test_a_program_ends_with_one_sentence(program: list[str], text: str) -> None:
    env = {**os.environ, "ZOCO_RABBITMQ_URL": text}
    done = subprocess.run([sys.executable, *program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "zoco" in program else 78)
    assert "ZOCO_RABBITMQ_URL is wrong" in done.stderr
    assert SECRET not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_an_option_that_only_tls_reads_ends_a_service_too() -> None:
    env = {**os.environ, "ZOCO_RABBITMQ_URL": f"amqps://zoco:{SECRET}@127.0.0.1:1/?cadata=x"}
    done = subprocess.run([sys.executable, *SERVICE], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "ZOCO_RABBITMQ_URL is wrong" in done.stderr
    assert SECRET not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "store",
    [
        f"postgresql://tokens:{SECRET}@127.0.0.1:5432/zoco",
        f"postgres://tokens:{SECRET}@one/zoco?sslmode=require",
        f"postgresql://to%40kens:{SECRET}%2F%40@one:5432,two:65535,[::1]:5433,[::1]/zoco",
        f"postgresql://tokens:{SECRET}:%5B@%2Frun%2Fpostgresql/zoco",
    ],
)
def test_a_store_is_as_asyncpg_takes_it(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("ZOCO_STORE", store)
    told = read_settings().store
    assert told is not None and told.get_secret_value() == store


@pytest.mark.parametrize(("text", "why"), WRONG_STORE.values(), ids=WRONG_STORE.keys())
def test_what_is_wrong_with_a_store_is_said_when_settings_are_read(
    monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    monkeypatch.setenv("ZOCO_STORE", text)
    with pytest.raises(WrongSetting, match=f"ZOCO_STORE is wrong: {why}") as caught:
        read_settings()
    assert SECRET not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("text", [WRONG_STORE["a port too high"][0], WRONG_STORE["no second host"][0]])
@pytest.mark.parametrize("program", [SERVICE, ["-m", "services.rebuild.migration", "tokens"]])
def test_a_wrong_store_ends_a_program_with_78_and_one_sentence(program: list[str], text: str, tmp_path: Path) -> None:
    env = {**os.environ, "ZOCO_STORE": text, "ZOCO_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, *program], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 78
    assert "ZOCO_STORE is wrong" in done.stderr + done.stdout
    assert SECRET not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
