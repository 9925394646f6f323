"""Answers in fewer bytes: for whom, which, and that they are the same when they are unpacked."""

from __future__ import annotations

import asyncio
import gzip
import time
from typing import Any, cast

import pytest

from services.shared.http.gzipped import KEPT, LEAST_BYTES, MOST_WAITING_BYTES, QUICK_BYTES, Packer, gzipped, takes_gzip

TEXT = b'{"nombre": "Marta", "saldo": 10},\n' * (LEAST_BYTES // 16)


async def answered(
    *bodies: bytes,
    asked: str = "gzip, deflate, br",
    kind: str = "application/json",
    packer: Packer | None = None,
    **headers: str,
) -> tuple[dict[str, str], bytes]:
    """What arrives of an answer in these pieces."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    own = {"content-type": kind, "content-length": str(sum(map(len, bodies))), **headers}
    scope = {"type": "http", "method": "GET", "client": None, "headers": [(b"accept-encoding", asked.encode())]}
    answer = gzipped(scope, send, packer or Packer())
    head = [(name.replace("_", "-").encode(), value.encode()) for name, value in own.items()]
    await answer({"type": "http.response.start", "status": 200, "headers": head})
    for place, body in enumerate(bodies):
        await answer({"type": "http.response.body", "body": body, "more_body": place + 1 < len(bodies)})
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * len(bodies)
    got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return got, b"".join(message["body"] for message in sent[1:])


@pytest.mark.parametrize("text", [TEXT, TEXT * (1 + QUICK_BYTES // len(TEXT))], ids=["short", "long"])
async def test_a_text_is_packed_and_the_same_when_it_is_unpacked(text: bytes) -> None:
    headers, body = await answered(text, kind="text/css; charset=utf-8", etag='"7"')
    assert len(body) < len(text) / 4
    assert gzip.decompress(body) == text
    assert headers["content-encoding"] == "gzip" and headers["content-length"] == str(len(body))
    assert (headers["vary"], headers["etag"]) == ("Accept-Encoding", 'W/"7"')


async def test_a_long_text_is_packed_once_and_of_all_that_want_one_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packing, most, times, compress = 0, 0, 0, gzip.compress

    def counted(*arguments: Any, **options: Any) -> bytes:
        nonlocal packing, most, times
        packing, times = packing + 1, times + 1
        most = max(most, packing)
        time.sleep(0.002)
        found = compress(*arguments, **options)
        packing -= 1
        return found

    monkeypatch.setattr(gzip, "compress", counted)
    packer, texts = Packer(), [b"%d" % number + TEXT for number in range(KEPT)]
    asked = [packer.packed(text, f"10.0.0.{number % 3}") for number in range(5) for text in texts]
    assert [gzip.decompress(cast(bytes, one)) for one in await asyncio.gather(*asked)] == texts * 5
    assert (most, times) == (1, len(texts))


async def test_what_comes_when_much_waits_goes_out_as_it_is() -> None:
    """A thousand lists that wait would be half a gigabyte."""
    packer, text = Packer(), b"%064d" % 7 * 8_192
    half = MOST_WAITING_BYTES // len(text)
    asked = [packer.packed(b"%d" % number + text, "10.0.0.1") for number in range(2 * half)]
    found = await asyncio.gather(*asked)
    assert [one is not None for one in found] == [True] * half + [False] * half
    assert await packer.packed(text, "10.0.0.1") is not None
    head, sent = await answered(text, packer=packer)
    assert "content-encoding" in head and gzip.decompress(sent) == text
    waiting = [asyncio.ensure_future(packer.packed(b"%d" % number + text, "10.0.0.1")) for number in range(half)]
    await asyncio.sleep(0)
    head, sent = await answered(text, packer=packer)
    assert "content-encoding" not in head and sent == text
    await asyncio.gather(*waiting)


AS_IT_IS: list[dict[str, Any]] = [
    {"kind": "image/jpeg"},
    {"kind": "text/event-stream"},
    {"kind": "application/x-ndjson"},
    {"content_encoding": "br"},
    {"content_range": "bytes 0-9/100"},
]


@pytest.mark.parametrize("how", AS_IT_IS, ids=str)
async def test_what_is_none_of_its_business_arrives_as_it_is(how: dict[str, Any]) -> None:
    headers, body = await answered(TEXT, **how)
    assert body == TEXT and headers["content-length"] == str(len(TEXT))
    assert "vary" not in headers


@pytest.mark.parametrize("asked", ["identity", "", "gzip;q=0"])
@pytest.mark.parametrize("vary", [{}, {"vary": "Accept"}, {"vary": "accept-encoding"}], ids=str)
async def test_who_keeps_it_for_others_is_told_that_it_might_be_packed(asked: str, vary: dict[str, str]) -> None:
    headers, body = await answered(TEXT, asked=asked, etag='"7"', **vary)
    assert body == TEXT and "content-encoding" not in headers and headers["etag"] == '"7"'
    assert headers["vary"].lower().split(", ") == [
        *(["accept"] if vary == {"vary": "Accept"} else []),
        "accept-encoding",
    ]


async def test_each_line_of_what_is_welcome_is_read() -> None:
    for lines, packs in ((("br", "gzip"), True), (("gzip;q=0", "*"), False), (("br", "*;q=0"), False)):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "client": None,
            "headers": [(b"accept-encoding", one.encode()) for one in lines],
        }
        answer = gzipped(scope, send, Packer())
        head = [(b"content-type", b"text/css"), (b"content-length", b"%d" % len(TEXT))]
        await answer({"type": "http.response.start", "status": 200, "headers": head})
        await answer({"type": "http.response.body", "body": TEXT})
        assert ((b"content-encoding", b"gzip") in sent[0]["headers"]) is packs


@pytest.mark.parametrize("pieces", [(TEXT[: LEAST_BYTES - 1],), (TEXT, TEXT)], ids=["little", "in pieces"])
async def test_little_and_what_comes_in_pieces_is_not_packed_and_says_that_it_might_be(pieces: tuple[bytes]) -> None:
    headers, body = await answered(*pieces)
    assert body == b"".join(pieces) and "content-encoding" not in headers
    assert headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=.", True),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("br, deflate", False),
        ("gzip;level=9;q=0", False),
        ("x-gzip-2, gzip ; q = 0.1", True),
    ],
)
def test_who_takes_it_says_so(accepted: str, takes: bool) -> None:
    assert takes_gzip(accepted) is takes
