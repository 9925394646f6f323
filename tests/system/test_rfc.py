"""HTTP as its RFCs say, on every route of all four services, straight and through the front door."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from raw_http import JSON, Wire, ask
from shop_builders import Shop

from broker.services import SERVICES

# What Python's int() reads as 101, what an int could be cut out of, and what leads elsewhere when it is passed on.
NO_NUMBERS = (
    *("101.0", "1_0_1", "+101", "%2B101", "0101", "00", "%20101", "101%20", "101%0A", "%09101", "101%00"),
    *("%D9%A1%D9%A0%D9%A1", "%EF%BC%91%EF%BC%90%EF%BC%91", "1e2", "0x65", "-101", "-0", "101%2C1", "101;x"),
    *("9007199254740992", "9" * 400, "101%26x", "%C2%B2"),
)
IN_A_PATH = (*NO_NUMBERS, "0", "101%3Fx", "101%23x", "101%2F", "..%2Ftokens", "%2e%2e", "1/01", "")
PLACES = [
    *(("tokens", "/tokens/{}"), ("compras", "/tokens/{}"), ("usuarios", "/usuarios/{}"), ("compras", "/usuarios/{}")),
    *(("transacciones", "/transacciones/{}"), ("compras", "/transacciones/{}")),
]
QUERIES = [
    *((name, f"{path}?limite={{}}") for path, name in (("/tokens", "tokens"), ("/usuarios", "usuarios"))),
    *(("compras", f"{path}?limite={{}}") for path in ("/tokens", "/usuarios", "/transacciones", "/compras")),
    *(("transacciones", f"/transacciones?{name}={{}}") for name in ("usuarioId", "tokenId", "desde", "limite")),
    *(("compras", f"/transacciones?{name}={{}}") for name in ("usuarioId", "tokenId", "desde", "limite")),
    *(("compras", f"/compras?{name}={{}}") for name in ("usuarioId", "desde", "limite")),
    ("compras", "/eventos?desde={}"),
    *((name, "/diario?desde={}") for name in SERVICES),
]
KNOCKED, REBUILT = "/operador/derribos/nadie?segundos={}", "/libro/reconstruccion?comprobar={}"
# What Python reads as a number, or Pydantic as a yes or a no.
NO_SECONDS = (
    "1e1",
    "1_0.5",
    "+1.5",
    "%2B1.5",
    "-1",
    "-0.0",
    ".5",
    "5.",
    "01.5",
    "inf",
    "nan",
    "Infinity",
    "1%2C5",
    "%D9%A1",
)
NO_FLAGS = ("1", "0", "yes", "no", "on", "off", "t", "f", "True", "TRUE", "FALSE", "%20true", "true%20", "")
EVERYWHERE = {"x-content-type-options", "referrer-policy", "cross-origin-resource-policy", "cross-origin-opener-policy"}


def operator(shop: Shop, target: str = "", **more: str) -> dict[str, str]:
    """With the key that opens this."""
    books = target.startswith(("/diario", "/libro"))
    token = shop.running.books_token if books else shop.running.operator_token
    return {**JSON, "Authorization": f"Bearer {token}", **more}


@pytest.mark.parametrize(("service", "path"), PLACES)
async def test_an_id_is_its_digits_and_nothing_that_could_be_read_as_them(shop: Shop, service: str, path: str) -> None:
    for spelling in IN_A_PATH:
        for query in ("", "?x=1"):
            answer = await ask(shop.running.urls[service], "GET", path.format(spelling) + query)
            # Without an id it is the list, or nothing.
            assert answer.status in (404, 422), (spelling, answer)
            assert answer.problem


@pytest.mark.parametrize(("service", "target"), QUERIES)
async def test_a_number_in_a_query_is_its_digits(shop: Shop, service: str, target: str) -> None:
    for spelling in NO_NUMBERS:
        # "&" begins another parameter there.
        if "%26" not in spelling:
            answer = await ask(shop.running.urls[service], "GET", target.format(spelling), operator(shop, target))
            assert answer.status == 422, (spelling, answer)
            assert answer.problem["errors"][0]["pointer"].startswith("/query/")


@pytest.mark.parametrize(
    ("service", "target", "spellings"),
    [("compras", KNOCKED, NO_SECONDS), *((service, REBUILT, NO_FLAGS) for service in SERVICES)],
)
async def test_seconds_are_digits_and_a_yes_is_true(
    shop: Shop, service: str, target: str, spellings: tuple[str, ...]
) -> None:
    for spelling in spellings:
        answer = await ask(shop.running.urls[service], "POST", target.format(spelling), operator(shop, target))
        assert answer.status == 422, (spelling, answer)
        assert answer.problem["errors"][0]["pointer"].startswith("/query/")
    if target is KNOCKED:
        for spelling in ("0", "2", "2.5", "120.0"):
            # It is understood; there is nobody of that name.
            answer = await ask(shop.front, "POST", target.format(spelling), operator(shop))
            assert answer.status == 404, (spelling, answer)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/usuarios/{}", {"nombre": "Eva"}),
        ("POST", "/usuarios/{}/recargas", {"monto": 5}),
        ("PUT", "/tokens/{}", {"nombre": "Sol", "imagen": "sol.jpg", "precio": 5}),
    ],
)
async def test_what_is_entered_for_no_id_is_entered_for_nobody(shop: Shop, method: str, path: str, body: Any) -> None:
    for spelling in (*IN_A_PATH, "70_8.0"):
        for query in ("", "?x=1"):
            answer = await ask(
                shop.front, method, path.format(spelling) + query, operator(shop), json.dumps(body).encode()
            )
            assert answer.status in (404, 405, 422), (spelling, answer)
    for place in ("/usuarios/708", "/tokens/708"):
        assert (await ask(shop.front, "GET", place)).status == 404


# A body of a purchase by U, and what its refusal says.
BODIES: list[tuple[bytes, str]] = [
    (b'{"usuarioId": U, "usuarioId": 1, "tokenId": 101}', "usuarioId is there twice"),
    (b'{"usuarioId": U, "tokenId": 101, "tokenId": 101}', "tokenId is there twice"),
    (b'{"usuarioId": U, "tokenId": 101, "usuarioI\\u0064": U}', "usuarioId is there twice"),
    (b'{"usuarioId": U, "tokenId": {"a": 1, "a": 2}, "tokenId": 101}', "is there twice"),
    (b'{"tokenId": ' + b"9" * 5_000 + b', "usuarioId": U, "tokenId": 101}', ""),
    (b'{"tokenId": NaN, "usuarioId": U, "tokenId": 101}', "tokenId is there twice"),
    (b'{"usuarioId": U, "tokenId": 101, "precioMaximo": NaN}', "/precioMaximo"),
    (b'{"usuarioId": U, "tokenId": 101, "precioMaximo": -Infinity}', "/precioMaximo"),
    (b'{"usuarioId": U, "tokenId": 1e2}', "/tokenId"),
    (b'{"usuarioId": U, "tokenId": 0101}', "Invalid JSON"),
    (b'{"usuarioId": U, "tokenId": +101}', "Invalid JSON"),
    (b'{"usuarioId": U, "tokenId": 101, "\\ud800": 1}', "Invalid JSON"),
    (b'{"usuarioId": U, "tokenId": 101, "\xff": 1}', "Invalid JSON"),
    ('{"usuarioId": U, "tokenId": 101}'.encode("utf-16"), "Invalid JSON"),
    (b'\xef\xbb\xbf{"usuarioId": U, "tokenId": 101}', "Invalid JSON"),
    (b'{"usuarioId": U, "tokenId": 101}}', "Invalid JSON"),
    (b'{"usuarioId": U, "tokenId": 101} {}', "Invalid JSON"),
    (b'{"usuarioId": U, "tokenId": 101,}', "Invalid JSON"),
    (b"{'usuarioId': U, 'tokenId': 101}", "Invalid JSON"),
    (b'{"usuarioId": U, "tokenId": 101 /* */}', "Invalid JSON"),
    (b"[" * 8_000, "Invalid JSON"),
    (b'{"tokenId": ' + b"[" * 4_000 + b"]" * 4_000 + b', "usuarioId": U, "tokenId": 101}', "Invalid JSON"),
    (b'{"tokenId": ' + b"[" * 150 + b"]" * 150 + b', "usuarioId": U, "tokenId": 101}', "tokenId is there twice"),
    (b'"{}"', "object"),
    (b"", "Invalid JSON"),
    (b"{\x00}", "Invalid JSON"),
]


@pytest.mark.parametrize(("body", "says"), BODIES, ids=range(len(BODIES)))
async def test_a_body_that_readers_could_take_for_different_things_is_refused(
    shop: Shop, numbers: Iterator[int], body: bytes, says: str
) -> None:
    buyer = next(numbers)
    for target in ("/compras", "/compras?x=1"):
        answer = await ask(shop.front, "POST", target, JSON, body.replace(b"U", b"%d" % buyer))
        assert answer.status == 422, answer
        assert says in answer.problem["detail"], answer
    assert (await ask(shop.front, "GET", f"/compras?usuarioId={buyer}")).body == b"[]"


async def test_a_name_that_is_twice_anywhere_in_a_body_is_refused(shop: Shop, numbers: Iterator[int]) -> None:
    token = b'{"id": N, "nombre": "a: b", "imagen": "sol.jpg", "precio": 5%s}'
    number = b"%d" % next(numbers)
    for method, target, body in (
        ("POST", "/tokens", b"[%s, %s]" % (token % b"", token % b', "precio": 6')),
        ("PUT", "/usuarios/N", b'{"nombre": "a: b", "saldo": 1, "saldo": 2}'),
        ("POST", "/usuarios/N/recargas", b'{"monto": 1, "monto": 2}'),
    ):
        place = target.replace("N", number.decode())
        answer = await ask(shop.front, method, place, operator(shop), body.replace(b"N", number))
        assert answer.status == 422, answer
        assert re.search(r"(precio|saldo|monto) is there twice", answer.problem["detail"])
    once = b'{"nombre": "a: b: \\"c\\":1", "saldo": 1}'
    answer = await ask(shop.front, "PUT", f"/usuarios/{number.decode()}", operator(shop, Prefer="wait=10"), once)
    assert answer.status == 200, answer


async def test_a_pointer_to_a_field_is_escaped(shop: Shop) -> None:
    """RFC 6901. To the whole body it is empty."""
    body = b'{"usuarioId": 1, "tokenId": 101, "a/b~c": 1}'
    told = (await ask(shop.front, "POST", "/compras", JSON, body)).problem
    assert [one["pointer"] for one in told["errors"]] == ["/a~1b~0c"]
    assert [one["pointer"] for one in (await ask(shop.front, "POST", "/compras", JSON, b"{")).problem["errors"]] == [""]


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "br", "deflate", "gzip, identity", "GZip"])
async def test_a_packed_body_is_415_and_says_how_it_is_taken(shop: Shop, coding: str) -> None:
    packed = gzip.compress(b'{"usuarioId": 1, "tokenId": 101}')
    asked = [("compras", "POST", "/compras"), ("compras", "POST", "/compras?x"), ("compras", "PUT", "/usuarios/5")]
    asked += [(name, "PUT", "/libro") for name in SERVICES]
    for service, method, target in asked:
        headers = operator(shop, target, **{"Content-Encoding": coding})
        answer = await ask(shop.running.urls[service], method, target, headers, packed)
        assert (answer.status, answer["accept-encoding"]) == (415, "identity"), (service, answer)
        assert coding.lower() in answer.problem["detail"]
    answer = await ask(shop.front, "POST", "/compras", {**JSON, "Content-Encoding": "identity"}, b"{}")
    assert answer.status == 422
    answer = await ask(shop.front, "POST", "/compras", {"Content-Type": "text/plain"}, b"{}")
    assert (answer.status, answer["accept"]) == (415, "application/json")


@pytest.mark.parametrize("name", ["👩‍🎤", "👨‍👩‍👧", "نامه‌ای", "ක්‍රිස්ටි", "José", "山田 太郎", "Ünal: «x»"])
async def test_a_name_is_taken_in_whatever_script_it_is(shop: Shop, numbers: Iterator[int], name: str) -> None:
    number = next(numbers)
    body = json.dumps({"nombre": name}, ensure_ascii=False).encode()
    answer = await ask(shop.front, "PUT", f"/usuarios/{number}", operator(shop, Prefer="wait=10"), body)
    assert (answer.status, json.loads(answer.body)["estado"]) == (200, "aplicada"), answer
    for url in (shop.front, shop.running.urls["usuarios"]):
        assert json.loads((await ask(url, "GET", f"/usuarios/{number}")).body)["nombre"] == name


@pytest.mark.parametrize(
    "code", ["0", "7", "a", "1b", "7f", "85", "9b", "200b", "200e", "2028", "202e", "2066", "feff"]
)
async def test_a_name_that_steers_a_terminal_or_turns_text_around_is_refused(shop: Shop, code: str) -> None:
    body = json.dumps({"nombre": f"A{chr(int(code, 16))}na"}).encode()
    answer = await ask(shop.front, "PUT", "/usuarios/5", operator(shop), body)
    assert (answer.status, answer.problem["errors"][0]["pointer"]) == (422, "/nombre"), answer
    for empty in ("\u200d", "\u200c\u200d"):
        body = json.dumps({"nombre": empty}).encode()
        assert (await ask(shop.front, "PUT", "/usuarios/5", operator(shop), body)).status == 422


FILLED = {"{compra_id}": "nada", "{alta_id}": "nada", "{file}": "sol.jpg", "{servicio}": "nadie"}
VOLATILE = {"date", "content-length", "transfer-encoding", "connection"}
FILES = [
    *(("compras", path) for path in ("/", "/web/app.js", "/web/style.css", "/imagenes/FILE")),
    ("tokens", "/imagenes/FILE"),
    *((name, "/swagger/swagger-ui.css") for name in SERVICES),
]


async def places(shop: Shop) -> list[tuple[str, str, set[str]]]:
    """The service, the path and the methods of whatever is answered."""
    found = []
    for name, url in shop.running.urls.items():
        document = json.loads((await ask(url, "GET", "/openapi.json")).body)
        paths = {path: {method.upper() for method in operations} for path, operations in document["paths"].items()}
        paths |= {path: {"GET"} for path in ("/openapi.json", "/docs", "/swagger/swagger-ui.css")}
        for path, methods in paths.items():
            place = path
            for part in re.findall(r"{\w+}", path):
                place = place.replace(part, FILLED.get(part, "101"))
            found.append((name, place, methods))
    return found


async def test_head_is_answered_as_get_is_but_for_the_body(shop: Shop) -> None:
    asked = 0
    for name, path, methods in await places(shop):
        if "GET" not in methods:
            continue
        for query in ("", "?x=1"):
            async with Wire(shop.running.urls[name]) as wire:
                head = await wire.ask("HEAD", path + query, operator(shop, path))
                # The connection is in step: the next answer is whole.
                assert (await wire.ask("GET", "/livez")).body == b'{"estado":"vivo"}', (name, path)
            async with Wire(shop.running.urls[name]) as wire:
                wire.send("GET", path + query, operator(shop, path), b"", "1.1")
                got = await wire.head()
            assert head.status == got.status, (name, path)
            assert [one for one in head.headers if one[0] not in VOLATILE] == [
                one for one in got.headers if one[0] not in VOLATILE
            ]
            assert "transfer-encoding" not in head
            if path not in ("/estado", "/readyz", "/metrics"):
                assert head.all("content-length") == got.all("content-length"), (name, path)
            asked += 1
    assert asked > 60


async def test_options_and_405_name_all_methods_of_a_path(shop: Shop) -> None:
    for name, path, methods in await places(shop):
        url = shop.running.urls[name]
        expected = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        for query in ("", "?x=1"):
            answer = await ask(url, "OPTIONS", path + query)
            assert (answer.status, set(answer["allow"].split(", "))) == (204, expected), (name, path)
            for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY"} - expected:
                answer = await ask(url, method, path + query)
                assert (answer.status, set(answer["allow"].split(", "))) == (405, expected), (name, path, method)
    for url in shop.running.urls.values():
        assert (await ask(url, "OPTIONS", "/nada")).status == 404
        answer = await ask(url, "OPTIONS", "*")
        assert (answer.status, answer["allow"]) == (204, "GET, HEAD, POST, PUT, DELETE, OPTIONS")


@pytest.mark.parametrize(("service", "path"), FILES)
@pytest.mark.parametrize("packed", [{}, {"Accept-Encoding": "gzip"}], ids=["plain", "gzip"])
async def test_who_has_a_file_is_told_so(shop: Shop, service: str, path: str, packed: dict[str, str]) -> None:
    url, sent = shop.running.urls[service], {"Accept": "text/html", **packed}
    path = path.replace("FILE", await picture(shop))
    whole = await ask(url, "GET", path, sent)
    assert whole.status == 200 and whole.body
    tag, since = whole["etag"], whole["last-modified"]
    bare = tag.removeprefix("W/")
    for has in (
        *({"If-None-Match": told} for told in (tag, bare, f"W/{bare}", f'"other", {tag}', f'W/"a",{bare}', "*")),
        {"If-Modified-Since": since},
        {"If-Modified-Since": "Sun, 01 Jan 2090 00:00:00 GMT"},
        {"If-None-Match": tag, "If-Modified-Since": "Sun, 01 Jan 1990 00:00:00 GMT"},
        # In two lines; and dated as it was done once (RFC 9110, section 5.6.7).
        *({"If-None-Match": '"x"', "if-none-match": told} for told in ("*", tag)),
        {"If-Modified-Since": "Sunday, 01-Jan-68 00:00:00 GMT"},
        {"If-Modified-Since": "Sun Jan  1 00:00:00 2090"},
    ):
        for method in ("GET", "HEAD"):
            answer = await ask(url, method, path, {**sent, **has})
            assert (answer.status, answer.body) == (304, b""), (has, answer)
            # What the whole answer would say (RFC 9110, section 15.4.5).
            assert answer["etag"].removeprefix("W/") == bare
            assert answer.all("cache-control") == whole.all("cache-control")
            assert set(answer.all("vary")) >= set(whole.all("vary"))
    for other in (
        {"If-None-Match": '"other"'},
        {"If-None-Match": '"other"', "If-Modified-Since": since},
        {"If-Modified-Since": "Sun, 01 Jan 1990 00:00:00 GMT"},
        *({"If-Modified-Since": told} for told in ("yesterday", "", "1 Jan 2090 00:00:00 GMT", "2090-01-01T00:00:00Z")),
        *({"If-Modified-Since": f"Sun, 01 Jan 2090 00:00:00 {zone}"} for zone in ("", "UTC", "+0000", "PST")),
        {"If-None-Match": '"other"', "if-none-match": 'W/"another"'},
        *({"If-Match": told} for told in ("*", f'"x", {bare}', bare)),
        {"If-Match": '"x"', "if-match": bare},
        *(
            {"If-Unmodified-Since": told}
            for told in (since, "Sun, 01 Jan 2090 00:00:00 GMT", "1 Jan 1990 00:00:00 GMT")
        ),
        {"If-Match": bare, "If-Unmodified-Since": "Mon, 01 Jan 1990 00:00:00 GMT"},
    ):
        answer = await ask(url, "GET", path, {**sent, **other})
        assert (answer.status, answer.body) == (200, whole.body), other
        assert path.startswith("/imagenes") or answer["vary"].lower().count("accept-encoding") == 1
    for wants in (
        *({"If-Match": told} for told in ('"x"', f"W/{bare}", "", 'W/"x", "y"')),
        {"If-Match": '"x"', "If-None-Match": tag, "If-Unmodified-Since": since},
        {"If-Unmodified-Since": "Mon, 01 Jan 1990 00:00:00 GMT", "If-None-Match": tag},
    ):
        for method in ("GET", "HEAD"):
            for query in ("", "?x=1"):
                answer = await ask(url, method, path + query, {**sent, **wants})
                assert (answer.status, answer["content-type"]) == (412, "application/problem+json"), wants


async def picture(shop: Shop) -> str:
    token: dict[str, str] = json.loads((await ask(shop.front, "GET", "/tokens/101")).body)
    return token["imagen"]


@pytest.mark.parametrize(
    "ranges",
    ["bytes=0-9", "bytes=5-", "bytes=-5", "bytes=0-1,3-4", "bytes=9999999-", "bytes=5-1", "items=0-5", "x", "bytes="],
)
async def test_a_range_is_ignored(shop: Shop, ranges: str) -> None:
    """As a server may, and must where it does not know the unit (RFC 9110, section 14.2)."""
    for service, path in FILES:
        place = path.replace("FILE", await picture(shop))
        whole = await ask(shop.running.urls[service], "GET", place, {"Accept": "text/html"})
        headers = {"Accept": "text/html", "Range": ranges, "If-Range": whole["etag"]}
        answer = await ask(shop.running.urls[service], "GET", place, headers)
        assert (answer.status, answer.body, answer["accept-ranges"]) == (200, whole.body, "none")


@pytest.mark.parametrize(
    ("accepted", "kind"),
    [
        (["text/html"], "html"),
        (["TEXT/HTML"], "html"),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], "html"),
        (["text/html;q=0.5, text/plain;q=0.4"], "html"),
        (["text/html;level=1"], "html"),
        (["image/png", "text/html"], "html"),
        (["*/*"], "plain"),
        (["text/plain, text/html;q=0"], "plain"),
        (["text/html;q=0.000"], "plain"),
        (["text/html;q=0.5, text/plain"], "plain"),
        (["text/html;q=0.5, */*"], "plain"),
        (["x-text/html-x"], "plain"),
    ],
    ids=str,
)
async def test_the_page_is_html_for_who_would_rather_have_that(shop: Shop, accepted: list[str], kind: str) -> None:
    # Of the same name, and yet several: as they are spelled they differ.
    headers = dict(zip(("Accept", "accept"), accepted, strict=False))
    for query in ("", "?x=1"):
        answer = await ask(shop.front, "GET", f"/{query}", headers)
        assert answer["content-type"] == f"text/{kind}; charset=utf-8"


@pytest.mark.parametrize(
    ("spoken", "spanish"),
    [
        (["es"], True),
        (["ES-mx, en;q=0.9"], True),
        (["fr", "es;q=0.2"], True),
        (["en;q=0, es;q=0.1"], True),
        (["es;q=0"], False),
        (["es;q=0, en"], False),
        (["en, es"], False),
        (["est"], False),
        (["*"], False),
    ],
    ids=str,
)
async def test_the_text_is_in_spanish_for_who_would_rather_have_that(
    shop: Shop, spoken: list[str], spanish: bool
) -> None:
    headers = dict(zip(("Accept-Language", "accept-language"), spoken, strict=False))
    text = (await ask(shop.front, "GET", "/", headers)).body.decode()
    assert ("Qué se vende" in text) is spanish


@pytest.mark.parametrize(
    ("service", "path"),
    [*((name, f"/{name}") for name in SERVICES), *(("compras", f"/{name}") for name in SERVICES if name != "compras")],
)
async def test_a_filter_that_is_misspelt_or_there_twice_is_422(shop: Shop, service: str, path: str) -> None:
    for query in ("limite=1&limite=2", "Limite=1", "limite=1&x", "desde=0&desde=0"):
        answer = await ask(shop.running.urls[service], "GET", f"{path}?{query}")
        assert answer.status == 422 and answer.problem["errors"][0]["pointer"].startswith("/query/"), answer
    assert (await ask(shop.running.urls[service], "GET", f"{path}?desde=0&limite=1")).status == 200


@pytest.mark.parametrize("service", SERVICES)
async def test_what_opens_or_changes_a_book_is_read_in_one_way(shop: Shop, service: str) -> None:
    url, rebuild = shop.running.urls[service], "/libro/reconstruccion"
    wrong = [
        ("GET", "/diario?desde=0&desde=1", {}, 422),
        ("POST", f"{rebuild}?Comprobar=true", {}, 422),
        ("POST", f"{rebuild}?comprobar=true&comprobar=false", {}, 422),
        ("POST", f"{rebuild}?comprobar=true", {"If-Match": '"x"'}, 412),
        ("PUT", "/libro", {"If-None-Match": "*"}, 412),
        ("PUT", "/libro?x", {"Content-Range": "bytes 0-3/16"}, 400),
        ("PUT", "/libro", {"Content-Encoding": "gzip", "content-encoding": "identity"}, 415),
        ("GET", "/diario", {"authorization": "Bearer wrong"}, 400),
        ("GET", f"/{service}%2F1", {}, 404),
        ("GET", "http://evil.example/livez", {}, 421),
    ]
    for method, target, headers, status in wrong:
        answer = await ask(
            url, method, target, {**operator(shop, "/libro"), **headers}, b"{}" if method == "PUT" else b""
        )
        assert answer.status == status and answer.problem, (target, headers, answer)


async def test_http_1_0_is_answered_without_chunks(shop: Shop) -> None:
    for headers in ({}, {"Connection": "keep-alive"}):
        async with Wire(shop.front) as wire:
            wire.send("GET", "/eventos", headers, b"", "1.0")
            answer = await wire.head()
            assert (answer.status, answer["connection"]) == (200, "close")
            assert "transfer-encoding" not in answer and "content-length" not in answer
            assert (await wire.some(40)).startswith(b"retry: 1000\n\nevent: inicio\ndata: {")
    for name, url in shop.running.urls.items():
        old = await ask(url, "GET", "/diario", operator(shop, "/diario"), b"", "1.0")
        new = await ask(url, "GET", "/diario", operator(shop, "/diario"))
        assert "transfer-encoding" not in old and new["transfer-encoding"] == "chunked"
        assert old["connection"] == "close" and new.body.startswith(old.body), name
        # These two may have been asked for nothing yet.
        assert old.body or name in ("compras", "transacciones")
        for method in ("GET", "HEAD"):
            answer = await ask(url, method, "/livez", {}, b"", "1.0")
            assert (answer.status, answer["content-length"]) == (200, "17")


async def test_a_slash_too_many_is_not_found_and_leads_nowhere(shop: Shop) -> None:
    """A redirect would be made of what the request says of its host: behind a proxy that speaks https, to http."""
    for method, path in (("POST", "/compras/"), ("GET", "/tokens/"), ("GET", "/tokens/101/"), ("GET", "/docs/")):
        for query in ("", "?x=1"):
            answer = await ask(shop.front, method, path + query, {**JSON, "X-Forwarded-Proto": "https"}, b"{}")
            assert (answer.status, answer.all("location")) == (404, [])
            assert "without a slash at the end" in answer.problem["detail"]
    for path in ("//compras", "/swagger", "/swagger/"):
        assert (await ask(shop.front, "GET", path)).status == 404


@pytest.mark.parametrize(
    ("preferred", "waits"),
    [
        (["wait=10"], "10"),
        (["wait=10; foo"], "10"),
        (["foo, Wait = 10"], "10"),
        (['wait="10"'], "10"),
        (["respond-async", "wait=10"], "10"),
        (['foo="a, b", wait=10'], "10"),
        (["wait=010"], "10"),
        (["wait=10, wait=1"], "10"),
        (["wait=61"], "60"),
        (["wait=99999"], "60"),
        (["wait=" + "9" * 5_000], "60"),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=x, wait=10"], None),
        (["wait"], None),
        (["wait="], None),
        (["x-wait=10"], None),
        (['foo="wait=10"'], None),
        (['foo="a, wait=10'], None),
        (['foo="a\\", wait=10"'], None),
        ([""], None),
    ],
    ids=lambda one: str(one)[:30],
)
async def test_what_a_client_prefers_is_read_as_rfc_7240_has_it(
    shop: Shop, numbers: Iterator[int], preferred: list[str], waits: str | None
) -> None:
    buyer = next(numbers)
    # Of the same name, and yet several: as they are spelled they differ.
    headers = dict(zip(("Prefer", "prefer"), preferred, strict=False))
    for target in ("/compras", "/compras?x=1"):
        body = b'{"usuarioId": %d, "tokenId": 101, "precioMaximo": 0}' % buyer
        answer = await ask(shop.front, "POST", target, {**JSON, **headers}, body)
        # Who waits is answered when it is refused, at once.
        assert (answer.status, answer.all("preference-applied")) == (
            (202, []) if waits is None else (200, [f"wait={waits}"])
        )


@pytest.mark.parametrize("service", SERVICES)
async def test_every_answer_says_what_a_browser_may_do_with_it(shop: Shop, service: str) -> None:
    url, seen = shop.running.urls[service], set()
    asked: list[tuple[str, str, dict[str, str], bytes]] = [
        *(
            ("GET", path, {}, b"")
            for path in ("/livez", "/metrics", "/docs", "/openapi.json", "/swagger/swagger-ui.css")
        ),
        *(("GET", path, {}, b"") for path in ("/nada", "/diario", "/diario?desde=x", f"/{service}", f"/{service}?x=1")),
        ("GET", "/swagger/swagger-ui.css", {"If-None-Match": "*"}, b""),
        ("GET", "/swagger/nada", {}, b""),
        ("OPTIONS", "/livez", {}, b""),
        ("DELETE", "/livez", {}, b""),
        ("HEAD", "/livez", {}, b""),
    ]
    if service == "compras":
        asked += [
            ("GET", "/", {"Accept": "text/html"}, b""),
            *(("GET", path, {}, b"") for path in ("/", "/web/app.js", "/tokens", f"/imagenes/{await picture(shop)}")),
            ("POST", "/compras", {}, b"{}"),
            ("POST", "/compras", JSON, b"{}"),
            ("POST", "/compras", JSON, b" " * 20_000),
            ("PUT", "/usuarios/1", JSON, b"{}"),
        ]
    for one in asked:
        answer = await ask(url, *one)
        seen.add(answer.status)
        for name in EVERYWHERE:
            assert len(answer.all(name)) == 1, (one, name, answer)
        assert "frame-ancestors 'none'" in answer["content-security-policy"], (one, answer)
        assert "unsafe" not in answer["content-security-policy"] or one[1] == "/docs"
    assert seen >= {200, 204, 304, 401, 404, 405} | ({413, 415, 422} if service == "compras" else set())
