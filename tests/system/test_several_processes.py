"""`zoco up --replicas`: several processes of a service on files, of which one writes; each is known by its name."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import socketserver
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import pytest
from patience import PATIENCE_SECONDS, wait_until
from shop_builders import ZOCO, Shop, answers, start
from yarl import URL

from broker.services import SERVICES
from loadgen.drill.reconcile import answers as gathered
from loadgen.load.client import Client
from ops.errors import UserError
from ops.places import PORTS, STEP, places, read_replicas
from ops.process import free_port, is_free, lock_holder
from ops.running import HOLDS, KIND, LocalError
from zoco.books import Books

REPLICAS = {"tokens": 3, "compras": 2, "usuarios": 1, "transacciones": 1}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("several") / "a shop"
    folder.mkdir()
    shop = start(folder, command=(str(ZOCO), "up", "--replicas", "tokens=3,compras=2"))
    yield shop
    shop.stop()


def zoco(shop: Shop, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(ZOCO), *words, "--data", str(shop.data)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def all_answer(shop: Shop) -> bool:
    return all(answers(f"{url}/readyz") for url in shop.running.places.values())


def state_at(url: str) -> Any:
    with urlopen(f"{url}/readyz") as answer:
        return json.load(answer)


def estado(shop: Shop) -> Any:
    with urlopen(f"{shop.front}/estado") as answer:
        return json.load(answer)


def test_each_process_has_a_name_and_a_place_of_its_own(several: Shop) -> None:
    running = several.running
    assert {name: len(labels) for name, labels in running.processes.items()} == REPLICAS
    assert running.processes["tokens"] == ["tokens-1", "tokens-2", "tokens-3"]
    assert len({*running.places.values()}) == len({running.pids[label] for label in running.places}) == 7
    assert all_answer(several)
    procesos = estado(several)["procesos"]
    assert {name: {one["pid"] for one in found} for name, found in procesos.items()} == {
        name: {running.pids[label] for label in running.processes[name]} for name in ("tokens", "compras")
    }
    assert {one["role"] for one in procesos["tokens"]} == {"writer", "follower"}


async def test_an_audit_asks_each_process_and_the_front_door_as_its_buyers_do(several: Shop) -> None:
    async with Client(several.front, several.data.parent / "client.jsonl", several.running.keys) as client:
        for token in (101, 102, 103):
            await client.buy(1, token)
    verdict = await several.audited()
    # Of these few nothing was left out.
    assert 8 not in verdict.partly
    shown, _ = await gathered(several.running.urls)
    assert {(one["of"], *one.get("only", ())) for one in shown["lists"]} == {
        *((name,) for name in SERVICES),
        *(("compras", "usuarioId"), ("transacciones", "usuarioId"), ("transacciones", "tokenId")),
    }
    assert len(shown["resumed"]) >= 3 * 2
    assert shown["behind"] == shown["unasked"] == shown["unknown"] == []


def test_who_is_killed_by_a_services_name_is_the_one_that_writes_and_another_takes_over(several: Shop) -> None:
    wait_until(lambda: all_answer(several), "somebody is away")
    running, lock = several.running, several.data / "tokens" / "lock"
    writes = next(label for label in running.processes["tokens"] if running.pids[label] == lock_holder(lock))
    killed = zoco(several, "kill", "tokens", "--for", "600")
    assert killed.stdout == f"killed {writes} (pid {running.pids[writes]}), for 600 s\n"
    assert zoco(several, "kill", writes).returncode == 2
    # The other two are not held: one of them sells.
    bought = json.loads(zoco(several, "buy", "1", "101", "--wait", "60", "--json").stdout)
    assert bought["estado"] in ("registrada", "rechazada")
    assert zoco(several, "doctor").returncode == 1
    assert f"BAD  {writes}: does not answer" in zoco(several, "doctor").stdout
    assert zoco(several, "audit").returncode == 0
    (several.data / HOLDS / writes).unlink()
    wait_until(lambda: all_answer(several), f"{writes} does not come back")
    assert zoco(several, "doctor").returncode == 0


@pytest.mark.parametrize("name", ["tokens", "compras"])
def test_reads_go_to_whoever_is_alive(several: Shop, name: str) -> None:
    for label in several.running.processes[name]:
        wait_until(lambda: all_answer(several), "somebody is away")
        several.kill(label, 600)
        front = several.front
        assert front != several.running.places[label]
        with urlopen(f"{front}/{name}") as answer:
            assert answer.status == 200
        (several.data / HOLDS / label).unlink()


def test_the_button_says_which_one_it_knocked_down(several: Shop) -> None:
    wait_until(lambda: all_answer(several), "somebody is away")
    headers = {"Authorization": f"Bearer {several.running.operator_token}"}
    with urlopen(Request(f"{several.front}/operador/derribos/tokens", b"", headers)) as answer:
        told = json.load(answer)
    assert re.fullmatch(r"tokens-\d, pid \d+", told["quien"]), told


@pytest.fixture
def first_follows(several: Shop) -> Shop:
    """The first of tokens lives, and another one of them writes."""
    first, lock = several.running.processes["tokens"][0], several.data / "tokens" / "lock"
    wait_until(lambda: all_answer(several), "somebody is away")
    while (pid := several.running.pids[first]) == lock_holder(lock):
        several.kill(first, 600)
        wait_until(lambda: lock_holder(lock) not in {None, pid}, "nobody takes over")
        (several.data / HOLDS / first).unlink()
        wait_until(lambda: all_answer(several), f"{first} does not come back")
    return several


def test_a_backup_is_put_back_by_whichever_process_of_a_service_writes(first_follows: Shop, tmp_path: Path) -> None:
    file = tmp_path / "shop.tar"
    done = zoco(first_follows, "backup", str(file))
    assert done.returncode == 0, done.stderr
    assert json.loads(zoco(first_follows, "buy", "2", "102", "--wait", "60", "--json").stdout)["estado"] == "registrada"
    done = zoco(first_follows, "restore", str(file), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: all_answer(first_follows), "somebody is away")
    bought = json.loads(zoco(first_follows, "buy", "2", "102", "--wait", "60", "--json").stdout)
    assert bought["estado"] == "registrada"
    assert zoco(first_follows, "audit").returncode == 0


def test_who_follows_says_who_writes_to_whoever_knows_the_service_by_one_address(
    first_follows: Shop, tmp_path: Path
) -> None:
    """As a Job in a cluster does: which process answers there, a balancer chooses."""
    running = first_follows.running
    states = {label: state_at(url) for label, url in running.places.items()}
    followers = {
        states[label]["service"]: url for label, url in running.places.items() if states[label]["role"] == "follower"
    }
    assert followers.keys() == {"tokens", "compras"}
    env = {f"ZOCO_{name.upper()}_URL": followers.get(name, running.urls[name]) for name in SERVICES}
    env = {**os.environ, **env, "ZOCO_BOOKS_TOKEN": running.books_token}
    for words in (["backup", str(tmp_path / "shop.tar")], ["restore", str(tmp_path / "shop.tar"), "--yes"]):
        done = subprocess.run([str(ZOCO), *words, "--settings"], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: all_answer(first_follows), "somebody is away")


@contextmanager
def balanced(writes: str, follows: str) -> Iterator[str]:
    """As behind a Service of Kubernetes, where chance is worst: who asks how it is meets another one than whoever wants
    something of it."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    class Turn(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            looks = self.request.recv(64, socket.MSG_PEEK).startswith(b"GET /readyz")
            place = URL(writes if looks else follows)
            with socket.create_connection((place.host, place.port)) as other:
                threads = [Thread(target=pump, args=ends) for ends in ((self.request, other), (other, self.request))]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Turn) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_next_connection_may_come_to_another_process(first_follows: Shop, tmp_path: Path) -> None:
    """Who says that it writes, behind an address of many, is asked at its own: the next answer would be another's."""
    running = first_follows.running
    states = {url: state_at(url) for label, url in running.places.items() if label.startswith("compras")}
    in_turn = sorted(states, key=lambda url: states[url]["role"] == "follower")
    assert [states[url]["role"] for url in in_turn] == ["writer", "follower"]
    with balanced(*in_turn) as compras:
        env = {f"ZOCO_{name.upper()}_URL": running.urls[name] for name in SERVICES} | {"ZOCO_COMPRAS_URL": compras}
        env = {**os.environ, **env, "ZOCO_BOOKS_TOKEN": running.books_token}
        for words in (["backup", str(tmp_path / "shop.tar")], ["restore", str(tmp_path / "shop.tar"), "--yes"]):
            done = subprocess.run(
                [str(ZOCO), *words, "--settings"], env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: all_answer(first_follows), "somebody is away")


def test_a_rebuild_is_asked_of_the_process_that_writes(first_follows: Shop) -> None:
    done = zoco(first_follows, "rebuild", "tokens")
    assert done.returncode == 0 and "there is nothing to do" in done.stdout.replace("\n", " "), (
        done.stdout + done.stderr
    )


def test_why_a_long_book_is_not_taken_is_said_though_it_is_refused_at_its_first_line(first_follows: Shop) -> None:
    running = first_follows.running
    books = Books(running.ways, running.books_token)
    head = json.dumps({"heights": books.state("tokens")["book"]["heights"]}).encode() + b"\n"
    with pytest.raises(UserError) as refused:
        books.put("tokens", itertools.chain((head,), itertools.repeat(b"x" * 65_536, 200)))
    assert "this book is of generation" in str(refused.value)


@pytest.mark.long
def test_none_of_them_is_left_and_the_next_time_there_may_be_fewer(several: Shop) -> None:
    pids = [several.running.pids[label] for label in several.running.places]
    several.stop()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    alone = start(several.data.parent)
    assert {*alone.running.places} == {*SERVICES}
    alone.stop()
    again = start(several.data.parent, command=(str(ZOCO), "up", "--replicas", "tokens=3,compras=2"))
    several.process, several.log = again.process, again.log


def test_the_first_of_each_service_is_where_the_one_would_be() -> None:
    first = next(port for port in iter(free_port, None) if all(is_free(port + n) for n in range(3 * STEP)))
    found = {place.label: place.port - first for place in places(first, {"tokens": 3})}
    assert found == {"compras": 0, "usuarios": 1, "tokens-1": 2, "tokens-2": 12, "tokens-3": 22, "transacciones": 3}
    assert [place.label for place in places(first, {})] == list(PORTS)


def test_how_many_is_read_or_refused_with_a_sentence() -> None:
    assert read_replicas("") == {}
    assert read_replicas("tokens=3, usuarios=2") == {"tokens": 3, "usuarios": 2}
    for wrong in ("token=3", "=3", "3", "rabbitmq=2"):
        with pytest.raises(LocalError, match=r"--replicas: there is no .*known are compras"):
            read_replicas(wrong)
    for wrong in ("tokens", "tokens=", "tokens=0", "tokens=x", "tokens=-1", "tokens=10", "tokens=3.0", "tokens=1e1"):
        with pytest.raises(LocalError, match="of tokens there can be 1 to 9"):
            read_replicas(wrong)


@pytest.mark.long
def test_books_of_one_kind_are_not_started_as_the_other(tmp_path: Path) -> None:
    """What was bought would seem lost."""
    shop = Shop(tmp_path, subprocess.Popen(["true"]), tmp_path / "log")
    shop.process.wait()
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "journal-1.jsonl").touch()
    for told in (None, "files\n"):
        if told:
            (tmp_path / KIND).write_text(told)
        refused = zoco(shop, "up", "--postgres", "--port", "0")
        assert refused.returncode == 2
        assert "are files" in refused.stderr and "zoco migrate" in refused.stderr
    (tmp_path / KIND).write_text("postgresql\n")
    refused = zoco(shop, "up", "--port", "0")
    assert refused.returncode == 2
    assert (
        "are in its PostgreSQL" in refused.stderr
        and "zoco migrate" in refused.stderr
        and "--postgres" in refused.stderr
    )
    assert not (tmp_path / "postgres").exists() and not (tmp_path / "rabbitmq").exists()
