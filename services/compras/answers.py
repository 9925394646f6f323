"""What buyers' and operators' endpoints have in common: the key, the waiting, and the answer to what was accepted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, TypeAlias
from uuid import uuid4

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.requests import ClientDisconnect

from broker.messages import AltaMessage, CompraSolicitada
from services.compras.domain import Asunto, finished, public
from services.compras.following import waited
from services.compras.front_door import FrontDoor
from services.compras.ids import check_id, not_there
from services.shared.http.bodies import json_bytes, runtime_of
from services.shared.http.edge import unless_gone
from services.shared.http.openapi import RETRY_AFTER, header, problems
from services.shared.http.problems import Problem, as_problem
from services.shared.http.shares import asker
from services.shared.runtime import Runtime

Stands: TypeAlias = Callable[[], object]
# The longest that `Prefer: wait` holds a request.
WAIT_LIMIT_SECONDS: Final = 60
# There are four that are registered.
MOST_PREFERENCES: Final = 50
MAX_KEY: Final = 255
KEY: Final = re.compile(rb"[!-~]{1,%d}" % MAX_KEY)
# What whoever writes may send along, and what they are answered beside the body, for /docs.
ASKED: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "One key is one request, however often it is sent. Without it the server makes one",
            "schema": {"type": "string", "pattern": f"^[!-~]{{1,{MAX_KEY}}}$"},
        },
        {
            "name": "Prefer",
            "in": "header",
            "description": f"`wait=5`: answer when it has reached its end, or after 5 s; at most {WAIT_LIMIT_SECONDS}",
            "schema": {"type": "string"},
        },
    ]
}
# One of a list. A comma in quotes ends none, and quotes that are not closed go on to the end.
_PREFERENCE: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?$))+')
_KEPT: Final = {
    "Idempotency-Key": header("The key that was sent, or was made"),
    "Preference-Applied": header("How long was waited, where that was preferred"),
}
_PLACE: Final = {"Location": header("Where to ask how it stands")}
REFUSED: Final = problems(400, 412, 413, 415, 422, 503)


def kept(model: Any, *, place: bool = True) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that writes."""
    headers = {**_KEPT, **(_PLACE if place else {})}
    return {
        200: {"model": model, "description": "It has reached its end already", "headers": headers},
        202: {"model": model, "description": "On the disk, and on its way", "headers": {**headers, **RETRY_AFTER}},
        **REFUSED,
    }


class Body(BaseModel):
    """What every request's body is: just these fields, of just these types."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


def door_of(request: Request) -> FrontDoor:
    door = runtime_of(request).extension
    assert isinstance(door, FrontDoor)
    return door


def idempotency_key(request: Request) -> str:
    """The key that the client sent, or a new one. Raises Problem (400)."""
    # Its bytes: as text they would be one thing here, and another at the replica that they are passed on to.
    sent: list[bytes] = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not sent:
        return str(uuid4())
    if len(sent) > 1 or not KEY.fullmatch(sent[0]):
        raise Problem(
            400,
            f"Idempotency-Key must be one, of 1 to {MAX_KEY} visible ASCII characters, no space: a UUID is a good one",
        )
    return sent[0].decode("ascii")


@contextmanager
def keeping(request: Request, key: str, place: str | None = None) -> Iterator[None]:
    """Whatever is answered to this says the key, and where to look: who sends it again buys once."""
    try:
        yield
    except ClientDisconnect:
        raise
    except Exception as error:
        problem = as_problem(error, request.method, request.scope["path"])
        problem.headers |= _headers(key, place)
        raise problem from error


def _headers(key: str, place: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key, **({"Location": place} if place else {})}


def wait_seconds(request: Request) -> int:
    """How long the client prefers to wait for the end (RFC 7240): the first `wait` counts, if it is whole seconds."""
    told = ", ".join(request.headers.getlist("prefer"))
    for preference in islice(_PREFERENCE.finditer(told), MOST_PREFERENCES):
        name, _, value = preference[0].partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            found = re.fullmatch(r'("?)([0-9]+)\1', value.strip())
            return int(min(float(found[2]), WAIT_LIMIT_SECONDS)) if found else 0
    return 0


async def accepted(
    request: Request, message: CompraSolicitada | AltaMessage, place: str, key: str, stands: Stands = object
) -> Response:
    """202 with where to look, or 200 when it has reached its end already. `stands` is called before that is waited for:
    whoever hangs up meanwhile has entered it all the same."""
    acceptance = door_of(request).acceptance
    row = await acceptance.accept(message, asker(request.scope))
    stands()
    headers = _headers(key, f"/{place}/{message.subject}")
    if seconds := wait_seconds(request):
        await unless_gone(request.receive, acceptance.finish(message.subject, seconds))
        row = await runtime_of(request).store.row(message.subject) or row
        headers["Preference-Applied"] = f"wait={seconds:g}"
    if finished(row):
        return json_bytes(public(row), 200, headers)
    return json_bytes(public(row), 202, {**headers, "Retry-After": "1"})


async def elsewhere(request: Request, key: str, stands: Stands = object) -> Response | None:
    """None if this process writes; else what is answered by the one that does, after as long as the client waits."""
    door, seconds = door_of(request), wait_seconds(request)
    answer = await door.forwarding.at_the_leader(request, key)
    if answer is not None and answer.status_code in (200, 202):
        stands()
        if seconds:
            return await unless_gone(
                request.receive, waited(answer, door.acceptance, runtime_of(request).store, seconds)
            )
    return answer


async def found(request: Request, subject: str, kind: type[Asunto], name: str) -> Response:
    check_id(subject, name)
    runtime: Runtime[Asunto] = runtime_of(request)
    row = await runtime.store.row(subject)
    if row is None and runtime.processor and not runtime.store.leads:
        # It may be so new that this replica has not read of it yet.
        answer = await door_of(request).forwarding.at_the_leader(request)
        if answer is not None:
            return answer
        row = await runtime.store.row(subject)
    if not isinstance(row, kind):
        raise not_there(name, subject)
    return json_bytes(public(row))
