"""What services answer who asks for one row, and not for all of them: for some rows, each process that can be reached.
What its lists are where another one was asked for them; and what the streams of some purchases' events tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from random import Random
from typing import Any, Final, NamedTuple

import aiohttp
from yarl import URL

from loadgen.audit.compare import same
from loadgen.load.client import NOT_YET, rows
from loadgen.load.journal import answer_of
from loadgen.load.onlooker import DATA, NOTHING

Shown = Mapping[str, Sequence[Any]]
# Of each service so many rows, these of them its last, and so many purchases' events.
ROWS: Final = 100
LAST: Final = 20
STREAMS: Final = 10
# Rows of a list in one answer.
PAGE: Final = 1_000
# So many are asked for at once.
TOGETHER: Final = 10
ENDS: Final = ("registrada", "rechazada")
# Who has too much to do is asked again, and so is who stands behind a proxy that says it does not answer; who does not
# answer has not been asked.
AGAIN_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 10.0
# Who was seen less often, and never got on, may have been slow to say it.
LOOKS: Final = 3
# How the number of an event reads.
NUMBER: Final = b"id:"


class Unasked(Exception):
    """Nobody said it."""


class Failed(Unasked):
    """It was answered with an error, which is no silence."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def one_by_one(
    http: aiohttp.ClientSession, urls: Mapping[str, str], shown: Shown, *, balanced: bool = False
) -> dict[str, list[Any]]:
    """For the audit: `single` rows, the `lists` of other processes, those that stand `behind`, purchases' `streams`,
    the processes that were `unasked`, and services of which it is `unknown` what other processes there are. `shown` are
    lists. `balanced`: at one address several processes may answer."""
    found: dict[str, list[Any]] = {"single": [], "lists": [], "behind": [], "streams": [], "unasked": []}
    processes = await _processes(http, urls)
    found["unknown"] = [name for name in urls if processes is None or (balanced and name not in processes)]
    for name in (name for name in urls if name in shown):
        others = await _others(http, name, urls[name], (processes or {}).get(name, ()), found)
        chosen = some_of(shown[name], ROWS)
        for url in (urls[name], *others):
            try:
                for first in range(0, len(chosen), TOGETHER):
                    some = chosen[first : first + TOGETHER]
                    found["single"] += await asyncio.gather(*(single(http, url, name, number) for number in some))
                if url in others:
                    found["lists"].append(
                        await listed(http, URL(f"{url}/{name}") % {"limite": PAGE}, name, shown[name])
                    )
            except Unasked:
                found["unasked"].append(url)
    door = urls["compras"]
    for about in some_of(ended(shown.get("compras", ())), STREAMS):
        try:
            heard = await listen(http, door, about, 0)
        except Unasked:
            found["unasked"].append(f"{door}/compras/{about}/eventos")
            continue
        found["streams"].append({"id": about, "by": door, "shown": heard.shown})
        if not heard.ends:
            break
    return found


def ended(rows: Sequence[Any]) -> list[Any]:
    """Of these purchases those that are over."""
    return [row for row in rows if isinstance(row, dict) and row.get("estado") in ENDS]


def some_of(rows: Sequence[Any], most: int) -> list[Any]:
    """The ids of some of them, the last among them."""
    ids = [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), int | str)]
    last, others = ids[-min(LAST, most) :], ids[: -min(LAST, most)]
    return [*last, *Random(len(ids)).sample(others, min(len(others), most - len(last)))]


async def _processes(http: aiohttp.ClientSession, urls: Mapping[str, str]) -> dict[str, list[str]] | None:
    """Where each process answers that the front door knows of, by its service, where there are several; None: nobody
    says it."""
    try:
        known = (await ask(http, f"{urls['compras']}/estado"))["procesos"]
        return {name: [process["url"] for process in known[name]] for name in urls if name in known}
    except (Unasked, KeyError, TypeError, AttributeError):
        return None


async def _others(
    http: aiohttp.ClientSession, name: str, asked: str, known: Sequence[str], found: dict[str, list[Any]]
) -> list[str]:
    """A service's other processes that have read as far as the one that is asked; who has not is noted."""
    others = [url for url in known if url.rstrip("/") != asked.rstrip("/")]
    try:
        upto = (await ask(http, f"{asked}/readyz"))["records"]
    except (Unasked, KeyError, TypeError):
        found["unasked"] += others
        return []
    there = []
    for url in others:
        if (records := await _read_upto(http, url, asked, upto)) is None:
            found["unasked"].append(url)
        elif records < upto:
            found["behind"].append({"of": name, "by": url, "records": records, "upto": upto})
        else:
            there.append(url)
    return there


async def _read_upto(http: aiohttp.ClientSession, url: str, asked: str, upto: int) -> int | None:
    """How far this process has read: so far, or less, and it gets on no more. None: it does, or nobody can say."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    looks: list[int] = []
    while time.monotonic() < deadline:
        try:
            state = await ask(http, f"{url}/readyz")
            if state["records"] >= upto:
                return upto
            looks.append(state["records"])
            if state["ready"] is not True or state["doubt"] is not None:
                return None
            if (await ask(http, f"{asked}/readyz"))["records"] != upto:
                return None
        except (Unasked, KeyError, TypeError):
            return None
        await asyncio.sleep(AGAIN_SECONDS)
    return looks[-1] if len(looks) >= LOOKS and looks[0] == looks[-1] else None


async def listed(http: aiohttp.ClientSession, url: URL, name: str, known: Sequence[Any], **only: Any) -> dict[str, Any]:
    """All rows of a list, as somebody shows them, those that are `known` as the same objects; `only`: those of whom.
    Raises Unasked."""
    one, found = {"of": name, "by": str(url), "only": only}, list[Any]()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found.clear()
        try:
            async for row in rows(http, url):
                at = len(found)
                found.append(known[at] if at < len(known) and same(row, known[at]) else row)
                if at > len(known) + PAGE:
                    # Its pages lead in a circle, or elsewhere.
                    break
        except aiohttp.ClientResponseError as error:
            if error.status not in NOT_YET:
                return {**one, "rows": [], "status": error.status}
        except NOTHING as error:
            raise Unasked from error
        else:
            return {**one, "rows": found}
        await asyncio.sleep(AGAIN_SECONDS)
    raise Unasked


async def single(http: aiohttp.ClientSession, url: str, name: str, number: Any) -> dict[str, Any]:
    """`row` is null where there is none, or where it cannot be shown: then `status` says how. Raises Unasked."""
    one = {"of": name, "id": number, "by": url}
    try:
        return {**one, "row": await ask(http, f"{url}/{name}/{number}")}
    except Failed as failed:
        return {**one, "row": None, "status": failed.status}


async def ask(http: aiohttp.ClientSession, url: str) -> Any:
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


class Heard(NamedTuple):
    """What was told of a purchase that is over, each with its number, or how it was refused; `ends`: and no more."""

    shown: list[Any]
    numbers: list[int]
    ends: bool = True


async def listen(
    http: aiohttp.ClientSession, url: str, about: str, desde: int | None, last: int | None = None
) -> Heard:
    """Its events, from here on, or behind the last one that was heard. What tells too little is heard a second time.
    Raises Unasked."""
    query = "" if desde is None else f"?desde={desde}"
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    for _ in range(2):
        shown, numbers, begun = list[Any](), list[int](), False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async with http.get(f"{url}/compras/{about}/eventos{query}", headers=headers) as answer:
                    if answer.status in NOT_YET:
                        raise Unasked
                    if answer.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
                        return Heard([{"status": answer.status}], [])
                    begun = True
                    async for line in answer.content:
                        if line.startswith(DATA):
                            shown.append(answer_of(line.removeprefix(DATA)))
                        elif line.startswith(NUMBER):
                            numbers.append(int(line.removeprefix(NUMBER)))
            return Heard(shown, numbers)
        except NOTHING as error:
            if not (begun and isinstance(error, TimeoutError)):
                raise Unasked from error
    return Heard(shown, numbers, ends=False)
