"""Each key opens what it is for and nothing else; a browser gets in by a code, once; the log says who was refused."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from patience import PATIENCE_SECONDS
from pydantic import SecretStr
from shop_builders import ZOCO, Shop, replica
from yarl import URL

from broker.services import SERVICES
from services.compras import codes
from services.compras.codes import MOST_CODES, Codes, maker_of, with_maker
from services.shared.http import sessions
from services.shared.http.sessions import new_session, session_holds

EVA = {"nombre": "Eva"}
KEY = SecretStr("k" * 16)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def ask(method: str, url: str | URL, **options: Any) -> tuple[int, Any, dict[str, str]]:
    async with aiohttp.ClientSession() as http, http.request(method, url, **options) as answer:
        raw = await answer.read()
        told = json.loads(raw) if answer.content_type.endswith(("/json", "+json")) else raw
        return answer.status, told, dict(answer.headers)


async def entered(front: str, code: str) -> tuple[int, str]:
    """The status, and the cookie as a browser sends it back."""
    status, _, headers = await ask("POST", f"{front}/operador/sesion", json={"codigo": code})
    return status, headers.get("Set-Cookie", "").partition(";")[0]


async def a_code(shop: Shop, front: str | None = None) -> str:
    key = bearer(shop.running.operator_token)
    status, told, _ = await ask("POST", f"{front or shop.front}/operador/codigos", headers=key)
    assert (status, told["segundos"]) == (200, 60)
    return str(told["codigo"])


@contextmanager
def logged(shop: Shop, *sentences: str) -> Iterator[list[str]]:
    """Waits until all of this stands in the log of what is done here; the lines of it."""
    before, lines = shop.log.stat().st_size, []
    yield lines
    lines += shop.says(*sentences, after=before).splitlines()


async def test_each_key_opens_its_own_doors(shop: Shop) -> None:
    running = shop.running
    operator, books = running.operator_token, running.books_token
    doors = [
        *((name, method, path, books) for name in SERVICES for method, path in (
            ("GET", "/diario"), ("PUT", "/libro"), ("POST", "/libro/reconstruccion?comprobar=true"))),
        ("compras", "GET", "/operador", operator),
        ("compras", "POST", "/operador/codigos", operator),
        ("compras", "PUT", "/usuarios/7", operator),
        ("compras", "POST", "/operador/derribos/nadie", operator),
    ]  # fmt: skip
    for name, method, path, key in doors:
        for shown in (operator, books, running.broker_url, f"{key} ", key[:-1], ""):
            status, told, _ = await ask(method, running.urls[name] + path, headers=bearer(shown))
            assert (status in (401, 403)) is (shown.strip() != key), (name, path, told)


def test_the_operators_key_is_with_the_front_door_alone(shop: Shop) -> None:
    for name in SERVICES:
        environ = Path(f"/proc/{shop.running.pids[name]}/environ").read_text(encoding="utf-8")
        assert (shop.running.operator_token in environ) is (name == "compras")
        assert shop.running.books_token in environ


async def test_a_code_lets_one_browser_in_once(shop: Shop) -> None:
    code = await a_code(shop)
    status, told, headers = await ask("POST", f"{shop.front}/operador/sesion", json={"codigo": code})
    assert (status, told) == (200, {"segundos": 43200})
    assert re.fullmatch(r"zoco_\w+=[\w.-]+; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", headers["Set-Cookie"])
    assert headers["Cache-Control"] == "no-store"
    assert (await entered(shop.front, code))[0] == 401
    assert (await entered(shop.front, "x"))[0] == 401
    # A session begins no other.
    cookie = {"Cookie": headers["Set-Cookie"].partition(";")[0]}
    assert (await ask("GET", f"{shop.front}/operador", headers=cookie))[0] == 200
    assert (await ask("POST", f"{shop.front}/operador/codigos", headers=cookie))[0] == 401
    # A page that came by https keeps it for https.
    options = {"json": {"codigo": await a_code(shop)}, "headers": {"Origin": "https://shop.example"}}
    status, _, headers = await ask("POST", f"{shop.front}/operador/sesion", **options)
    assert status != 200 or headers["Set-Cookie"].endswith("; Secure")
    _, _, headers = await ask("DELETE", f"{shop.front}/operador/sesion")
    assert "=; Path=/; Max-Age=0; " in headers["Set-Cookie"]


OWN, OTHER = "same-origin", "https://evil.example"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {"Sec-Fetch-Site": OWN}, 202),
        ("PUT", {"Sec-Fetch-Site": "same-site"}, 403),
        ("PUT", {"Sec-Fetch-Site": "cross-site", "Origin": "own"}, 403),
        ("PUT", {"Sec-Fetch-Site": "none"}, 403),
        ("PUT", {"Origin": "own"}, 202),
        ("PUT", {"Origin": OTHER}, 403),
        ("PUT", {"Origin": "null"}, 403),
        ("PUT", {"Origin": "own by ftp"}, 403),
        ("GET", {"Origin": "own by ftp"}, 403),
        ("GET", {"Origin": "own"}, 200),
        ("PUT", {}, 403),
        ("GET", {}, 200),
        ("GET", {"Origin": OTHER}, 403),
    ],
    ids=str,
)
async def test_only_the_shops_own_page_uses_a_session(
    shop: Shop, method: str, headers: dict[str, str], status: int
) -> None:
    _, cookie = await entered(shop.front, await a_code(shop))
    own = {"own": shop.front, "own by ftp": shop.front.replace("http:", "ftp:")}
    sent = {name: own.get(value, value) for name, value in headers.items()}
    path, body = ("/usuarios/7", {"json": EVA}) if method == "PUT" else ("/operador", {})
    got, told, _ = await ask(method, shop.front + path, headers={"Cookie": cookie, **sent}, **body)
    assert got == status, told


async def test_every_replica_takes_a_code_and_knows_a_session(shop: Shop) -> None:
    with replica(shop) as other:
        for made, used, asked in ((shop.front, other, shop.front), (other, shop.front, other), (other, other, other)):
            code = await a_code(shop, made)
            status, cookie = await entered(used, code)
            assert status == 200
            assert (await entered(made, code))[0] == 401
            headers = {"Cookie": cookie, "Origin": asked}
            before = shop.log.stat().st_size
            status, told, _ = await ask("PUT", f"{asked}/usuarios/7", json=EVA, headers=headers)
            assert status == 202, told
            await a_code(shop)
            # Whoever was asked tells of it, with the address; the other heard of it from a replica.
            lines = shop.says("a code for a browser was made", after=before)
            assert ("an operator's entry" in lines) is (asked == shop.front)
        log = (shop.data.parent / "replica.log").read_text(encoding="utf-8")
        assert log.count("an operator's entry") == 2


def test_a_code_says_who_made_it_and_nobody_else_can_say_so() -> None:
    """Whoever takes it asks at that address."""
    told = with_maker("abc", "http://10.0.0.7:8000", KEY)
    assert maker_of(told, KEY) == ("abc", "http://10.0.0.7:8000") and re.fullmatch(r"[\w.-]{1,200}", told)
    other = with_maker("abc", "http://evil.example", SecretStr("x" * 16))
    for wrong in (
        other,
        f"{other.rpartition('.')[0]}.{told.rpartition('.')[2]}",
        "abc",
        "a.b.c",
        "..",
        ".",
        "ñ.é.€",
        "",
    ):
        assert maker_of(wrong, KEY) == (wrong, None)


async def test_who_is_refused_is_told_of_in_a_few_lines_without_what_was_sent(shop: Shop) -> None:
    tried = [f"secret-guess-{number}" for number in range(100)]
    with logged(shop, "more credentials were refused") as lines:
        for guess in tried:
            assert (await ask("GET", f"{shop.front}/operador", headers=bearer(guess)))[0] == 401
    lines = [line for line in lines if "refused" in line]
    before = shop.log.stat().st_size
    said = "\n".join(lines)
    assert "address=127.0.0.1" in said
    assert "path=/operador" in said
    assert "secret-guess" not in shop.log.read_text(encoding="utf-8")
    assert len(said) < 10_000
    # Who shows nothing tried nothing.
    await ask("GET", f"{shop.front}/operador")
    # Another door, and another log line: the one before has come by then.
    await ask("GET", f"{shop.running.urls['tokens']}/diario", headers=bearer("x"))
    assert "path=/diario" in shop.says("path=/diario", after=before)


async def test_a_long_path_makes_no_long_line(shop: Shop) -> None:
    """Each byte of it is several in a log, where it steers a terminal."""
    with logged(shop, "path=/altas/") as lines:
        url = URL(f"{shop.front}/altas/{'%1b' * 5_000}", encoded=True)
        assert (await ask("GET", url, headers=bearer("a-stranger-who-guesses")))[0] == 401
    (line,) = [line for line in lines if "path=/altas/" in line]
    assert len(line) < 1_000, line


async def test_each_deed_is_a_line(shop: Shop) -> None:
    key = bearer(shop.running.operator_token)
    with logged(shop, "an operator's entry", "a code for a browser", "the book is read") as lines:
        # What is not done is no deed.
        assert (await ask("POST", f"{shop.front}/operador/derribos/nadie", headers=key))[0] == 404
        _, entry, _ = await ask("PUT", f"{shop.front}/usuarios/7", json=EVA, headers=key)
        await a_code(shop)
        await ask("GET", f"{shop.running.urls['tokens']}/diario", headers=bearer(shop.running.books_token))
    assert not [line for line in lines if "knocks a service down" in line]
    (deed,) = [line for line in lines if "an operator's entry" in line]
    assert f"/altas/{entry['id']}" in deed
    assert "address=127.0.0.1" in deed
    with logged(shop, "an operator's entry") as lines:
        tokens = [{"id": number, "nombre": "Sol", "imagen": "sol.jpg", "precio": 5} for number in (880_001, 880_002)]
        await ask("POST", f"{shop.front}/tokens", json=[], headers=key)
        await ask("POST", f"{shop.front}/tokens", json=tokens, headers=key)
    (deed,) = [line for line in lines if "an operator's entry" in line]
    assert "2 tokens" in deed


def operator(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ZOCO), "operator", *words], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )


async def test_the_command_prints_a_link_that_lets_a_browser_in(shop: Shop) -> None:
    key = shop.running.operator_token
    for words in (("--data", str(shop.data)), ("--url", shop.front + "/", "--operator-token", key)):
        link = operator(*words).stdout.splitlines()[0]
        front, code = link.split("/#codigo=")
        assert front == shop.front
        assert (await entered(front, code))[0] == 200
    refused = operator("--url", shop.front, "--operator-token", "x" * 16)
    assert (refused.returncode, "answered 401" in refused.stderr) == (2, True)
    refused = operator("--url", shop.front)
    assert (refused.returncode, "--operator-token" in refused.stderr) == (2, True)
    refused = operator("--url", shop.running.urls["tokens"], "--operator-token", key)
    assert refused.returncode == 2


def test_a_code_is_worth_nothing_after_its_time_or_when_too_many_came_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Codes()
    first, *rest = [made.make() for _ in range(MOST_CODES + 1)]
    assert not made.take(first)
    assert made.take(rest[-1])
    monkeypatch.setattr(codes, "CODE_SECONDS", 0)
    assert not made.take(made.make())


def test_a_session_is_worth_nothing_when_it_was_altered_or_is_over_or_of_another_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = new_session(KEY)
    until, nonce, signature = told.split(".")
    assert session_holds(KEY, told)
    assert not session_holds(SecretStr("l" * 16), told)
    altered = (f"{int(until) + 1}.{nonce}.{signature}", f"{until}.x.{signature}", f"{until}.{nonce}.{'0' * 64}")
    for wrong in (*altered, "", "..", f"٣.{nonce}.{signature}", told + "\n"):
        assert not session_holds(KEY, wrong)
    monkeypatch.setattr(sessions, "SESSION_SECONDS", 0)
    assert not session_holds(KEY, new_session(KEY))
