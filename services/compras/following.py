"""What a replica that only follows does with a request: it asks the one that writes, and waits for the end itself."""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Final

import aiohttp
import msgspec
from fastapi import Request, Response
from yarl import URL

from services.compras.acceptance import PATIENCE_SECONDS, Acceptance
from services.compras.domain import Asunto, finished, public
from services.compras.pools import Pools
from services.compras.replicas import PROOF, Passed, answer_proof, passed_on
from services.shared.http.bodies import json_bytes
from services.shared.http.problems import unavailable
from services.shared.peers import NO_ANSWER
from services.shared.runtime import Runtime
from services.shared.store import RowReader

RETRY_SECONDS: Final = 0.1
CONNECT_SECONDS: Final = 1.0
# Whoever writes gives up earlier, and says why.
LEADER_SECONDS: Final = PATIENCE_SECONDS + 1
# More than a hundred entries, which is the longest answer of the replica that leads.
ANSWER_BYTES: Final = 1024 * 1024

NOBODY: Final = "no replica writes at the moment: send the same request again"
SILENT: Final = "the replica that writes does not answer: send the same request again"
STRANGER: Final = (
    "what answers where a replica is said to write does not prove that it is of this shop: give all replicas the same "
    "ZOCO_REPLICA_SECRET, and clocks that agree; then send the same request again"
)
NO_SECRET: Final = (
    "another replica writes, and this one cannot prove itself to it: give all replicas the same ZOCO_REPLICA_SECRET; "
    "then send the same request again"
)
NO_SECRET_AT_MAKER: Final = (
    "another replica has what is asked for, and this one cannot prove itself to it: give all replicas the same "
    "ZOCO_REPLICA_SECRET"
)


class Leader:
    """The replica that writes, wherever that is."""

    def __init__(self, runtime: Runtime[Asunto], pools: Pools) -> None:
        self._store, self._pools = runtime.store, pools
        settings = runtime.settings
        self._own_url = settings.public_url
        self._secret = settings.replica_secret.get_secret_value().encode() if settings.replica_secret else None

    async def ask(self, request: Request, key: str | None) -> Response | None:
        """Its answer, whatever the status; None if it is this process meanwhile. Raises Problem (503)."""
        deadline = time.monotonic() + LEADER_SECONDS
        # What comes along with a GET means nothing (RFC 9110, section 9.3.1).
        body = b"" if request.method == "GET" else await request.body()
        why, strange = NOBODY, None
        while not self._store.leads:
            if (left := deadline - time.monotonic()) <= 0:
                raise unavailable(why)
            url = self._store.leader_url()
            if url and self._secret is None:
                why = NO_SECRET
            elif url and self._secret and url not in (self._own_url, strange):
                answer = await self._asked(request, Passed.by(request.scope, body, url, key), self._secret, left)
                if isinstance(answer, Response):
                    return answer
                why = answer
                # It is asked once; whoever is said to write after it, again.
                strange = url if why is STRANGER else strange
            await asyncio.sleep(RETRY_SECONDS)
        return None

    async def ask_at(self, url: str, request: Request) -> Response | str:
        """What the replica at this address answers, or why there is no answer. Raises Problem (503)."""
        if self._secret is None:
            raise unavailable(NO_SECRET_AT_MAKER, 60)
        passed = Passed.by(request.scope, await request.body(), url, None)
        return await self._asked(request, passed, self._secret, LEADER_SECONDS)

    async def _asked(self, request: Request, passed: Passed, secret: bytes, seconds: float) -> Response | str:
        """What it answers, or why there is no answer."""
        purpose = "reads" if passed.method == "GET" else "writes"
        try:
            async with self._pools.place(purpose, passed.url, request, seconds) as pool:
                # It holds for a moment only: of when it is sent.
                proof = passed.proof(secret, time.time_ns())
                async with pool.request(
                    passed.method,
                    URL(passed.url + passed.target.decode(), encoded=True),
                    data=passed.body or None,
                    headers=[(name.decode(), value.decode()) for name, value in (*passed.headers, (PROOF, proof))],
                    timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS),
                    allow_redirects=False,
                ) as answer:
                    told, size = answer.headers.get(PROOF.decode(), ""), answer.content_length
                    body = await answer.read() if told and size is not None and size <= ANSWER_BYTES else b""
        except NO_ANSWER:
            return SILENT
        expected = answer_proof(secret, proof, answer.status, passed_on(answer.raw_headers), body)
        if not hmac.compare_digest(told.encode(errors="replace"), expected):
            return STRANGER
        return NOBODY if answer.status == 421 else copied(answer, body)


async def waited(answer: Response, acceptance: Acceptance, store: RowReader[Asunto], seconds: float) -> Response:
    """The answer to what was accepted, once that has ended or the client has waited so long. Its connection to whoever
    writes is free meanwhile: this process reads of the end in the journal."""
    headers = {name: value for name, value in answer.headers.items() if name in ("idempotency-key", "location")}
    headers["Preference-Applied"] = f"wait={seconds:g}"
    told = msgspec.json.decode(answer.body)
    if answer.status_code == 200:
        return json_bytes(told, 200, headers)
    entries = told if isinstance(told, list) else [told]
    await asyncio.gather(*(acceptance.finish(entry["id"], seconds) for entry in entries))
    rows = [await store.row(entry["id"]) for entry in entries]
    seen = [entry if row is None else public(row) for entry, row in zip(entries, rows, strict=True)]
    body = seen if isinstance(told, list) else seen[0]
    if all(row is not None and finished(row) for row in rows):
        return json_bytes(body, 200, headers)
    return json_bytes(body, 202, {**headers, "Retry-After": "1"})


def copied(answer: aiohttp.ClientResponse, body: bytes) -> Response:
    response = Response(body, answer.status)
    response.raw_headers += passed_on(answer.raw_headers)
    return response
