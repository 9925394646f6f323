"""A replica of the front door that does not write: what it passes on to the one that does, and whom it believes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from door_builders import JSON, KEY, OPERATOR, SECRET, Answer, Door, door, doors, told
from hypothesis import example, given, settings
from hypothesis import strategies as st
from patience import eventually
from shop_builders import Shop, replica

from ops.process import free_port
from services.compras.api import NEWS_SECONDS
from services.compras.replicas import PROOF, answer_proof, passed_on

BUYS = b'{"usuarioId": 1, "tokenId": 101}'
SLOW = {**JSON, "Prefer": "wait=30"}
ENTRY = b'{"nombre": "A secret name"}'


class Stranger:
    """Stands where the writer stands, and hears what it is asked."""

    def __init__(self, folder: Path, answer: Callable[[web.Request, bytes], web.Response]) -> None:
        self.heard: list[web.Request] = []
        self.port = free_port()
        self._folder, self._answer = folder, answer

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.heard.append(request)
        return self._answer(request, await request.read())

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[Stranger]:
        """It holds the lock of the books, and says where it is."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        books = self._folder / "compras"
        books.mkdir(exist_ok=True)
        (books / "writer").write_text(f"http://127.0.0.1:{self.port}", encoding="utf-8")
        with (books / "lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self
        await runner.cleanup()


def signed(request: web.Request) -> web.Response:
    """What a replica of this shop answers."""
    body = b'{"id": "x", "estado": "solicitada"}'
    headers = passed_on([(b"content-type", b"application/json")])
    proof = answer_proof(SECRET.encode(), request.headers[PROOF.decode()].encode(), 202, headers, body)
    answer = {"Content-Type": "application/json", PROOF.decode(): proof.decode()}
    return web.Response(body=body, status=202, headers=answer)


async def test_a_request_without_a_key_is_the_same_purchase_when_the_writer_dies_before_it_answers(
    tmp_path: Path,
) -> None:
    def dying(request: web.Request, _: bytes) -> web.Response:
        if len(stranger.heard) == 1:
            assert request.transport
            request.transport.close()
        return signed(request)

    async with (stranger := Stranger(tmp_path, dying)).standing():
        with door(tmp_path, "follower") as follower:
            status, _, _ = await follower.ask("POST", "/compras", JSON, BUYS)
    assert " 202 " in status
    first, second = (request.headers["Idempotency-Key"] for request in stranger.heard)
    assert first == second


async def test_a_made_up_address_hears_no_credential_and_is_not_believed(tmp_path: Path) -> None:
    def makes_up(request: web.Request, _: bytes) -> web.Response:
        proof = request.headers[PROOF.decode()]
        headers = {"Location": "https://evil.example/", PROOF.decode(): proof.partition(".")[2]}
        return web.json_response({"id": "x", "estado": "solicitada"}, status=202, headers=headers)

    sent = {**OPERATOR, "Idempotency-Key": "k", "Cookie": f"session={KEY}", "X-Other": KEY}
    async with (stranger := Stranger(tmp_path, makes_up)).standing():
        with door(tmp_path, "follower") as follower:
            answer = await follower.ask("PUT", "/usuarios/1", sent, ENTRY)
            assert " 503 " in answer[0] and b"ZOCO_REPLICA_SECRET" in answer[2], answer
            assert told(answer, "idempotency-key") == "k"
            assert re.fullmatch(r"/altas/[0-9a-f-]{36}", told(answer, "location") or "")
            # Not even what it was asked by opens anything at a replica.
            (heard,) = stranger.heard
            replayed = {**{name: value for name, value in heard.headers.items() if name != "Host"}, "Prefer": "x"}
            assert " 403 " in (await follower.ask("PUT", "/usuarios/1", replayed, ENTRY))[0]
    assert {name.lower() for name in heard.headers} == {
        "host", "content-type", "idempotency-key", "content-length", "accept", "accept-encoding",
        "x-zoco-replica", "x-zoco-client",
    }  # fmt: skip
    assert not any(KEY in value or SECRET in value for value in heard.headers.values())


@contextmanager
def stopped(one: Door) -> Iterator[None]:
    one.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        one.process.send_signal(signal.SIGCONT)


async def test_who_stands_between_two_replicas_gets_nothing_from_the_one_that_writes(tmp_path: Path) -> None:
    """It passes on to the writer, byte by byte, what a follower took it for the writer to ask."""
    with doors(tmp_path) as both:
        writer, follower = both["writer"], both["follower"]
        file = tmp_path / "compras" / "writer"
        answers: list[Answer] = []

        async def relayed(here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
            head = await here.readuntil(b"\r\n\r\n")
            body = await here.readexactly(len(ENTRY))
            writer.process.send_signal(signal.SIGCONT)
            line, _, headers = head.partition(b" HTTP/1.1\r\n")
            answers.append(await writer.ask_raw(line.decode(), headers.partition(b"\r\n")[2][:-2], body))
            status, lines, content = answers[-1]
            back.write("\r\n".join((status, *lines, "", "")).encode() + content)
            await back.drain()
            back.close()

        async with await asyncio.start_server(relayed, "127.0.0.1", 0) as between:
            # A writer that runs notes its own address as soon as it sees another.
            with stopped(writer):
                file.write_text(f"http://127.0.0.1:{between.sockets[0].getsockname()[1]}")
                answer = await follower.ask("PUT", "/usuarios/1", OPERATOR, ENTRY)
        assert [one[0] for one in answers] == ["HTTP/1.1 403 Forbidden"]
        # By then the writer has said again where it is, and was asked by itself.
        assert " 202 " in answer[0], answer


async def test_a_writer_that_stands_still_is_noticed_and_what_it_was_asked_happens_once(tmp_path: Path) -> None:
    with doors(tmp_path) as both:
        writer, follower = both["writer"], both["follower"]
        asked = [
            ("POST", "/compras", SLOW, BUYS, r"/compras/[0-9a-f-]{36}"),
            ("PUT", "/usuarios/1", {**OPERATOR, **SLOW}, ENTRY, r"/altas/[0-9a-f-]{36}"),
            ("POST", "/tokens", {**OPERATOR, **SLOW}, b'[{"id":1,"nombre":"a","imagen":"a.png","precio":1}]', None),
        ]
        with stopped(writer):
            async with asyncio.timeout(20):
                answers = await asyncio.gather(*(follower.ask(*one[:4]) for one in asked))
                assert " 200 " in (await follower.ask("GET", "/compras", {}))[0]
        for answer, (method, target, headers, body, place) in zip(answers, asked, strict=True):
            assert " 503 " in answer[0] and b"does not answer" in answer[2], answer
            key = told(answer, "idempotency-key")
            assert key
            assert place is None or re.fullmatch(place, told(answer, "location") or "")
            again = {**headers, "Idempotency-Key": key, "Prefer": "wait=0"}
            repeated = [await one.ask(method, target, again, body) for one in both.values()]
            assert all(" 202 " in one[0] and told(one, "location") == told(answer, "location") for one in repeated)
        assert len(json.loads((await writer.ask("GET", "/compras", {}))[2])) == 1


ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NO_IDS = ("%00", "nothing", ID.upper(), ID[1:], f"{ID}%00", f"{ID}%0A", "%C3%B1", "a" * 10_000)


async def test_nobody_is_asked_for_what_is_no_id(tmp_path: Path) -> None:
    async with (stranger := Stranger(tmp_path, lambda request, _: signed(request))).standing():
        with door(tmp_path, "follower") as follower:
            for one in NO_IDS:
                for path in (f"/compras/{one}", f"/compras/{one}/eventos", f"/altas/{one}%20"):
                    began = time.monotonic()
                    assert " 404 " in (await follower.ask("GET", path, OPERATOR))[0], path
                    # For a purchase that it may still have to read of it waits longer.
                    assert time.monotonic() - began < NEWS_SECONDS, path
            assert not stranger.heard
            assert " 202 " in (await follower.ask("GET", f"/compras/{ID}", {}))[0]
            assert stranger.heard


@pytest.mark.long
async def test_who_waits_by_way_of_a_follower_keeps_nobody_from_anything(tmp_path: Path) -> None:
    """There is no broker, so nothing ends: all of them wait as long as they may."""
    with doors(tmp_path) as both:
        follower = both["follower"]
        waiting = [asyncio.create_task(follower.ask("POST", "/compras", SLOW, BUYS)) for _ in range(150)]
        accepted = re.compile(rb"^zoco_purchases_accepted_total 150\.0$", re.MULTILINE)

        async def all_wait() -> bool:
            return bool(accepted.search((await both["writer"].ask("GET", "/metrics", {}))[2]))

        await eventually(all_wait, "they are not accepted")
        async with asyncio.timeout(5):
            assert " 202 " in (await follower.ask("POST", "/compras", JSON, BUYS))[0]
            assert " 202 " in (await follower.ask("POST", "/compras", {**JSON, "Prefer": "wait=1"}, BUYS))[0]
            assert " 404 " in (await follower.ask("GET", f"/compras/{ID}", {}))[0]
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_the_writers_503_is_passed_on_with_its_reason_and_asked_for_once(tmp_path: Path) -> None:
    with doors(tmp_path, ZOCO_BACKLOG_LIMIT="1") as both:
        await both["writer"].ask("POST", "/compras", JSON, BUYS)
        one, other = [await both[name].ask("POST", "/compras", JSON, BUYS) for name in ("writer", "follower")]
        assert " 503 " in one[0] and b"1 purchases are on their way" in one[2]
        assert (other[0], other[2], told(other, "retry-after")) == (one[0], one[2], "5")
        assert all(told(answer, "idempotency-key") and told(answer, "location") for answer in (one, other))
        assert await both["writer"].answered("POST", 503) == 2


async def test_a_disk_that_is_short_is_told_with_the_key_by_which_it_is_bought_later(tmp_path: Path) -> None:
    with doors(tmp_path) as both:
        (tmp_path / "short").touch()
        refused = [await one.ask("POST", "/compras", JSON, BUYS) for one in both.values()]
        (tmp_path / "short").unlink()
        for answer in refused:
            assert " 503 " in answer[0] and b"the disk is nearly full" in answer[2]
            key, place = told(answer, "idempotency-key"), told(answer, "location")
            assert key and place
            for one in both.values():
                again = await one.ask("POST", "/compras", {**JSON, "Idempotency-Key": key}, BUYS)
                assert (again[0], told(again, "location")) == ("HTTP/1.1 202 Accepted", place)
        assert len(json.loads((await both["writer"].ask("GET", "/compras", {}))[2])) == len(refused)


async def test_a_bug_is_told_with_the_key(tmp_path: Path) -> None:
    with doors(tmp_path) as both:
        for one in both.values():
            answer = await one.ask("POST", "/compras", JSON, b'{"usuarioId": 500, "tokenId": 1}')
            assert " 500 " in answer[0] and told(answer, "idempotency-key") and told(answer, "location"), answer


async def test_a_follower_without_the_shops_secret_says_so(tmp_path: Path) -> None:
    with (
        doors(tmp_path) as both,
        door(tmp_path, "without", ZOCO_REPLICA_SECRET="") as without,
        door(tmp_path, "another", ZOCO_REPLICA_SECRET="another-shops-secret") as another,
    ):
        for one in (without, another):
            answer = await one.ask("POST", "/compras", JSON, BUYS)
            assert " 503 " in answer[0] and b"ZOCO_REPLICA_SECRET" in answer[2], answer
        assert json.loads((await both["writer"].ask("GET", "/compras", {}))[2]) == []


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    with doors(tmp_path_factory.mktemp("keys")) as found:
        yield found


async def ways(both: dict[str, Door], head: bytes, body: bytes) -> list[tuple[str, str | None, bytes]]:
    """The answers to one request, by all ways."""
    found = []
    for one in both.values():
        for line in ("POST /compras", "POST /compras?x=%F1"):
            answer = await one.ask_raw(line, head, body)
            found.append((answer[0], told(answer, "location"), answer[2]))
    return found


@settings(max_examples=300)
@given(keys=st.lists(st.one_of(st.binary(max_size=4), st.binary(max_size=300), st.text().map(str.encode)), max_size=2))
@example(keys=[b"\xf1"])
@example(keys=["ñ".encode()])
@example(keys=[b"a b"])
@example(keys=[b"!~"])
@example(keys=[b"a", b"a"])
@example(keys=[b"k" * 255])
@example(keys=[b"k" * 256])
def test_whatever_bytes_a_key_is_made_of_it_is_one_purchase_or_one_refusal(
    both: dict[str, Door], keys: list[bytes]
) -> None:
    keys = [key.replace(b"\n", b"") for key in keys]
    head = b"".join(b"Idempotency-Key: " + key + b"\r\n" for key in keys or [b"made"])
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(BUYS)
    first, *others = asyncio.run(ways(both, head, BUYS))
    assert others == [first] * 3
    status = int(first[0].split()[1])
    assert status in (202, 400)
    stripped = [key.strip(b" \t") for key in keys]
    if keys and (len(keys) > 1 or not re.fullmatch(rb"[\x21-\x7e]{1,255}", stripped[0])):
        assert status == 400


async def test_a_body_in_chunks_is_the_same_request(both: dict[str, Door]) -> None:
    head = b"Idempotency-Key: chunks\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    chunked = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (7, BUYS[:7], len(BUYS) - 7, BUYS[7:])
    first, *others = await ways(both, head, chunked)
    assert first[0] == "HTTP/1.1 202 Accepted"
    assert others == [first] * 3


async def test_an_end_that_is_waited_for_at_a_follower_is_told_as_the_writer_tells_it(
    shop: Shop, numbers: Iterator[int]
) -> None:
    first = next(numbers)
    bearer = {"Authorization": f"Bearer {shop.running.operator_token}", "Prefer": "wait=60"}
    with replica(shop) as url:
        async with shop.client() as client:
            await client.prepare(users=[first], tokens=[first], saldo=10, precio=10)
        async with aiohttp.ClientSession() as http:
            body, headers = {"usuarioId": first, "tokenId": first}, {"Prefer": "wait=60", "Idempotency-Key": f"{first}"}
            answers = []
            for front in (url, shop.front, url):
                async with http.post(f"{front}/compras", json=body, headers=headers) as answer:
                    answers.append((answer.status, answer.headers["Preference-Applied"], await answer.json()))
            assert answers == [answers[0]] * 3
            assert (answers[0][0], answers[0][1], answers[0][2]["estado"]) == (200, "wait=60", "registrada")
            many = [{"id": first + n, "nombre": "a", "imagen": "a.png", "precio": 1} for n in (1, 2)]
            for method, path, entered in (
                ("PUT", f"/usuarios/{first}", {"nombre": "Ana"}),
                ("POST", "/tokens", many),
            ):
                async with http.request(method, url + path, json=entered, headers=bearer) as answer:
                    assert answer.status == 200, await answer.text()
                    entries = await answer.json()
                    assert {one["estado"] for one in (entries if path == "/tokens" else [entries])} == {"aplicada"}


async def test_a_service_that_stands_still_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    """Of tokens there is a process that takes connections and says nothing."""
    async with (
        await asyncio.start_server(no_answer, "127.0.0.1", 0) as silent,
        await asyncio.start_server(one_answer, "127.0.0.1", 0) as usuarios,
    ):
        urls = {
            "ZOCO_TOKENS_URL": f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}",
            "ZOCO_USUARIOS_URL": f"http://127.0.0.1:{usuarios.sockets[0].getsockname()[1]}",
        }
        with door(tmp_path, "front", **urls) as front:
            waiting = [asyncio.create_task(front.ask("GET", "/tokens", {})) for _ in range(150)]
            await asyncio.sleep(0)
            async with asyncio.timeout(4):
                for _ in range(10):
                    assert (await front.ask("GET", "/usuarios?limite=%31", {}))[2] == b"GET /usuarios?limite=%31"
            assert not any(task.done() for task in waiting)
            async with asyncio.timeout(60):
                assert {(await task)[0] for task in waiting} == {"HTTP/1.1 503 Service Unavailable"}


async def one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Of usuarios: it says what it was asked, byte by byte."""
    with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            line = head.split(b" HTTP/")[0]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(line), line))


async def no_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Of tokens: until whoever asks has had enough."""
    with contextlib.closing(writer), contextlib.suppress(OSError):
        while await reader.read(4096):
            pass
