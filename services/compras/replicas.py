"""What replicas of compras say to each other: a request that is passed on, its answer, and the proof of either.

Both are signed with a secret of the shop that is never sent. So the operator's key stays with whoever checked it; who
stands at an address that is not the writer's can use what it hears nowhere else, and what it answers is not believed.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from services.shared.http.edge import BODY_BYTES
from services.shared.http.problems import PROVEN
from services.shared.settings import Settings

PROOF: Final = b"x-zoco-replica"
# What an answer may depend on. `Prefer` is not among it: a client waits where it asked.
ASKED_BY: Final = frozenset({b"content-type", b"idempotency-key"})
# For whom it is asked: an address has its share of what there is, by whichever replica it comes.
CLIENT: Final = b"x-zoco-client"
# What belongs to a connection (RFC 9110, section 7.6.1), or is said anew by who passes an answer on.
NOT_PASSED_ON: Final = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
    | {b"date", b"server", b"content-length", b"x-content-type-options", b"referrer-policy", PROOF}
    | {b"cross-origin-resource-policy", b"cross-origin-opener-policy"}
)
# For so long, and by clocks that differ so much, a request can be passed on.
FRESH_SECONDS: Final = 30

Lines = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Passed:
    """A request to the replica that answers at `url`, which is part of what is signed: no other takes it."""

    url: str
    method: str
    target: bytes
    headers: Lines
    body: bytes

    @classmethod
    def by(cls, scope: Scope, body: bytes, url: str, key: str | None) -> Passed:
        """The one that is to be passed on. `key`: what was made here for a request that came without one."""
        headers = [(name, _sendable(value)) for name, value in scope["headers"] if name in ASKED_BY]
        headers.append((CLIENT, (scope["client"] or ("",))[0].encode()))
        if key is not None and b"idempotency-key" not in dict(headers):
            headers.append((b"idempotency-key", key.encode()))
        return cls(url, scope["method"], target(scope), headers, body)

    @classmethod
    def to(cls, scope: Scope, body: bytes, url: str) -> Passed:
        """The one that has come here."""
        headers = [(name, value) for name, value in scope["headers"] if name in ASKED_BY or name == CLIENT]
        return cls(url, scope["method"], target(scope), headers, body)

    @property
    def client(self) -> str:
        return dict(self.headers).get(CLIENT, b"").decode()

    def proof(self, secret: bytes, nanoseconds: int) -> bytes:
        parts = (self.url.encode(), self.method.encode(), self.target, *_flat(self.headers), self.body)
        when = b"%d" % nanoseconds
        return when + b"." + _signed(secret, b"asked", when, *parts)

    def holds(self, secret: bytes, proof: bytes) -> bool:
        told = re.fullmatch(rb"([0-9]{1,20})\.[0-9a-f]{64}", proof)
        if told is None or not hmac.compare_digest(proof, self.proof(secret, int(told[1]))):
            return False
        return abs(time.time_ns() - int(told[1])) < FRESH_SECONDS * 1e9


def target(scope: Scope) -> bytes:
    """The path and the query, in the bytes in which they came."""
    path: bytes = scope["raw_path"]
    return path + (b"?" + scope["query_string"] if scope["query_string"] else b"")


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Lines:
    """Those of an answer's headers that go along with it."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in NOT_PASSED_ON]


def answer_proof(secret: bytes, asked: bytes, status: int, headers: Lines, body: bytes) -> bytes:
    """`asked`: the proof of the request. An answer is to that one only."""
    return _signed(secret, b"answered", asked, b"%d" % status, *_flat(headers), body)


async def admitted(scope: Scope, receive: Receive, send: Send, settings: Settings) -> tuple[Receive, Send]:
    """For a request that says it was passed on: if so, that is noted in its scope, and the answer is signed."""
    messages: list[Message] = [await receive()]
    body = messages[0].get("body", b"")
    # What is longer is refused when it is read again.
    while messages[-1].get("more_body") and len(body) <= BODY_BYTES:
        messages.append(await receive())
        body += messages[-1].get("body", b"")

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    proof = dict(scope["headers"])[PROOF]
    secret = settings.replica_secret.get_secret_value().encode() if settings.replica_secret else b""
    passed = Passed.to(scope, body, settings.public_url)
    scope[PROVEN] = bool(secret) and passed.holds(secret, proof)
    if scope[PROVEN]:
        scope["client"] = (passed.client, 0)
    return again, _Signing(send, secret, proof).send if scope[PROVEN] else send


class _Signing:
    """Sends an answer when it is whole."""

    def __init__(self, send: Send, secret: bytes, asked: bytes) -> None:
        self._send, self._secret, self._asked = send, secret, asked
        self._head: Message = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            head, headers = self._head, passed_on(self._head["headers"])
            proof = answer_proof(self._secret, self._asked, head["status"], headers, self._body)
            await self._send({**head, "headers": [*head["headers"], (PROOF, proof)]})
            await self._send({"type": "http.response.body", "body": self._body})


def _sendable(value: bytes) -> bytes:
    """What aiohttp makes of a header's value: text."""
    return value.decode(errors="ignore").encode()


def _flat(headers: Lines) -> list[bytes]:
    return [b"%d" % len(headers), *(part for line in headers for part in line)]


def _signed(secret: bytes, *parts: bytes) -> bytes:
    """With their lengths: no other parts have the same."""
    text = b"".join(b"%d:%s" % (len(part), part) for part in parts)
    return hmac.new(secret, text, "sha256").hexdigest().encode()
