"""Passing a request on: to the replica that leads, and reads to the service that has the answer."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send
from yarl import URL

from services.compras.acceptance import PATIENCE_SECONDS
from services.compras.domain import Asunto
from services.compras.following import CONNECT_SECONDS, NOBODY, Leader, copied
from services.compras.pools import Pools
from services.compras.replicas import PROOF, admitted, target
from services.shared.addresses import Addresses
from services.shared.http.credentials import address
from services.shared.http.edge import EdgeApp
from services.shared.http.for_whom import FOR, word
from services.shared.http.problems import PROVEN, Problem, unavailable
from services.shared.peers import NO_ANSWER
from services.shared.runtime import Runtime

ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))
# What the answer to a read may depend on. It is compressed once, on its way out.
READ_BY: Final = ("accept", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
# Of how we ask, and not of what: who asked us cannot mend it.
NOT_OURS: Final = (400, 403, 421)


class FrontDoorApp(EdgeApp):
    """It knows a request that another replica has passed on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(name == PROOF for name, _ in scope["headers"]):
            receive, send = await admitted(scope, receive, send, self.state.runtime.settings)
        await super().__call__(scope, receive, send)


class Forwarding:
    """Whoever else answers, and the connections with them."""

    def __init__(self, runtime: Runtime[Asunto]) -> None:
        self._runtime = runtime
        self.pools = Pools(PATIENCE_SECONDS, CONNECT_SECONDS)
        self.leader = Leader(runtime, self.pools)
        settings = runtime.settings
        self.urls = {
            "usuarios": Addresses(settings.usuarios_url),
            "tokens": Addresses(settings.tokens_url),
            "transacciones": Addresses(settings.transacciones_url),
        }

    async def close(self) -> None:
        await self.pools.close()

    async def at_the_leader(self, request: Request, key: str | None = None) -> Response | None:
        """None if this process writes; else what the one that does answers, whatever its status. Raises Problem (503)
        when there is none.

        The key goes along, also one made here: a writer that dies before it answers is asked again, for the same thing.
        """
        if self._runtime.processor is None:
            raise unavailable("this process only reads: start it with ZOCO_RABBITMQ_URL to buy", 60)
        if self._runtime.store.leads:
            return None
        if request.scope.get(PROVEN):
            # Whoever passed it on looks again who writes.
            raise Problem(421, NOBODY)
        return await self.leader.ask(request, key)

    async def read_from(self, service: str, request: Request) -> Response:
        """What another service answers to the same GET. Raises Problem (503) when it does not."""
        headers = [(name, value) for name in READ_BY for value in request.headers.getlist(name)]
        if (token := self._runtime.settings.books_token) is not None:
            headers.append((FOR.decode(), word(address(request), token)))
        asked, why = quote(target(request.scope), safe=ASCII), "does not answer"
        for url in self.urls[service]:
            try:
                whole = URL(url + asked, encoded=True)
                async with (
                    self.pools.place("reads", url, request, PATIENCE_SECONDS) as pool,
                    pool.get(whole, headers=headers, allow_redirects=False) as answer,
                ):
                    if answer.status not in NOT_OURS:
                        return copied(answer, await answer.read())
                    why = f"does not take what is asked at ZOCO_{service.upper()}_URL ({answer.status})"
            except NO_ANSWER:
                pass
            self.urls[service].silent(url)
        raise unavailable(f"{service} {why}; purchases are accepted all the same and wait for it", 2)
