"""`zoco up --postgres --replicas ...`: a private PostgreSQL, and every process of a service decides, whoever dies."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import aiohttp
import pytest
from patience import END_SECONDS, PATIENCE_SECONDS, eventually, wait_until
from shop_builders import ZOCO, Shop, answers, processes_of, start

from loadgen.load.client import Client
from ops.postgres import LOG, processes_in
from ops.running import HOLDS

UP = (str(ZOCO), "up", "--postgres")
REPLICAS = ("--replicas", "tokens=3,usuarios=2,compras=2")
DATABASE = Path("postgres", "data")
USERS, TOKENS = 20, 1000
NUDGE_SECONDS = 2


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    # The space in its folder's name is meant, and so is the length: no socket's path is as long.
    folder = tmp_path_factory.mktemp("postgres") / f"a shop {'x' * 100}"
    folder.mkdir()
    shop = start(folder, command=(*UP, *REPLICAS), ZOCO_NUDGE_SECONDS=str(NUDGE_SECONDS))
    yield shop
    shop.stop()


def zoco(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(ZOCO), *words, "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def told(url: str) -> Any:
    with urlopen(url, timeout=60) as answer:
        return json.load(answer)


def all_answer(shop: Shop) -> bool:
    return all(answers(f"{url}/readyz") for url in shop.running.places.values())


def until_all_answer(shop: Shop) -> None:
    wait_until(lambda: all_answer(shop), lambda: shop.log.read_text(encoding="utf-8")[-5000:])


def counted(url: str, name: str) -> float:
    """A counter of a process, all its labels together."""
    with urlopen(f"{url}/metrics", timeout=60) as answer:
        found = re.findall(rf"^{name}_total(?:{{.*}})? (\S+)$", answer.read().decode(), re.MULTILINE)
    return sum(map(float, found))


def several(shop: Shop) -> list[str]:
    """Each process of the services that have more than one."""
    return [label for labels in shop.running.processes.values() if len(labels) > 1 for label in labels]


@asynccontextmanager
async def buying(shop: Shop, first: int) -> AsyncIterator[list[str]]:
    """Buyers who go on buying all the while, two for each token; the ids of what they bought."""
    bought: list[str] = []
    over = asyncio.Event()
    turns = count()

    async def buyer(client: Client) -> None:
        while not over.is_set():
            number = next(turns)
            told = await client.buy(first + number % USERS, first + number // 2 % TOKENS)
            bought.append(told["id"])
            await asyncio.sleep(0.2)

    async with shop.client() as client:
        things = {"users": range(first, first + USERS), "tokens": range(first, first + TOKENS)}
        await client.prepare(**things, saldo=10 * TOKENS, precio=10)
        buyers = [asyncio.create_task(buyer(client)) for _ in range(4)]
        try:
            yield bought
        finally:
            over.set()
            await asyncio.gather(*buyers)


async def more(bought: list[str], many: int) -> None:
    wanted = len(bought) + many

    async def so_many() -> bool:
        return len(bought) >= wanted

    await eventually(so_many, lambda: f"{len(bought)} of {wanted} were bought")


VICTIMS = ("tokens", "postgres", "usuarios")


@pytest.mark.parametrize("victims", [VICTIMS, pytest.param((*VICTIMS, *VICTIMS) * 3, marks=pytest.mark.long)])
async def test_what_is_bought_while_one_of_three_and_the_database_are_killed_is_all_there(
    shop: Shop, numbers: Iterator[int], victims: tuple[str, ...]
) -> None:
    """And each process has decided of it."""
    async with buying(shop, next(numbers)) as bought:
        for victim in victims:
            await more(bought, 30)
            await asyncio.to_thread(until_all_answer, shop)
            shop.kill(shop.running.one_of(victim))
        await asyncio.to_thread(until_all_answer, shop)
        deciding = [shop.running.places[label] for label in several(shop)]
        await asyncio.to_thread(
            wait_until, lambda: all(counted(url, "zoco_messages_received") for url in deciding), "one decides nothing"
        )
    verdict = await shop.audited()
    assert verdict.accepted >= len(bought) >= 30 * len(victims)
    assert verdict.sold > 10 * len(victims)
    clean = zoco(shop.data, "audit", "--client", str(shop.data.parent / "client.jsonl"))
    assert clean.returncode == 0, clean.stdout
    assert "lost 0, doubled 0, oversold 0" in clean.stdout


async def test_one_key_at_two_doors_that_both_decide_is_one_thing(shop: Shop, numbers: Iterator[int]) -> None:
    """Whatever its bytes are: one purchase or one refusal; and of two entries one happens."""
    doors = [shop.running.places[label] for label in shop.running.processes["compras"]]
    assert len(doors) > 1
    user, token = next(numbers), next(numbers)
    async with shop.client() as client:
        await client.prepare(users=[user], tokens=[token], saldo=10, precio=10)
        await client.buy(user, token)
    body = b'{"usuarioId": %d, "tokenId": %d}' % (user, token)
    for key, statuses in ((b"!~%d" % user, {"200", "202"}), (b"\xf1", {"400"}), (b"\xc3\xb1", {"400"})):
        every = [said(door, b"POST /compras", body, b"Idempotency-Key: " + key) for door in doors * 5]
        told = await asyncio.gather(*every)
        assert {answer.split()[1] for answer in told} <= statuses, told
        places = {found[1] for answer in told if (found := re.search(r"location: (\S+)", answer))}
        assert len(places) == ("400" not in statuses), places
    operator = b"Authorization: Bearer " + shop.running.operator_token.encode()
    for turn in range(10):
        lines = (operator, b"Idempotency-Key: two-%d-%d" % (user, turn))
        both = await asyncio.gather(
            said(doors[0], b"PUT /usuarios/%d" % user, b'{"nombre": "Eva %d"}' % turn, *lines),
            said(doors[1], b"POST /usuarios/%d/recargas" % user, b'{"monto": 1}', *lines),
        )
        assert sorted(answer.split()[1] for answer in both) == ["202", "422"], both
    await shop.audited()


async def said(door: str, line: bytes, body: bytes, *lines: bytes) -> str:
    """The whole answer to a request of just these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(door.rpartition(":")[2]))
    head = (line + b" HTTP/1.1", b"Host: localhost", b"Connection: close", b"Content-Type: application/json", *lines)
    writer.write(b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body]))
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def test_a_code_lets_one_browser_in_by_any_door_once_whichever_made_it(shop: Shop) -> None:
    until_all_answer(shop)
    key = {"Authorization": f"Bearer {shop.running.operator_token}"}
    names = shop.running.processes["compras"]
    one, other = (shop.running.places[name] for name in names)

    async with aiohttp.ClientSession() as http:

        async def a_code(door: str) -> str:
            async with http.post(f"{door}/operador/codigos", headers=key) as answer:
                return str((await answer.json())["codigo"])

        async def enters(door: str, code: str) -> tuple[int, Any]:
            async with http.post(f"{door}/operador/sesion", json={"codigo": code}) as answer:
                return answer.status, await answer.json()

        for made, used in ((one, other), (other, one), (one, one)):
            code = await a_code(made)
            assert (await enters(used, code))[0] == 200
            assert [(await enters(door, code))[0] for door in (one, other)] == [401, 401]
            code = await a_code(made)
            said = await asyncio.gather(*(enters(door, code) for door in (one, other, one, other)))
            assert sorted(status for status, _ in said) == [200, 401, 401, 401]
            # Who asks for whom is signed: nobody makes a door ask elsewhere.
            assert (await enters(used, await a_code(made) + "0"))[0] == 401
        code = await a_code(other)
        shop.kill(names[1])
        status, said_so = await enters(one, code)
        assert status == 401 and "the process that made it is gone" in said_so["detail"]
    await asyncio.to_thread(until_all_answer, shop)


def test_every_process_is_a_writer_and_every_command_knows_them(shop: Shop) -> None:
    until_all_answer(shop)
    state = told(f"{shop.front}/estado")
    assert {name: [one["role"] for one in found] for name, found in state["procesos"].items()} == {
        "tokens": ["writer"] * 3, "usuarios": ["writer"] * 2, "compras": ["writer"] * 2,
    }  # fmt: skip
    salud = state["base"].pop("salud")
    assert state["base"] == {"conectada": True, "problema": None, "saludPosible": True}
    assert 0 < salud["conexiones"] < salud["conexionesMax"] and salud["bytes"] and not salud["ranurasLibres"]
    assert {*state["tumbar"]} == {"compras", "tokens", "usuarios", "transacciones", "rabbitmq", "postgres"}
    queues = json.loads(zoco(shop.data, "queues", "--json").stdout)
    consumers = {name: depth["consumers"] for name, depth in queues.items() if not name.endswith(".muertos")}
    assert consumers == {"compras": 2, "tokens": 3, "usuarios": 2, "transacciones": 1}
    doctor = zoco(shop.data, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert re.search(r"ok   PostgreSQL: \S+, version \d+", doctor.stdout)
    for elsewhere in ((), ("--url", shop.front)):
        found = zoco(shop.data, "doctor", *elsewhere).stdout
        assert re.search(r"ok   database: \d+ of \d+ connections, \d+ MiB", found), found


def test_a_process_that_is_held_down_and_the_database_are_named(shop: Shop) -> None:
    until_all_answer(shop)
    shop.kill("tokens-2", 600)
    shop.kill("postgres", 600)
    wait_until(lambda: not told(f"{shop.front}/estado")["base"]["conectada"], "the front door does not notice")
    other = f"{shop.running.places['tokens-1']}/readyz"
    wait_until(lambda: told(other)["waitsFor"] is not None, "tokens-1 does not notice")
    doctor = zoco(shop.data, "doctor")
    assert doctor.returncode == 1
    assert "BAD  tokens-2: does not answer" in doctor.stdout
    assert "BAD  tokens-1: it waits for its database" in doctor.stdout
    assert re.search("BAD  database: no connection .*zoco kill postgres", doctor.stdout)
    refused = zoco(shop.data, "buy", "1", "101")
    assert refused.returncode == 2 and "503: the database does not answer" in refused.stderr, refused
    for label in ("tokens-2", "postgres"):
        (shop.data / HOLDS / label).unlink()
    until_all_answer(shop)
    assert zoco(shop.data, "buy", "1", "101", "--wait", "60").returncode in (0, 1)


def test_the_button_of_the_database_kills_it_and_it_is_back(shop: Shop) -> None:
    until_all_answer(shop)
    pid = shop.running.pids["postgres"]
    headers = {"Authorization": f"Bearer {shop.running.operator_token}"}
    with urlopen(Request(f"{shop.front}/operador/derribos/postgres", b"", headers)) as answer:
        assert json.load(answer)["quien"] == f"pid {pid}"
    (shop.data / HOLDS / "postgres").unlink(missing_ok=True)
    wait_until(lambda: shop.running.pids.get("postgres") not in (None, pid), "it does not come back")
    until_all_answer(shop)


async def test_what_lies_in_the_hands_of_one_that_stands_still_is_not_asked_for_in_a_storm(
    shop: Shop, numbers: Iterator[int]
) -> None:
    """The others go on: their queue is empty, and what that one holds cannot be known."""
    until_all_answer(shop)
    running = shop.running
    frozen = running.pids["tokens-1"]

    def asked() -> float:
        return sum(counted(running.places[label], "zoco_nudges_sent") for label in running.processes["compras"])

    async with buying(shop, next(numbers)) as bought:
        await more(bought, 20)
        os.kill(frozen, signal.SIGSTOP)
        try:
            await more(bought, 20)
            stood, before = time.monotonic(), asked()
            await more(bought, 60)
            stuck = told(f"{shop.front}/estado")["sinTerminar"]
            # Whoever asks by the queues alone has asked for each of these three times by then, and goes on.
            wait_until(lambda: time.monotonic() - stood > 8 * NUDGE_SECONDS, "time stands still")
            questions = asked() - before
        finally:
            os.kill(frozen, signal.SIGCONT)
    assert stuck > 10
    assert questions == 0, f"{questions} questions about {stuck} purchases"
    await shop.audited()


def test_its_log_tells_of_no_deadlock_and_of_no_error_of_ours(shop: Shop) -> None:
    """What is killed is told of: a process that died is none of them."""
    said = (shop.data / "postgres" / LOG).read_text(encoding="utf-8")
    wrong = [line for line in said.splitlines() if re.search(r" (ERROR|PANIC|WARNING): ", line)]
    injected = ("terminating connection because of crash", "canceling statement due to", "could not receive data")
    assert not [line for line in wrong if not any(one in line for one in injected)]
    assert "deadlock" not in said


def test_stopped_in_time_it_leaves_nobody_and_is_not_started_as_another_kind(shop: Shop) -> None:
    assert shop.stop() < END_SECONDS
    assert processes_in(shop.data / DATABASE) == []
    refused = zoco(shop.data, "up", "--port", "0")
    assert refused.returncode == 2
    assert "are in its PostgreSQL" in refused.stderr and "zoco migrate" in refused.stderr
    unread = zoco(shop.data, "audit")
    assert unread.returncode == 3
    assert "which does not run: start it with --postgres" in unread.stderr
    # With another number of processes, what was bought is there.
    again = start(shop.data.parent, command=UP)
    shop.process, shop.log = again.process, again.log
    assert {*shop.running.places} == {"compras", "tokens", "usuarios", "transacciones"}
    assert "token-vendido" in zoco(shop.data, "buy", "2", "101").stdout


def test_killed_it_leaves_nobody_and_a_database_of_another_version_is_refused(shop: Shop) -> None:
    version = shop.data / DATABASE / "PG_VERSION"
    shop.process.kill()
    shop.process.wait()
    wait_until(lambda: not processes_in(shop.data / DATABASE), "the database outlives it")
    wait_until(lambda: not processes_of(shop.data), lambda: processes_of(shop.data))
    kept = version.read_text()
    version.write_text("13\n")
    refused = zoco(shop.data, "up", "--postgres", "--port", "0")
    assert refused.returncode == 2, refused
    assert "is of PostgreSQL 13, and here is" in refused.stderr
    version.write_text(kept)
    again = start(shop.data.parent, command=UP)
    shop.process, shop.log = again.process, again.log
    assert zoco(shop.data, "audit").returncode == 0


def test_reset_deletes_the_database_too(shop: Shop) -> None:
    assert zoco(shop.data, "reset", "--yes").returncode == 2
    shop.stop()
    assert zoco(shop.data, "reset", "--yes").returncode == 0
    assert not shop.data.exists()
