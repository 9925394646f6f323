"""`zoco up --replicas`: several processes of a service on files, of which one writes; each is known by its name."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from patience import PATIENCE_SECONDS, wait_until
from shop_builders import ZOCO, Shop, answers, start

from broker.services import SERVICES
from ops.places import PORTS, STEP, places, read_replicas
from ops.process import free_port, is_free, lock_holder
from ops.running import HOLDS, KIND, LocalError

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
