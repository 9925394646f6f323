"""Answers: JSON encoded in one go, and lists that come in pages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from fastapi import Query, Request, Response

# How many rows of a list somebody wants to see.
Limite = Annotated[int | None, Query(ge=1, le=10_000, description="The first so many by id; unless told, all")]


def runtime_of(request: Request) -> Any:
    """The running service that answers this request."""
    return request.app.state.runtime


def page(path: str, lines: Iterator[int], limite: int, **asked: int | None) -> tuple[list[int], dict[str, str]]:
    """At most `limite` of these lines, and the header that says where there are more (RFC 8288)."""
    found = list(islice(lines, limite + 1))
    if len(found) <= limite:
        return found, {}
    query = {name: value for name, value in asked.items() if value is not None}
    query |= {"desde": found[limite - 1], "limite": limite}
    return found[:limite], {"Link": f'<{path}?{urlencode(query)}>; rel="next"'}


def json_bytes(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer encoded in one go."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Response(raw, status, headers, "application/json")
