"""What a log says of a bug: where it is, and nothing of what a caller sent."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# With long lists in its frames, as a request has them: a traceback that shows them takes seconds to be made.
PROGRAM = """
import logging, sys, structlog
from services.shared.logs import configure_logs

configure_logs("tokens", sys.argv[1])

def bug(authorization, headers):
    raise RuntimeError("the bug")

try:
    bug("Bearer " + "-".join(["the", "operators", "key"]), {"authorization": "-".join(["the", "operators", "key"])})
except RuntimeError:
    structlog.get_logger().exception("by our own logger")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=True)
"""


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_is_short_and_shows_no_values(style: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, style], capture_output=True, text=True, check=True)
    assert done.stderr.count("RuntimeError: the bug") == 2
    assert done.stderr.count("Traceback (most recent call last)") == 2
    assert "the-operators-key" not in done.stderr
    assert done.stderr.count("\n") < 30


NAMED = """
import contextvars, logging, threading, structlog
from services.shared.logs import configure_logs, drain_logs

# As a lifespan does, whose context nobody else has.
contextvars.copy_context().run(configure_logs, "tokens", "json")
log = structlog.get_logger()
log.info("in a request")
thread = threading.Thread(target=log.info, args=("in a thread",))
thread.start()
thread.join()
logging.getLogger("uvicorn.error").error("by a library")
drain_logs()
"""


def test_every_line_says_whose_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", NAMED], capture_output=True, text=True, check=True)
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["service"]) for line in said] == [
        ("in a request", "tokens"),
        ("in a thread", "tokens"),
        ("by a library", "tokens"),
    ]
