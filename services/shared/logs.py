"""Logs: JSON lines in a container, coloured text on a terminal, times in UTC."""

from __future__ import annotations

import atexit
import functools
import io
import logging
import logging.config
import os
import sys
from typing import Any, Final, Literal, TextIO

import structlog

from broker.lines import Lines, plain

# Of what a stranger wrote a line shows no more.
SHOWN: Final = 100
# What a process that ends leaves for its last lines.
DRAIN_SECONDS: Final = 1.0


def configure_logs(service: str, style: Literal["auto", "json", "console"]) -> None:
    """Everything that this process logs, its libraries' lines too, goes to standard error in one style."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        # Not by a context variable: requests and threads have contexts of their own.
        lambda _, __, event: {**event, "service": service},
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
            # Unless told, it shows the values of all variables where Rich is installed: the operator's key among them,
            # and at such a length that the service stands still meanwhile.
            exception_formatter=_traceback,
        )
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    fit = (_plain_values, renderer) if console else (structlog.processors.format_exc_info, renderer, _plain_json)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *fit],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # They tell every reconnect at length; the bus says it in one line.
    for name in ("aiormq", "aio_pika"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def shown(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


@functools.cache
def _stderr() -> Lines:
    lines = Lines(sys.stderr)
    atexit.register(lines.drain, DRAIN_SECONDS)
    return lines


def drain_logs() -> None:
    """Before a process ends without any more ado."""
    _stderr().drain(DRAIN_SECONDS)


def _plain_values(logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Whatever else is in it, the renderer shows by its `repr`."""
    return {key: plain(value) if isinstance(value, str) else value for key, value in event.items()}


def _plain_json(logger: object, name: str, line: Any) -> str:
    """JSON itself escapes less than a terminal needs."""
    return plain(line)


def _traceback(out: TextIO, error: structlog.typing.ExcInfo) -> None:
    found = io.StringIO()
    structlog.dev.plain_traceback(found, error)
    out.write(plain(found.getvalue()))
