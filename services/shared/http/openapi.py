"""What /openapi.json says beside what FastAPI finds out by itself: problems, and the headers of answers.

The endpoints return bytes that are ready, so models stand in their `responses`, for documentation only; the tests
compare them with what is really answered.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from services.shared.http.problems import MEDIA_TYPE

SCHEMAS: Final = "#/components/schemas/"
# When each is answered. What is not here says no more than its name.
WHEN: Final = {
    400: "A header is wrong",
    401: "The operator's token is missing or wrong",
    403: "This is switched off",
    404: "There is no such thing",
    409: "It is under way already",
    412: "It depends on how something is (If-Match and its like), which is not so, or not known here",
    413: "The body is too large",
    415: "The body is not declared to be JSON, or it is packed",
    421: "The shop is not reached under that name",
    422: "A parameter or the body is wrong: `errors` point at what",
    429: "This address asks for more than its share of what there is: the same request again, later",
    503: "Not now: the same request again, later",
    507: "No room on the disk, or it may not be written: nothing was changed",
}


class Vista(BaseModel):
    """What is shown: just these fields."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class FieldError(Vista):
    pointer: str
    detail: str


class ProblemDetails(Vista):
    """Any answer that is an error (RFC 9457). `detail` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


def header(description: str, kind: str = "string") -> dict[str, Any]:
    """A header of an answer."""
    return {"description": description, "schema": {"type": kind}}


RETRY_AFTER: Final = {"Retry-After": header("Seconds to wait before the next try", "integer")}
LINK: Final = {"Link": header('Where there are more: <…>; rel="next" (RFC 8288); not with the last of them')}
HEADERS: Final = {401: {"WWW-Authenticate": header('Bearer realm="zoco"')}, 429: RETRY_AFTER, 503: RETRY_AFTER}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that are problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": SCHEMAS + ProblemDetails.__name__}}}
    return {
        status: {"description": WHEN[status], "content": content, "headers": HEADERS.get(status, {})}
        for status in statuses
    }


# What may be answered to whatever is asked.
ANYWHERE: Final = (400, 421, 429)
# What an operator's endpoint may answer.
OPERATORS: Final = problems(401, 403)


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """What `/docs` says of a body that `read_body` reads."""
    schema = model.model_json_schema(by_alias=True)
    if parts := schema.pop("$defs", None):
        # A list of one kind of object; OpenAPI would look for its definition elsewhere.
        (schema["items"],) = parts.values()
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with the problem that all refer to, and without the 422 that no service answers."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = ProblemDetails.model_json_schema(ref_template=SCHEMAS + "{model}")
    schemas |= {**problem.pop("$defs"), ProblemDetails.__name__: problem}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"] |= {str(status): told for status, told in problems(*ANYWHERE).items()}
            if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {MEDIA_TYPE: {}}):
                del operation["responses"]["422"]
    return document
