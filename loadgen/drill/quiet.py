"""Whether a shop is at rest. In one that is not, what has no end may be on its way, and nobody can call it lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import aiohttp

from broker.services import SERVICES
from loadgen.audit.text import NotAShop, Text
from services.compras.resend import FIRST_SECONDS

# So long a shop has to be at rest, and nothing has to end, before all that is left was asked for again, and in vain.
ASKED_SECONDS: Final = 3 * FIRST_SECONDS
# What is asked for again is in a queue for a moment, and that is no outage.
PASSING_SECONDS: Final = 3.0
# In one that neither rests nor stands still for so long, people buy.
LONGEST_SECONDS: Final = 120.0
CALL_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.5
NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)
# Of what the front door shows at /estado.
SHOWN: Final = {"servicios", "colas", "sinTerminar"}


async def unrest(url: str) -> str | None:
    """What keeps purchases from their ends at this front door. None: they have ended, or nothing does, and they were
    asked for again. Raises NotAShop."""
    began = at_rest = ended = time.monotonic()
    left = None
    while True:
        state, now = await _state(url), time.monotonic()
        why = disturbed(state)
        if why is None and state["sinTerminar"] == 0:
            return None
        if state and state["sinTerminar"] != left:
            left, ended = state["sinTerminar"], now
        if why is None:
            at_rest = now
            if now - ended > ASKED_SECONDS:
                return None
        elif now - at_rest > PASSING_SECONDS:
            return why
        if now - began > LONGEST_SECONDS:
            return why or Text("some end all the while")
        await asyncio.sleep(POLL_SECONDS)


def disturbed(state: dict[str, Any]) -> str | None:
    """Why a purchase may be on its way in a shop of which the front door shows this (nothing: it does not answer)."""
    if not state:
        return Text("the front door does not answer")
    if state["colas"] is None:
        return Text("RabbitMQ is away")
    if away := [name for name, service in state["servicios"].items() if not service["ready"]]:
        return Text("not ready: {services}", ", ".join(away))
    waiting = {name: depth["messages"] for name in SERVICES if (depth := state["colas"][name])["messages"]}
    return Text("messages waiting: {waiting}", waiting) if waiting else None


async def _state(url: str) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http:
            return await told(http, f"{url}/estado", SHOWN) or {}
    except NO_ANSWER:
        return {}


async def told(http: aiohttp.ClientSession, url: str, names: set[str]) -> dict[str, Any] | None:
    """The object with these names that a service shows; None: it cannot now, as it says itself. Raises NotAShop,
    aiohttp.ClientError."""
    async with http.get(url) as answer:
        try:
            shown = await answer.json(content_type=None)
        except ValueError:
            shown = None
        if answer.content_type == "application/problem+json":
            return None
    if not (isinstance(shown, dict) and shown.keys() >= names):
        raise NotAShop("what answers at {url} is no service of Zoco's: see `zoco doctor`", url)
    return shown
