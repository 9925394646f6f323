"""What services answer who asks for one row, and not for all of them: for some rows, each process that can be reached.
And what the streams of some purchases' events tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from random import Random
from typing import Any, Final

import aiohttp

from loadgen.drill.quiet import NO_ANSWER
from loadgen.load.client import NOT_YET
from loadgen.load.journal import answer_of
from loadgen.load.onlooker import DATA

Shown = Mapping[str, Sequence[Any]]
# Of each service so many rows, these of them its last, and so many purchases' events.
ROWS: Final = 100
LAST: Final = 20
STREAMS: Final = 10
# So many are asked for at once.
TOGETHER: Final = 10
ENDS: Final = ("registrada", "rechazada")
# Who has too much to do is asked again, and so is who stands behind a proxy that says it does not answer; who does not
# answer has not been asked.
AGAIN_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 10.0
NOTHING: Final = (*NO_ANSWER, ValueError)


class Unasked(Exception):
    """Nobody said it."""


class Failed(Unasked):
    """It was answered with an error, which is no silence."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def one_by_one(http: aiohttp.ClientSession, urls: Mapping[str, str], shown: Shown) -> dict[str, list[Any]]:
    """For the audit: `single` rows, purchases' `streams`, and the processes that were `unasked`. `shown` are lists."""
    single: list[Any] = []
    unasked: list[Any] = []
    processes = await _processes(http, urls)
    for name, chosen in {name: _some(shown[name], ROWS) for name in urls if name in shown}.items():
        for url in (urls[name], *await _others(http, urls[name], processes.get(name, ()), unasked)):
            try:
                for first in range(0, len(chosen), TOGETHER):
                    some = chosen[first : first + TOGETHER]
                    single += await asyncio.gather(*(_single(http, url, name, number) for number in some))
            except Unasked:
                unasked.append(url)
    ended = [row for row in shown.get("compras", ()) if isinstance(row, dict) and row.get("estado") in ENDS]
    streams = []
    for about in _some(ended, STREAMS):
        try:
            streams.append({"id": about, "by": urls["compras"], "shown": await _stream(http, urls["compras"], about)})
        except Unasked:
            unasked.append(f"{urls['compras']}/compras/{about}/eventos")
    return {"single": single, "streams": streams, "unasked": unasked}


def _some(rows: Sequence[Any], most: int) -> list[Any]:
    """The ids of some of them, the last among them."""
    ids = [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), int | str)]
    last, others = ids[-min(LAST, most) :], ids[: -min(LAST, most)]
    return [*last, *Random(len(ids)).sample(others, min(len(others), most - len(last)))]


async def _processes(http: aiohttp.ClientSession, urls: Mapping[str, str]) -> dict[str, list[str]]:
    """Where each process answers that the front door knows of, by its service."""
    try:
        known = (await _get(http, f"{urls['compras']}/estado"))["procesos"]
        return {name: [process["url"] for process in known.get(name, ())] for name in urls}
    except (Unasked, KeyError, TypeError, AttributeError):
        return {}


async def _others(http: aiohttp.ClientSession, asked: str, known: Sequence[str], unasked: list[Any]) -> list[str]:
    """A service's other processes that have read as far as the one that is asked."""
    try:
        upto = (await _get(http, f"{asked}/readyz"))["records"]
    except (Unasked, KeyError, TypeError):
        return []
    found = []
    for url in known:
        if url.rstrip("/") == asked.rstrip("/"):
            continue
        if await _has_read(http, url, upto):
            found.append(url)
        else:
            unasked.append(url)
    return found


async def _has_read(http: aiohttp.ClientSession, url: str, upto: int) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if (await _get(http, f"{url}/readyz"))["records"] >= upto:
                return True
        except (Unasked, KeyError, TypeError):
            return False
        await asyncio.sleep(AGAIN_SECONDS)
    return False


async def _single(http: aiohttp.ClientSession, url: str, name: str, number: Any) -> dict[str, Any]:
    """`row` is null where there is none, or where it cannot be shown: then `status` says how. Raises Unasked."""
    one = {"of": name, "id": number, "by": url}
    try:
        return {**one, "row": await _get(http, f"{url}/{name}/{number}")}
    except Failed as failed:
        return {**one, "row": None, "status": failed.status}


async def _get(http: aiohttp.ClientSession, url: str) -> Any:
    """The body of an answer; None: 404. Raises Unasked, Failed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while time.monotonic() < deadline:
                async with http.get(url) as answer:
                    if answer.status == HTTPStatus.OK:
                        return answer_of(await answer.read())
                    if answer.status == HTTPStatus.NOT_FOUND:
                        return None
                    if answer.status not in NOT_YET:
                        raise Failed(answer.status)
                await asyncio.sleep(AGAIN_SECONDS)
    except NOTHING as error:
        raise Unasked from error
    raise Unasked


async def _stream(http: aiohttp.ClientSession, url: str, about: str) -> list[Any]:
    """All that is told of a purchase that is over, or how it was refused. Raises Unasked."""
    told = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), http.get(f"{url}/compras/{about}/eventos?desde=0") as answer:
            if answer.status in NOT_YET:
                raise Unasked
            if answer.status != HTTPStatus.OK:
                return [{"status": answer.status}]
            async for line in answer.content:
                if line.startswith(DATA):
                    told.append(answer_of(line.removeprefix(DATA)))
    except NOTHING as error:
        raise Unasked from error
    return told
