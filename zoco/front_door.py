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
from typing import Any, Final, NamedTuple
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
# What says no more than a lost answer (408, 502, 504), that it is not now, or that this address has its share.
NOT_YET: Final = (408, 429, 502, 503, 504)
SHARE_SECONDS: Final = 1.0
# What a company's proxy knows of is not this machine's.
OPENER: Final = build_opener(ProxyHandler({}))


class NoAnswer(UserError):
    """Nobody answers there, or not in the front door's words."""


class Answer(NamedTuple):
    status: int
    told: Any
    # No sooner the same is asked again.
    again_seconds: float = AGAIN_SECONDS


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
    return _posted(url, body, key, wait_seconds)[:2]


def _posted(url: str, body: dict[str, Any], key: str | None, wait_seconds: int) -> Answer:
    headers = {"Content-Type": "application/json", "Prefer": f"wait={wait_seconds}"}
    if key is not None:
        # What it may be made of, the front door decides.
        headers["Idempotency-Key"] = key.encode(errors="surrogateescape").decode("latin-1")
    return _answer(url, json.dumps(body).encode(), headers, wait_seconds)


def bought(front: str, body: dict[str, Any], key: str, wait_seconds: int) -> tuple[int, dict[str, Any]]:
    """The same for a purchase: as it stands, when it was accepted. While the front door is away, or this address has
    its share, it is asked again: under one key that is one purchase, though an answer was lost. Raises NoAnswer."""
    deadline = time.monotonic() + AWAY_SECONDS
    while True:
        pause = AGAIN_SECONDS
        try:
            status, told, pause = _posted(f"{front}/compras", body, key, wait_seconds)
        except NoAnswer as error:
            if not _lost(error.__cause__) or time.monotonic() > deadline:
                raise
        else:
            if status not in NOT_YET or time.monotonic() > deadline:
                break
        time.sleep(pause)
    if not isinstance(told, dict) or (status in (200, 202) and not told.keys() >= {"id", "estado", "historia"}):
        raise _no_front_door(front)
    return status, told


def typed_key(key: str) -> str:
    """As a shell takes it, in one line."""
    return shlex.quote(key).replace("\n", "\\n")


def get(url: str) -> Any:
    """The answer's body. Raises NoAnswer, also when the status is not 200."""
    status, told, _ = _answer(url, None, {}, 0)
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
    status, told, _ = _answer(f"{front}/operador/codigos", b"", {"Authorization": f"Bearer {key}"}, 0)
    if not isinstance(told, dict) or (status == 200 and "codigo" not in told):
        raise _no_front_door(front)
    if status != 200:
        raise NoAnswer("answered {status}: {detail}", status, told.get("detail", told))
    return told


def _lost(why: BaseException | None) -> bool:
    """Whether what was asked may have been done, for all that this says."""
    return why.code in NOT_YET if isinstance(why, HTTPError) else isinstance(why, (OSError, HTTPException))


def _no_front_door(url: str) -> NoAnswer:
    return NoAnswer("what answers at {url} is no front door ({error}): see --url", url, Text("another JSON"))


def _answer(url: str, body: bytes | None, headers: dict[str, str], wait_seconds: int) -> Answer:
    try:
        request = Request(url, body, headers)
        with OPENER.open(request, timeout=wait_seconds + PATIENCE_SECONDS) as answer:
            return Answer(answer.status, json.load(answer))
    except HTTPError as answer:
        with answer, suppress(ValueError):
            return Answer(answer.code, json.load(answer), _again_seconds(answer))
        raise NoAnswer("what answers at {url} is no front door ({error}): see --url", url, answer) from answer
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NoAnswer("what answers at {url} is no front door ({error}): see --url", url, error) from error
    except ValueError as error:
        raise NoAnswer("the front door cannot be asked this ({error})", error) from error
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", error)
        raise NoAnswer("the front door does not answer ({error}): is `zoco up` running?", why) from error


def _again_seconds(answer: HTTPError) -> float:
    if answer.code != HTTPStatus.TOO_MANY_REQUESTS:
        return AGAIN_SECONDS
    told = answer.headers.get("Retry-After", "")
    return min(max(float(told if told.isdecimal() else 0), SHARE_SECONDS), AWAY_SECONDS)
