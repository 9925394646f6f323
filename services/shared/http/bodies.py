"""Bodies: JSON, read or encoded in one go, and lists that come in pages. Numbers in paths and queries; and what two
readers could take for two things, which nobody reads."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, LiteralString, TypeVar
from urllib.parse import urlencode

import msgspec
from fastapi import Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic_core import PydanticCustomError

from broker.messages import MAX_ID
from services.shared.http.problems import Problem, invalid
from services.shared.store import MAX_LINES

if TYPE_CHECKING:
    from services.shared.runtime import Runtime

Body = TypeVar("Body", bound=BaseModel)
Line = TypeVar("Line")


def _written(pattern: str, says: LiteralString) -> BeforeValidator:
    """Refuse what Python or Pydantic read as a value that was not written: 1_0, +1, 1.0, 01, inf, yes, spaces, other
    scripts' digits."""

    def check(sent: Any) -> Any:
        if isinstance(sent, str) and not re.fullmatch(pattern, sent):
            raise PydanticCustomError("spelling", says)
        return sent

    return BeforeValidator(check)


# Of what stands in a path or a query.
Digits = _written(r"0|[1-9][0-9]*", "must be a whole number, in digits alone: 101")
Decimal = _written(r"(0|[1-9][0-9]*)(\.[0-9]+)?", "must be a number, in digits and at most one point: 2.5")
TrueOrFalse = _written(r"true|false", "must be true or false")
PathId = Annotated[int, Path(ge=1, le=MAX_ID), Digits]
# Which rows of a list somebody wants to see.
Limite = Annotated[int, Query(ge=1, le=MAX_LINES, description="So many, by id"), Digits]
Desde = Annotated[int, Query(ge=0, le=MAX_ID, description="Ids above this one"), Digits]
# Headers that say one thing, and are no list (RFC 9110, section 5.3).
SINGLE: Final = frozenset(
    {b"authorization", b"content-range", b"content-type", b"if-modified-since", b"if-range", b"if-unmodified-since"}
    | {b"last-event-id", b"range", b"sec-fetch-site"}
)
# More things that are wrong with a request are not named one by one.
MOST_WRONG: Final = 100
# What a write may be made to depend on (RFC 9110, section 13.1).
CONDITIONS: Final = (b"if-match", b"if-none-match", b"if-unmodified-since")


def runtime_of(request: Request) -> Runtime[Any]:
    """The running service that answers this request."""
    runtime: Runtime[Any] = request.app.state.runtime
    return runtime


def check_headers(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises Problem (400) for one that is there twice, of which each reader could take another."""
    names = [name for name, _ in headers]
    if len(set(names)) == len(names):
        return
    for name, times in Counter(names).items():
        if times > 1 and name in SINGLE:
            raise Problem(400, f"{name.decode().title()} is there twice: which of them is meant?")


def check_path(raw: bytes) -> None:
    """Raises Problem (404) for what a proxy takes for one name, and would let pass (RFC 3986, section 2.2)."""
    if b"%2f" in raw.lower():
        raise Problem(404, "there is no name with a slash in it here: between names it is '/', and not '%2F'")


async def check_query(request: Request) -> None:
    """Raises Problem (422) for a parameter that is there twice, or is none: a filter that is misspelt would filter
    nothing. Where there are no parameters, none is read."""
    route = request.scope.get("route")
    if not request.scope["query_string"] or not isinstance(route, APIRoute):
        return
    known = [one.alias for one in route.dependant.query_params]
    if known and request.scope["query_string"].count(b"&") >= len(known) + MOST_WRONG:
        raise Problem(422, f"there are too many parameters: there is no other than {', '.join(known)}, each once")
    asked = Counter(name for name, _ in request.query_params.multi_items())
    if known:
        wrong = {name: "is there twice: which of them is meant?" for name, times in asked.items() if times > 1}
        wrong |= {name: f"is none of {', '.join(known)}" for name in asked if name not in known}
        if wrong:
            raise invalid([{"loc": ("query", name), "msg": msg} for name, msg in wrong.items()])


def unconditional(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises Problem (412) for a write that depends on what is there: that is known to another service, and later."""
    for name, _ in headers:
        if name in CONDITIONS:
            says = f"what is written here depends on nothing that is there already: leave out {name.decode().title()}"
            raise Problem(412, says)


async def read_body(request: Request, model: type[Body]) -> Body:
    """The request's JSON body, read in one go. Raises Problem (415, 422)."""
    headers = request.scope["headers"]
    kind = dict(headers).get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
    if kind != "application/json":
        sent = f"{kind} cannot be read" if kind else "the content type is missing"
        says = f"{sent}: add the header 'Content-Type: application/json'"
        raise Problem(415, says, headers={"Accept": "application/json"})
    as_it_is(headers)
    raw = await request.body()
    try:
        body = model.model_validate_json(raw)
    except ValidationError as error:
        if error.error_count() > MOST_WRONG:
            # To name them takes longer than to read them.
            raise Problem(422, f"{error.error_count()} things are wrong in this body: /docs says what it is") from error
        raise invalid(error.errors(include_url=False, include_input=False)) from error
    # Each member has its colon: with no more of them than there are fields, none is there twice.
    if raw.count(b":") != len(body.model_fields_set):
        _each_once(raw)
    return body


def as_it_is(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises Problem (400, 412, 415) for a body that is a part, that depends on what is there, or that is packed: what
    16 KiB become is known only when they are unpacked."""
    coding = b", ".join(value for name, value in headers if name == b"content-encoding").decode("latin-1").lower()
    if coding.strip() not in ("identity", ""):
        says = f"a body packed by {coding} cannot be read: send it as it is, without Content-Encoding"
        raise Problem(415, says, headers={"Accept-Encoding": "identity"})
    if any(name == b"content-range" for name, _ in headers):
        raise Problem(400, "a part of a body is not put together here: send all of it, without Content-Range")
    unconditional(headers)


def _each_once(raw: bytes) -> None:
    """Raises Problem (422) when a name is twice in an object, which every reader takes for another value (RFC 8259)."""
    try:
        json.loads(raw.decode(), object_pairs_hook=_members, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise Problem(422, f"Invalid JSON: {error}") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise Problem(422, f"{name} is there twice: which of them is meant?")
    return found


async def public_page(request: Request, desde: int, limite: int) -> Response:
    """What the public sees of a service's rows, so many behind an id."""
    body, last = await runtime_of(request).store.public_list(limite, desde)
    return json_bytes(
        body, headers=_following(request.scope["path"], {"desde": last, "limite": limite}) if last else {}
    )


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
