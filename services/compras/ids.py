"""The ids by which buyers and operators ask how something stands."""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter, ValidationError

from broker.messages import AltaId, CompraId
from services.shared.http.problems import Problem

# Their forms, by the names under which they are told of.
FORMS: Final[dict[str, TypeAdapter[str]]] = {"purchase": TypeAdapter(CompraId), "entry": TypeAdapter(AltaId)}


def check_id(subject: str, name: str) -> None:
    """Raises Problem (404) for what is no id: nobody is asked for it, neither the books nor who writes them."""
    try:
        FORMS[name].validate_python(subject)
    except ValidationError:
        raise not_there(name, subject) from None


def not_there(name: str, subject: str) -> Problem:
    return Problem(404, f"there is no {name} {subject}: its id is in the Location of the answer to its request")
