"""Answers in fewer bytes, for who takes them so: text that comes in one piece. Events, and what is read on and on, are
left as they are."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Scope, Send

from services.shared.http.one_by_one import OneByOne
from services.shared.http.shares import asker

KINDS: Final = frozenset(
    {"text/html", "text/css", "text/javascript", "text/plain", "image/svg+xml", "application/json"}
)
NOT_MODIFIED: Final = 304
# Less fits into one packet either way.
LEAST_BYTES: Final = 1_000
# More takes longer than a millisecond: another thread does it, and nobody waits meanwhile but who wants the same.
QUICK_BYTES: Final = 32 * 1024
# Of what waits to be packed. What comes then goes out as it is, and counts as an answer that somebody has to read.
MOST_WAITING_BYTES: Final = 4 * 1024 * 1024
# A browser names a dozen kinds, and at most two things of each.
MOST_NAMED: Final = 50
# Long texts that were packed last: the lists that the page shows, in their versions.
KEPT: Final = 8
# Of a list of purchases 9 leaves a twentieth less, and takes three times as long.
LEVEL: Final = 5


def gzipped(scope: Scope, send: Send, packer: Packer) -> Send:
    """What sends the answer to this GET, in fewer bytes if it asks for that."""
    return _Answer(send, takes_gzip(told(Headers(scope=scope), "accept-encoding")), packer, asker(scope)).send


class Packer:
    """Packs long texts, in one thread for all: one at a time, for each address in its turn, and each once."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gzip")
        self._turns = OneByOne()
        self._waiting_bytes = 0
        # By the hash of the text. This is the thread's.
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    async def packed(self, raw: bytes, whose: str) -> bytes | None:
        """None when too much waits already."""
        if self._waiting_bytes >= MOST_WAITING_BYTES:
            return None
        loop = asyncio.get_running_loop()
        self._waiting_bytes += len(raw)
        try:
            return await self._turns.done(whose, lambda: loop.run_in_executor(self._thread, self._pack, raw))
        finally:
            self._waiting_bytes -= len(raw)

    def _pack(self, raw: bytes) -> bytes:
        name = blake2b(raw, digest_size=32).digest()
        if name not in self._kept:
            self._kept[name] = gzip.compress(raw, LEVEL, mtime=0)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]


class _Answer:
    def __init__(self, send: Send, packs: bool, packer: Packer, whose: str) -> None:
        self._send, self._packs, self._packer, self._whose = send, packs, packer, whose
        # The head of an answer that may be compressed: that is known when its body is there.
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            # A 304 says what the answer would that it stands for.
            if message["status"] == NOT_MODIFIED or _kind(headers) in KINDS:
                _vary(headers)
                if self._packs and message["status"] == NOT_MODIFIED:
                    _weaken(headers)
                elif self._packs:
                    self._head = message
                    return
        elif self._head is not None:
            head, self._head = self._head, None
            message = await self._compressed(head, message)
            await self._send(head)
        await self._send(message)

    async def _compressed(self, head: Message, body: Message) -> Message:
        """The body's message, as it is sent; the head is changed accordingly."""
        headers = MutableHeaders(raw=head["headers"])
        raw = body.get("body", b"")
        if body["type"] != "http.response.body" or body.get("more_body") or len(raw) < LEAST_BYTES:
            return body
        if len(raw) <= QUICK_BYTES:
            packed = gzip.compress(raw, LEVEL, mtime=0)
        elif (found := await self._packer.packed(raw, self._whose)) is not None:
            packed = found
        else:
            return body
        headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(packed))
        _weaken(headers)
        return {**body, "body": packed}


def _vary(headers: MutableHeaders) -> None:
    """Whoever keeps the answer keeps it for who asks alike, whoever that was."""
    if "accept-encoding" not in headers.get("Vary", "").lower():
        headers.add_vary_header("Accept-Encoding")


def _weaken(headers: MutableHeaders) -> None:
    """The same content in other bytes (RFC 9110, section 8.8.1)."""
    if etag := headers.get("ETag"):
        headers["ETag"] = "W/" + etag.removeprefix("W/")


def _kind(headers: Headers) -> str:
    """Of what kind of text it is; nothing when it is packed already, or a part."""
    if "content-encoding" in headers or "content-range" in headers:
        return ""
    return headers.get("content-type", "").partition(";")[0].strip()


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names it, and not as what is unwelcome (RFC 9110, section 12.5.3)."""
    found = weights(accepted)
    return found.get("gzip", found.get("*", 0.0)) > 0


def told(headers: Headers, name: str) -> str:
    """A header that is a list, in however many lines it came (RFC 9110, section 5.3)."""
    return ", ".join(headers.getlist(name))


def weights(accepted: str) -> dict[str, float]:
    """What a list of what is welcome names, and how much that is (RFC 9110, section 12.4.2)."""
    found = {}
    # What is named behind the first few is as welcome as what is not named.
    for one in accepted.lower().split(",", MOST_NAMED)[:MOST_NAMED]:
        name, *parameters = (part.strip() for part in one.split(";", MOST_NAMED)[:MOST_NAMED])
        weight = next((part for part in parameters if re.fullmatch(r"q\s*=\s*[01](\.\d{0,3})?", part)), "q=1")
        found[name] = float(weight.partition("=")[2])
    return found
