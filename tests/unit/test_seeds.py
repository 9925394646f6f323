"""What a service starts with: every service has a seed, and says what is wrong with another."""

from __future__ import annotations

from importlib import import_module

import pytest

from broker.services import SERVICES

EVERY = pytest.mark.parametrize("name", SERVICES)


@EVERY
def test_a_service_has_a_seed_that_it_can_read(name: str) -> None:
    service = import_module(f"services.{name}.main").SERVICE
    assert service.seed_file.name == f"{name}.json"
    assert (len(service.seed(service.seed_file.read_bytes())) > 0) == (name in {"tokens", "usuarios"})


@EVERY
@pytest.mark.parametrize("raw", [b"", b"not json at all", b"{}", b"null", b'[{"id": "1"}]', b"[1]"])
def test_a_seed_that_is_none_is_refused(name: str, raw: bytes) -> None:
    service = import_module(f"services.{name}.main").SERVICE
    with pytest.raises(ValueError, match=r"."):
        service.seed(raw)
