"""Bodies: JSON, read or encoded in one go, and lists that come in pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
from fastapi import Query, Request, Response
from pydantic import BaseModel, ValidationError

from broker.messages import MAX_ID
from services.shared.http.problems import Problem, invalid
from services.shared.store import MAX_LINES

Body = TypeVar("Body", bound=BaseModel)
Line = TypeVar("Line")
# Which rows of a list somebody wants to see.
Limite = Annotated[int, Query(ge=1, le=MAX_LINES, description="So many, by id")]
Desde = Annotated[int, Query(ge=0, le=MAX_ID, description="Ids above this one")]


def runtime_of(request: Request) -> Any:
    """The running service that answers this request."""
    return request.app.state.runtime


async def read_body(request: Request, model: type[Body]) -> Body:
    """The request's JSON body, read in one go. Raises Problem (415, 422)."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        sent = f"{kind} cannot be read" if kind else "the content type is missing"
        raise Problem(415, f"{sent}: add the header 'Content-Type: application/json'")
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False)) from error


async def public_page(request: Request, desde: int, limite: int) -> Response:
    """What the public sees of a service's rows, so many behind an id."""
    body, last = await runtime_of(request).store.public_list(limite, desde)
    return json_bytes(body, headers=_following(request.url.path, {"desde": last, "limite": limite}) if last else {})


def page(
    path: str, found: Sequence[tuple[int, Line]], limite: int, **asked: int | None
) -> tuple[list[Line], dict[str, str]]:
    """At most `limite` of these lines of a list, of which one more was asked for, and the header that says where there
    are more (RFC 8288)."""
    lines = [line for _, line in found[:limite]]
    if len(found) <= limite:
        return lines, {}
    query = {name: value for name, value in asked.items() if value is not None}
    return lines, _following(path, {**query, "desde": found[limite - 1][0], "limite": limite})


def _following(path: str, query: Mapping[str, int | None]) -> dict[str, str]:
    return {"Link": f'<{path}?{urlencode(query)}>; rel="next"'}


def json_bytes(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer encoded in one go."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Response(raw, status, headers, "application/json")


def json_lines(values: Iterable[Any]) -> bytes:
    """A JSON array, a value to a line."""
    return b"[" + b",\n ".join(map(msgspec.json.encode, values)) + b"]\n"
