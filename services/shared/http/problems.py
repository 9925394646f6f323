"""Errors as RFC 9457 problems, each with a `detail` that says what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http.client import responses
from typing import Any, Final

import msgspec
import structlog
from fastapi import Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from services.shared.logs import shown
from services.shared.store import Away, Damaged, StoreBroken

log = structlog.get_logger()

BUG = "a bug in the service: its log has the details"
MEDIA_TYPE = "application/problem+json"
# What they are called since RFC 9110, and the library does not know yet.
TITLES = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}
# Of what is wrong with a request so much is named: an answer is not longer than what was sent.
MOST_ERRORS: Final = 10
MOST_CHARACTERS: Final = 1_000
# In the scope of a request that another replica has passed on: whether that was proved. Who passes it on has let it in.
PROVEN = "zoco.proven"


class Problem(Exception):
    """Any answer that is an error. `errors` point at the fields that are wrong."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors
        self.headers = dict(headers or {})

    def response(self) -> Response:
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": _phrase(self.status),
            "status": self.status,
            "detail": _short(self.detail),
        }
        if self.errors:
            body["errors"] = self.errors
        return Response(msgspec.json.encode(body), self.status, self.headers, MEDIA_TYPE)


def unavailable(detail: str, retry_seconds: int = 1) -> Problem:
    """Nothing is wrong with the request: try the same again after so many seconds."""
    return Problem(503, detail, headers={"Retry-After": str(retry_seconds)})


def invalid(errors: Sequence[Any]) -> Problem:
    """422 with a JSON pointer (RFC 6901) to each field that is wrong, of the first few; to all of the body it is
    empty."""
    found = [{"pointer": _short(_pointer(error["loc"])), "detail": error["msg"]} for error in errors[:MOST_ERRORS]]
    first = found[0]
    where = f"{first['pointer']}: " if first["pointer"] else ""
    more = f"; and {len(errors) - len(found)} more" if len(errors) > len(found) else ""
    return Problem(422, where + first["detail"] + more, errors=found)


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"


def _pointer(place: tuple[Any, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


def as_problem(error: Exception, method: str, path: str) -> Problem:
    """What is answered when this was raised for a request. Whatever is nobody's answer is a bug, and logged."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return invalid(error.errors())
        case HTTPException():
            return Problem(error.status_code, _detail(error, method, path), headers=error.headers)
        case Away():
            return unavailable(str(error), 5)
        case Damaged() | StoreBroken():
            log.error("the books cannot be read here", method=method, path=shown(path), error=str(error))
            return Problem(500, f"the books cannot be read here: {error}")
    log.error("a bug in the service", method=method, path=shown(path), exc_info=error)
    return Problem(500, BUG)


def _detail(error: HTTPException, method: str, path: str) -> str:
    """The routing raises these with no more to say than their status does."""
    if error.detail != responses.get(error.status_code):
        return str(error.detail)
    slash = ", without a slash at the end" if path.endswith("/") else ""
    said = {404: f"there is nothing at {path}: /docs lists what there is{slash}"}
    said[405] = f"{method} is not for {path}: /docs lists what is"
    return said.get(error.status_code, error.detail)


def _phrase(status: int) -> str:
    """The title of a status; some have none (RFC 9110, section 15)."""
    return TITLES.get(status) or responses.get(status, "Error")
