"""HEAD, OPTIONS and `Allow`, for every path (RFC 9110, section 9); and what ends without chunks for HTTP/1.0."""

from __future__ import annotations

from typing import Any, Final

from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Message, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

METHODS: Final = ("GET", "POST", "PUT", "DELETE")


def allowed(routes: list[BaseRoute], scope: Scope) -> str:
    """The methods of this path, or for `*` of all, as `Allow` lists them; empty when there is no such path."""
    everywhere = scope["path"] == "*"
    found = [method for method in METHODS if everywhere or any(_takes(route, scope, method) for route in routes)]
    if "GET" in found:
        found.insert(1, "HEAD")
    return ", ".join([*found, "OPTIONS"]) if found else ""


def _takes(route: BaseRoute, scope: Scope, method: str) -> bool:
    # A mount is a folder of files, which takes every method and refuses it later.
    if isinstance(route, Mount) and method != "GET":
        return False
    # Whoever refused it in there has noted where it is mounted.
    return route.matches({**scope, "method": method, "root_path": ""})[0] is Match.FULL


def head_only(send: Send) -> Send:
    """What sends the head of an answer, and nothing of its body, also where that would not end."""

    async def only(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return only


def unchunked(send: Send) -> Send:
    """What sends an answer to HTTP/1.0: when its length is not known, it ends with its connection (RFC 9112, 6.3).

    uvicorn would send it in chunks, which HTTP/1.0 does not know.
    """
    cycle: Any = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle):
        return send

    measured = True

    async def raw(message: Message) -> None:
        nonlocal measured
        if message["type"] == "http.response.start":
            measured = any(name == b"content-length" for name, _ in message["headers"])
        if not measured:
            cycle.chunked_encoding, cycle.expected_content_length = False, len(message.get("body", b""))
        await send(message)

    return raw
