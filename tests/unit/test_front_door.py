"""`zoco buy` and `zoco queues` at an address where no front door is: one sentence, and exit code 2."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote_to_bytes

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from broker.services import SERVICES
from broker.topology import QUEUES
from ops import cluster
from ops.doctor import examined
from zoco import front_door
from zoco.cli import app, main
from zoco.front_door import NoAnswer, get, post


class Stranger(BaseHTTPRequestHandler):
    """Answers with what the path says: /STATUS/BODY. Writes down the keys that it was given."""

    keys: ClassVar[list[str | None]] = []
    paths: ClassVar[list[str]] = []

    def answer(self) -> None:
        _, status, body, *_ = unquote_to_bytes(self.path).split(b"/")
        self.paths.append(self.path)
        self.keys.append(self.headers["Idempotency-Key"])
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(int(status))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_answer_is_passed_on_whatever_its_status(stranger: str) -> None:
    assert post(f"{stranger}/422/{{}}", {}, None, 0) == (422, {})
    assert post(f"{stranger}/202/[1]", {}, "ñ", 0) == (202, [1])
    assert Stranger.keys[-2:] == [None, "ñ".encode().decode("latin-1")]
    assert get(f"{stranger}/200/[2]") == [2]


def bought(url: str, *words: str) -> Result:
    return CliRunner().invoke(app, ["buy", "1", "2", "--url", url, *words])


def test_a_purchase_without_a_key_gets_one_and_every_failure_names_it(
    stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a lost answer could never be asked for again."""
    monkeypatch.setattr(front_door, "AWAY_SECONDS", 0.3)
    asked = len(Stranger.keys)
    for path in ('/422/{"detail":"no"}', '/503/{"detail":"later"}', "/200/hello"):
        done = bought(stranger + path)
        (key,) = set(Stranger.keys[asked:])
        assert done.exit_code == 2 and f"with --key {key} it is the same purchase" in done.stderr, done.stderr
        assert (len(Stranger.keys) - asked > 1) == (path.startswith("/503")), "asked again"
        asked = len(Stranger.keys)
    assert "with --key mine it is the same" in bought("http://127.0.0.1:9", "--key", "mine").stderr


def test_a_front_door_that_is_away_for_a_moment_is_asked_again_under_the_same_key() -> None:
    told = quote('{"id":"a","estado":"registrada","historia":[]}')
    with socket.create_server(("127.0.0.1", 0)) as hung_up, ThreadPoolExecutor() as beside:
        port = hung_up.getsockname()[1]
        buying = beside.submit(bought, f"http://127.0.0.1:{port}/200/{told}")
        lost, _ = hung_up.accept()
        head = lost.recv(10_000).decode()
        lost.close()
        hung_up.close()
        with ThreadingHTTPServer(("127.0.0.1", port), Stranger) as server:
            beside.submit(server.serve_forever)
            done = buying.result()
            server.shutdown()
    assert done.exit_code == 0, done.output
    assert f"idempotency-key: {Stranger.keys[-1]}" in head.lower()


class Troubled(BaseHTTPRequestHandler):
    """A door with a proxy before it, that answers with each of these once and then accepts."""

    troubles: ClassVar[list[tuple[int, bytes]]] = []
    heard: ClassVar[list[tuple[str | None, float]]] = []

    def do_POST(self) -> None:
        self.heard.append((self.headers["Idempotency-Key"], time.monotonic()))
        self.rfile.read(int(self.headers["Content-Length"]))
        accepted = (202, b'{"id":"a","estado":"registrada","historia":[]}')
        status, body = self.troubles.pop(0) if self.troubles else accepted
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_what_is_no_answer_yet_is_asked_again_under_the_same_key_and_no_sooner_than_it_says() -> None:
    later = b'{"detail":"later"}'
    Troubled.troubles = [(502, b"<html>"), (504, b""), (408, later), (429, later), (503, later)]
    Troubled.heard.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Troubled) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = bought(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert done.exit_code == 0, done.output
    assert len({key for key, _ in Troubled.heard}) == 1 and len(Troubled.heard) == 6
    assert Troubled.heard[4][1] - Troubled.heard[3][1] >= 1


def test_a_purchase_that_has_no_end_yet_is_said_and_is_no_success(stranger: str) -> None:
    told = quote('{"id":"a","estado":"pagada","historia":[]}')
    done = bought(f"{stranger}/202/{told}", "--wait", "0", "--json")
    assert (done.exit_code, json.loads(done.stdout)["estado"]) == (3, "pagada")
    assert f"no end in 0 s: it is under way; with --key {Stranger.keys[-1]} it is the same purchase" in done.stderr


@pytest.mark.parametrize("path", ["/200/hello", "/200/%FF", "/502/hello", "/404/"])
def test_what_is_no_front_door_is_named(stranger: str, path: str) -> None:
    for ask in (get, lambda url: post(url, {}, None, 0)):
        with pytest.raises(NoAnswer, match="is no front door"):
            ask(stranger + path)


def test_a_status_that_is_no_answer_is_said(stranger: str) -> None:
    with pytest.raises(NoAnswer, match="answered 503: mended soon"):
        get(f'{stranger}/503/{{"detail":"mended soon"}}'.replace(" ", "%20"))


@pytest.mark.parametrize("port", ["96208", "0", "x"])
@pytest.mark.parametrize("command", ["buy 1 101", "queues", "operator", "doctor", "load"])
def test_a_port_that_nobody_has_is_refused_before_anybody_is_asked(command: str, port: str) -> None:
    """It would be taken modulo 65536, and an operator's key sent to whoever is there."""
    done = CliRunner().invoke(app, [*command.split(), "--url", f"http://127.0.0.1:{port}"])
    assert done.exit_code == 2
    assert "a port is a number from 1 to 65535" in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize("words", [["--url", "junk"], ["--url", "http://127.0.0.1:9"], ["--key", "a\nb"]])
def test_what_cannot_be_asked_is_a_sentence_and_exit_code_2(stranger: str, words: list[str]) -> None:
    url = [] if "--url" in words else ["--url", stranger]
    done = subprocess.run(
        [sys.executable, "-m", "zoco", "buy", "1", "2", *words, *url], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("zoco: the front door ")


@pytest.mark.parametrize("number", ["101.0", "1_0_1", "+101", "0101", " 101", "-1", "１٠1", "1e2", "9" * 5_000, ""])
@pytest.mark.parametrize("words", ["buy 1 N", "buy N 1", "buy 1 2 --max-price N"])
def test_what_only_python_takes_for_a_number_is_no_id_and_no_price(words: str, number: str) -> None:
    told = [number if word == "N" else word for word in words.split()]
    # What begins with a dash would be an option.
    told = [*told[:1], *(["--", *told[1:]] if len(told) == 3 else told[1:])]
    done = CliRunner().invoke(app, [*told, "--url", "http://127.0.0.1:9"] if "--" not in told else told)
    assert (done.exit_code, "Invalid value" in done.output) == (2, True), done.output


@pytest.mark.parametrize("number", ["1_0", "+10", "1e1", "inf", "nan", " 10", "-1", "１٠", ".5", "5.", "9" * 400, ""])
@pytest.mark.parametrize(
    "words",
    [
        *("up --port N", "kill tokens --for N", "buy 1 2 --wait N", "load --rate N", "load --for N", "load --buyers N"),
        *("load --seed N", "load --workers N", "drill --purchases N", "drill --down N", "drill --every N"),
        *("drill --patience N", "backup x --keep N"),
    ],
)
def test_what_only_python_takes_for_a_number_is_no_option_either(tmp_path: Path, words: str, number: str) -> None:
    # A port, a price and the like may have as many digits as they want: they fail by themselves.
    if len(number) > 99 and words.split()[-2] not in ("--for", "--rate", "--down", "--every", "--patience"):
        return
    told = [number if word == "N" else word for word in words.split()]
    done = CliRunner().invoke(app, told, env={"HOME": str(tmp_path)})
    assert (done.exit_code, "Invalid value" in done.output) == (2, True), done.output


@pytest.mark.parametrize("words", ["load --rate 0", "load --workers 0", "drill --every 0.09", "drill --patience 0.9"])
def test_too_little_is_refused(words: str) -> None:
    done = CliRunner().invoke(app, words.split())
    assert (done.exit_code, "or more" in done.output) == (2, True), done.output


@pytest.mark.parametrize("url", ["/", "//"])
def test_a_slash_at_the_end_of_an_address_is_none_of_the_path(stranger: str, url: str) -> None:
    for command in ("buy 1 2", "queues", "doctor"):
        CliRunner().invoke(app, [*command.split(), "--url", f"{stranger}/200/{{}}/a{url}"])
        assert Stranger.paths[-1] in ("/200/{}/a/compras", "/200/{}/a/estado")


@pytest.mark.parametrize("command", ["buy 1 2", "queues", "doctor"])
@pytest.mark.parametrize("body", ["{}", "[1]"])
def test_what_answers_in_another_json_is_no_front_door(stranger: str, command: str, body: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zoco", *command.split(), "--url", f"{stranger}/200/{body}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is no front door" in done.stderr


SERVICE = {"service": "", "ready": True, "role": "writer", "records": 7, "diskFull": False, "broker": None}
QUEUE = {"messages": 0, "consumers": 1}
FINE: dict[str, Any] = {
    "servicios": dict.fromkeys(SERVICES, SERVICE),
    "broker": {"conectado": True, "problema": None},
    "colas": dict.fromkeys(QUEUES, QUEUE),
}


def test_a_shop_elsewhere_is_examined_by_what_its_front_door_tells() -> None:
    assert {finding.what for finding in examined(FINE)} == {*SERVICES, "broker", "queues"}
    assert all(finding.well for finding in examined(FINE))


SALUD = {
    "fotoSegundos": 0.1, "xminEdad": 1, "replicas": 1, "replicasPedidas": 1, "walBytes": 1, "ranurasBytes": 0,
    "ranurasLibres": 0, "bytes": 1, "conexiones": 10, "conexionesMax": 100,
}  # fmt: skip


def base(**salud: Any) -> dict[str, Any]:
    return {"base": {"conectada": True, "problema": None, "salud": {**SALUD, **salud}}}


def test_a_database_elsewhere_is_examined_by_what_the_front_door_tells() -> None:
    assert {one.what: one.well for one in examined({**FINE, **base()})}["database"]
    # Books in files, an older front door, and one whose services say themselves that they wait for it.
    for other in (None, {"conectada": True}, {"conectada": False, "problema": "gone", "salud": None}):
        assert "database" not in {finding.what for finding in examined({**FINE, "base": other})}
    # One that has just come back, of which the next round tells.
    for known in (True, False):
        other = {"conectada": known, "problema": None, "salud": None, "saludPosible": True}
        assert "database" not in {finding.what for finding in examined({**FINE, "base": other})}


WRONG = [
    ({"base": {"conectada": True, "problema": None, "salud": None, "saludPosible": False}}, "database"),
    # As a front door of an older version tells it.
    ({"base": {"conectada": True, "problema": None, "salud": None}}, "database"),
    (base(replicas=0), "database"),
    (base(ranurasLibres=1), "database"),
    (base(conexiones=95), "database"),
    (base(fotoSegundos=900.0), "database"),
    (base(ranurasBytes=600 << 20), "database"),
    ({"servicios": {**FINE["servicios"], "tokens": {"ready": False, "role": None, "problem": ""}}}, "tokens"),
    ({"servicios": {**FINE["servicios"], "tokens": {**SERVICE, "ready": False}}}, "tokens"),
    ({"servicios": {**FINE["servicios"], "tokens": {**SERVICE, "diskFull": True}}}, "tokens"),
    ({"colas": None, "broker": {"conectado": False, "problema": "gone"}}, "broker"),
    ({"colas": {**FINE["colas"], "tokens": {"messages": 0, "consumers": 0}}}, "queue tokens"),
    ({"colas": {**FINE["colas"], "tokens.muertos": {"messages": 1, "consumers": 0}}}, "queue tokens.muertos"),
]


@pytest.mark.parametrize(("wrong", "where"), WRONG, ids=lambda one: str(one)[:60])
def test_what_is_wrong_elsewhere_is_found(wrong: dict[str, Any], where: str) -> None:
    assert [finding.what for finding in examined({**FINE, **wrong}) if not finding.well] == [where]


def test_every_argument_and_option_of_every_command_says_what_it_is() -> None:
    def silent(command: Any, name: str) -> Iterator[str]:
        yield from (f"{name} {param.name}" for param in command.params if not param.help)
        for inner in getattr(command, "commands", {}).values():
            yield from silent(inner, f"{name} {inner.name}")

    assert list(silent(typer.main.get_command(app), "zoco")) == []


def test_a_fault_of_zocos_own_is_a_traceback_and_says_nothing_of_the_shop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 would be that a promise is broken, or that a guarantee was missed."""

    def falls(*_: object) -> None:
        raise KeyError("role")

    monkeypatch.setattr("loadgen.drill.reconcile.reconcile_settled", falls)
    monkeypatch.setattr(sys, "argv", ["zoco", "audit"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 70
    assert "Traceback" in (said := capsys.readouterr().err) and "KeyError: 'role'" in said


def test_the_shell_completes_the_commands() -> None:
    asked = {"_ZOCO_COMPLETE": "complete_bash", "COMP_WORDS": "zoco do", "COMP_CWORD": "1"}
    program = Path(sys.executable).with_name("zoco")
    done = subprocess.run([program], env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["doctor"]


@pytest.mark.parametrize("command", ["buy 1 2", "queues", "kill tokens", "audit", "doctor", "dead-letters list"])
@pytest.mark.parametrize("cluster", ["", "clusters: [{name: a, cluster: {server: 'https://127.0.0.1:9'}}]", "junk"])
def test_without_a_cluster_kube_is_a_sentence_with_what_to_do_and_exit_code_2(
    command: str, cluster: str, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(f"{cluster}\ncontexts: [{{name: a, context: {{cluster: a}}}}]\ncurrent-context: a\n")
    done = subprocess.run(
        [sys.executable, "-m", "zoco", *command.split(), "--kube"],
        env={**os.environ, "KUBECONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no cluster answers kubectl" in done.stderr and "`kubectl config use-context`" in done.stderr


def test_a_server_that_cannot_reach_a_pod_is_a_cluster_that_answers(stranger: str, tmp_path: Path) -> None:
    said = quote("error trying to reach service: dial tcp: timeout")
    config = tmp_path / "config"
    config.write_text(
        f"clusters: [{{name: a, cluster: {{server: '{stranger}/500/{said}'}}}}]\n"
        "contexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "zoco", "queues", "--kube"],
        env={**os.environ, "KUBECONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "dial tcp: timeout" in done.stderr and "no cluster answers" not in done.stderr, done.stderr


def test_a_server_that_takes_the_connection_and_says_nothing_is_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setattr(cluster, "KUBECTL_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config.write_text(
            f"clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{silent.getsockname()[1]}'}}}}]\n"
            "contexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n"
        )
        with pytest.raises(cluster.KubeError, match=r"no cluster answers kubectl .nothing came for 2 s"):
            cluster.Cluster().kubectl("get", "pods")


def test_a_command_starts_without_what_it_does_not_need() -> None:
    """Each of these takes longer to import than all that `zoco --help` needs."""
    heavy = {"aiohttp", "aio_pika", "pydantic", "uvicorn", "structlog", "msgspec", "services"}
    code = f"import sys, zoco.cli; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr
