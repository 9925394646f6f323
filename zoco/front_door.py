"""Where the front door is; one request to it, and its answer. What loads it is `loadgen`."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from ops.cluster import Cluster
from ops.errors import UserError
from ops.i18n import Text
from ops.running import Running

# Longer than it was asked to wait: the way there and back.
PATIENCE_SECONDS: Final = 30
# Whoever was killed is back by then.
AWAY_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 0.2
# What a company's proxy knows of is not this machine's.
OPENER: Final = build_opener(ProxyHandler({}))


class NoAnswer(UserError):
    """Nobody answers there, or not in the front door's words."""


@contextmanager
def front_door_of(data: Path, url: str | None, namespace: str | None) -> Iterator[str]:
    """Where the front door is: where the user says, in this namespace of a cluster, or here."""
    if namespace is not None and url is None:
        with Cluster(namespace).forwarded("compras") as forwarded:
            yield forwarded
    else:
        yield url.rstrip("/") if url else Running.read(data).urls["compras"]


def post(url: str, body: dict[str, Any], key: str | None, wait_seconds: int) -> tuple[int, dict[str, Any]]:
    """The status, and the answer's body, whatever the status. Raises NoAnswer."""
    headers = {"Content-Type": "application/json", "Prefer": f"wait={wait_seconds}"}
    if key is not None:
        # What it may be made of, the front door decides.
        headers["Idempotency-Key"] = key.encode(errors="surrogateescape").decode("latin-1")
    return _answer(url, json.dumps(body).encode(), headers, wait_seconds)


def bought(front: str, body: dict[str, Any], key: str, wait_seconds: int) -> tuple[int, dict[str, Any]]:
    """The same for a purchase: as it stands, when it was accepted. While the front door is away it is asked again:
    under one key that is one purchase, though an answer was lost. Raises NoAnswer."""
    deadline = time.monotonic() + AWAY_SECONDS
    while True:
        try:
            status, told = post(f"{front}/compras", body, key, wait_seconds)
        except NoAnswer as error:
            if not isinstance(error.__cause__, (OSError, HTTPException)) or time.monotonic() > deadline:
                raise
        else:
            if status != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                break
        time.sleep(AGAIN_SECONDS)
    if not isinstance(told, dict) or (status in (200, 202) and not told.keys() >= {"id", "estado", "historia"}):
        raise _no_front_door(front)
    return status, told


def typed_key(key: str) -> str:
    """As a shell takes it, in one line."""
    return shlex.quote(key).replace("\n", "\\n")


def get(url: str) -> Any:
    """The answer's body. Raises NoAnswer, also when the status is not 200."""
    status, told = _answer(url, None, {}, 0)
    if status != 200:
        raise NoAnswer("answered {status}: {detail}", status, told.get("detail", told))
    return told


def estado(front: str) -> dict[str, Any]:
    """What a front door tells of its shop. Raises NoAnswer."""
    told = get(f"{front}/estado")
    if not (isinstance(told, dict) and told.keys() >= {"servicios", "colas", "broker"}):
        raise _no_front_door(front)
    return told


def operators_code(front: str, key: str) -> dict[str, Any]:
    """A code for one browser, and how long it holds. Raises NoAnswer."""
    status, told = _answer(f"{front}/operador/codigos", b"", {"Authorization": f"Bearer {key}"}, 0)
    if not isinstance(told, dict) or (status == 200 and "codigo" not in told):
        raise _no_front_door(front)
    if status != 200:
        raise NoAnswer("answered {status}: {detail}", status, told.get("detail", told))
    return told


def _no_front_door(url: str) -> NoAnswer:
    return NoAnswer("what answers at {url} is no front door ({error}): see --url", url, Text("another JSON"))


def _answer(url: str, body: bytes | None, headers: dict[str, str], wait_seconds: int) -> tuple[int, Any]:
    try:
        request = Request(url, body, headers)
        with OPENER.open(request, timeout=wait_seconds + PATIENCE_SECONDS) as answer:
            return answer.status, json.load(answer)
    except HTTPError as answer:
        with answer, suppress(ValueError):
            return answer.code, json.load(answer)
        raise NoAnswer("what answers at {url} is no front door ({error}): see --url", url, answer) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NoAnswer("what answers at {url} is no front door ({error}): see --url", url, error) from error
    except ValueError as error:
        raise NoAnswer("the front door cannot be asked this ({error})", error) from error
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", error)
        raise NoAnswer("the front door does not answer ({error}): is `zoco up` running?", why) from error
