"""Schemathesis asks all four services what their /openapi.json allows, and what not: each answer is as it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from patience import END_SECONDS, wait_until
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, positive_data_acceptance
from shop_builders import answers

from broker.services import SERVICES
from ops.child import GUARDED, SERVER_OPTIONS
from ops.process import free_port

KEY = "the-operators-key-of-this-test"
# A stream has no end that could be waited for.
STREAMS = {"/eventos", "/compras/{compra_id}/eventos"}
# So many requests for each operation that keep to the document, and as many that do not.
EXAMPLES = 8
# A 503 is documented where it may come, and a 500 nowhere: the check of the status says so.
SKIPPED = (not_a_server_error,)
# In a body 1.0 is a whole number to JSON Schema, and not to us: 422.
SKIPPED_FOR_BODIES = (*SKIPPED, positive_data_acceptance)
# What is wrong may also be too long.
REFUSALS = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]
CONFIG = {"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """A book that is put back: any text, which is none."""
    return str(value).encode(errors="surrogatepass")


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Four services that write their books. There is no broker, so nothing travels between them."""
    folder = tmp_path_factory.mktemp("services")
    found = {name: f"http://127.0.0.1:{free_port()}" for name in SERVICES}
    shared = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")},
        **{f"ZOCO_{name.upper()}_URL": found[name] for name in ("usuarios", "tokens", "transacciones")},
        "ZOCO_OPERATOR_TOKEN": KEY,
        "ZOCO_BOOKS_TOKEN": KEY,
    }
    processes = []
    try:
        for name, url in found.items():
            env = {**shared, "ZOCO_DATA": str(folder / name), "ZOCO_PUBLIC_URL": url}
            if name == "compras":
                # Without a broker it only reads.
                env["ZOCO_RABBITMQ_URL"] = f"amqp://x:x@127.0.0.1:{free_port()}/"
            place = (f"services.{name}.main:app", "--port", url.rpartition(":")[2])
            words = ("-m", "uvicorn", *place, *SERVER_OPTIONS, *GUARDED)
            with (folder / f"{name}.log").open("wb") as log:
                processes.append(subprocess.Popen([sys.executable, *words], env=env, stdout=log, stderr=log))
        for name, url in found.items():
            wait_until(lambda url=url: answers(f"{url}/livez"), f"{name} does not start")  # type: ignore[misc]
            log = folder / f"{name}.log"
            wait_until(lambda log=log: "this process writes" in log.read_text(), f"{name} does not write")  # type: ignore[misc]
        yield found
        for name in SERVICES:
            assert "a bug in the service" not in (folder / f"{name}.log").read_text()
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(END_SECONDS)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", SERVICES)
def test_each_answer_is_as_it_is_documented(urls: dict[str, str], name: str, mode: GenerationMode) -> None:
    config = schemathesis.Config.from_dict(CONFIG)
    schema = schemathesis.openapi.from_url(f"{urls[name]}/openapi.json", config=config)
    operations = [one for one in (result.ok() for result in schema.get_all_operations()) if one.path not in STREAMS]
    asked = {f"{one.method} {one.path}" for one in operations if ask(one, mode)}
    # What takes nothing, or any text, cannot be asked wrongly.
    assert len(asked) >= (len(operations) if mode is GenerationMode.POSITIVE else 2), asked


def ask(operation: Any, mode: GenerationMode) -> int:
    """How many requests there were."""
    count = 0
    skipped = SKIPPED_FOR_BODIES if operation.body else SKIPPED

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        nonlocal count
        count += 1
        # Nobody hears of it here, so its end would be waited for in vain.
        case.headers.pop("Prefer", None)
        case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, excluded_checks=skipped)

    with suppress(Unsatisfiable):
        asked()
    return count
