"""What /openapi.json says of the four services is valid, whole, and has examples that work."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from broker.services import SERVICES
from services.shared.http.problems import Problem, invalid

DOCUMENTS: dict[str, dict[str, Any]] = {
    name: importlib.import_module(f"services.{name}.main").app.openapi() for name in SERVICES
}
OPERATIONS = [
    pytest.param(name, method, path, operation, id=f"{name} {method} {path}")
    for name, document in DOCUMENTS.items()
    for path, operations in document["paths"].items()
    for method, operation in operations.items()
]
WRITES = ("post", "put")
PROBLEM = {"$ref": "#/components/schemas/ProblemDetails"}


def successes(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (answer for status, answer in operation["responses"].items() if status in ("200", "202"))


@pytest.mark.parametrize("name", SERVICES)
def test_the_document_is_valid(name: str) -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENTS[name]).iter_errors()] == []


@pytest.mark.parametrize(("name", "method", "path", "operation"), OPERATIONS)
def test_every_operation_says_what_it_answers(name: str, method: str, path: str, operation: dict[str, Any]) -> None:
    assert list(successes(operation))
    for answer in successes(operation):
        for content in answer["content"].values():
            assert content["schema"] != {}, answer
    for status, answer in operation["responses"].items():
        # Who is not ready yet says how it is, and that is no problem of the client's.
        if status >= "400" and (path, status) != ("/readyz", "503"):
            assert answer["content"] == {"application/problem+json": {"schema": PROBLEM}}
    assert ("Retry-After" in operation["responses"].get("503", {}).get("headers", {})) is (
        "503" in operation["responses"] and path != "/readyz"
    )
    assert ("422" in operation["responses"]) is any(
        one["in"] == "query" or one["schema"].get("type") == "integer" for one in operation.get("parameters", ())
    ) or method in WRITES


@pytest.mark.parametrize(("name", "method", "path", "operation"), OPERATIONS)
def test_what_is_the_operators_asks_for_the_token(name: str, method: str, path: str, operation: dict[str, Any]) -> None:
    schemes = DOCUMENTS[name]["components"]["securitySchemes"]
    whose = next((one for one in ("operator", "books") if f"({one})" in operation["summary"]), None)
    if whose:
        assert (schemes[whose]["type"], schemes[whose]["scheme"]) == ("http", "bearer")
    assert operation.get("security") == ([{whose: []}] if whose else None)
    assert ({"401", "403"} <= operation["responses"].keys()) is bool(whose)
    # The operator is the front door's; a book is shown and taken by each.
    assert schemes.keys() == ({"operator", "books"} if name == "compras" else {"books"})


@pytest.mark.parametrize(
    "operation",
    [
        one.values[3]
        for one in OPERATIONS
        if "application/json" in one.values[3].get("requestBody", {}).get("content", ())
        and one.values[2] != "/operador/sesion"
    ],
    ids=lambda one: one["summary"],
)
def test_who_writes_is_told_of_the_headers(operation: dict[str, Any]) -> None:
    assert {"Idempotency-Key", "Prefer"} <= {one["name"] for one in operation["parameters"]}
    assert {"400", "413", "415", "422", "503"} <= operation["responses"].keys()
    assert "Retry-After" in operation["responses"]["202"]["headers"]
    many = operation["summary"].startswith("Put up to 100")
    for status in ("200", "202"):
        assert ("Location" in operation["responses"][status]["headers"]) is not many
        assert {"Idempotency-Key", "Preference-Applied"} <= operation["responses"][status]["headers"].keys()


def test_who_listens_is_told_how_to_go_on() -> None:
    for path in ("/eventos", "/compras/{compra_id}/eventos"):
        parameters = DOCUMENTS["compras"]["paths"][path]["get"]["parameters"]
        assert "Last-Event-ID" in {one["name"] for one in parameters}


def test_the_example_purchase_is_of_the_seed() -> None:
    operation = DOCUMENTS["compras"]["paths"]["/compras"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["examples"] == [{"usuarioId": 1, "tokenId": 101}]
    Draft202012Validator(schema).validate(schema["examples"][0])


@pytest.mark.parametrize(
    "problem", [Problem(404, "nothing there"), invalid([{"loc": ("a", 1), "msg": "wrong"}])], ids=["plain", "fields"]
)
def test_a_problem_is_as_it_is_documented(problem: Problem) -> None:
    document = DOCUMENTS["tokens"]
    validator = Draft202012Validator({**PROBLEM, "components": document["components"]})
    validator.validate(json.loads(bytes(problem.response().body)))


def shape(operation: dict[str, Any]) -> Any:
    """What can be asked and what is answered, but for the words, and for a service that does not answer."""
    asked = {}
    for one in operation.get("parameters", ()):
        (schema, *_) = one["schema"].get("anyOf", [one["schema"]])
        asked[one["name"]] = {word: schema.get(word) for word in ("type", "minimum", "maximum", "pattern")}
    answers = {status: one["content"] for status, one in operation["responses"].items() if status != "503"}
    for content in answers.values():
        for kind in content.values():
            # FastAPI makes it of the function's name.
            kind["schema"] = {name: part for name, part in kind["schema"].items() if name != "title"}
    return asked, answers


@pytest.mark.parametrize(
    "path",
    [
        "/tokens",
        "/tokens/{token_id}",
        "/imagenes/{file}",
        "/usuarios",
        "/usuarios/{usuario_id}",
        "/transacciones",
        "/transacciones/{transaccion_id}",
    ],
)
def test_what_the_front_door_passes_on_is_what_its_service_says(path: str) -> None:
    service = {"imagenes": "tokens"}.get(name := path.split("/")[1], name)
    assert shape(DOCUMENTS["compras"]["paths"][path]["get"]) == shape(DOCUMENTS[service]["paths"][path]["get"])
