"""Passing a request on: to the replica that leads, and reads to the service that has the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import aiohttp
from fastapi import Request, Response

from services.compras.acceptance import PATIENCE_SECONDS
from services.compras.domain import Asunto
from services.shared.http.problems import unavailable
from services.shared.runtime import Runtime

RETRY_SECONDS: Final = 0.1
# The longest that `Prefer: wait` holds a request.
WAIT_LIMIT_SECONDS: Final = 60
# Marks a request that one replica passed on to another: it is not passed on again.
FORWARDED: Final = "x-zoco-forwarded"
PASSED_ON: Final = (
    "content-type",
    "location",
    "retry-after",
    "idempotency-key",
    "preference-applied",
    "link",
    "cache-control",
)
# What aiohttp raises when nobody answers.
NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)
# What is passed on is compressed once, on its way out.
PLAIN: Final = {"Accept-Encoding": "identity"}


class Forwarding:
    """One HTTP session with whoever else answers. It lives as long as the process."""

    def __init__(self, runtime: Runtime[Asunto]) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._session: aiohttp.ClientSession | None = None
        settings = runtime.settings
        self.urls = {
            "usuarios": settings.usuarios_url,
            "tokens": settings.tokens_url,
            "transacciones": settings.transacciones_url,
        }

    @property
    def http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS), headers=PLAIN)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def at_the_leader(self, request: Request, key: str | None = None) -> Response | None:
        """None if this process writes; else what the one that does answers. Raises Problem (503) when none is there.

        The key goes along, also one made here: a writer that dies before it answers is asked again, for the same thing.
        """
        if self._runtime.processor is None:
            raise unavailable("this process only reads: start it with ZOCO_RABBITMQ_URL to buy", 60)
        if self._store.leads:
            return None
        deadline = time.monotonic() + PATIENCE_SECONDS
        body = await request.body()
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        if key is not None:
            headers["idempotency-key"] = key
        while not self._store.leads:
            url = self._store.leader_url()
            if FORWARDED not in request.headers and url and url != self._runtime.settings.public_url:
                # A session was shown to the page of this replica's address, and that was looked at here.
                page = {"origin": url} if "origin" in headers else {}
                answer = await self._pass_on(request, url, body, {**headers, **page, FORWARDED: "1"})
                if answer is not None and answer.status_code != 503:
                    return answer
            if FORWARDED in request.headers or time.monotonic() > deadline:
                raise unavailable("no replica writes at the moment: send the same request again")
            await asyncio.sleep(RETRY_SECONDS)
        return None

    async def _pass_on(self, request: Request, url: str, body: bytes, headers: Mapping[str, str]) -> Response | None:
        target = f"{url}{request.url.path}" + (f"?{request.url.query}" if request.url.query else "")
        timeout = aiohttp.ClientTimeout(total=WAIT_LIMIT_SECONDS + PATIENCE_SECONDS, sock_connect=1)
        try:
            async with self.http.request(
                request.method, target, data=body or None, headers=headers, timeout=timeout
            ) as answer:
                return await _copied(answer)
        except NO_ANSWER:
            return None

    async def read_from(self, service: str, path: str, query: str = "") -> Response:
        """What another service answers to a GET. Raises Problem (503) when it does not."""
        target = f"{self.urls[service]}{path}" + (f"?{query}" if query else "")
        try:
            async with self.http.get(target) as answer:
                return await _copied(answer)
        except NO_ANSWER:
            raise unavailable(
                f"{service} does not answer; purchases are accepted all the same and wait for it", 2
            ) from None


async def _copied(answer: aiohttp.ClientResponse) -> Response:
    headers = {name: value for name, value in answer.headers.items() if name.lower() in PASSED_ON}
    return Response(await answer.read(), answer.status, headers)
