"""What a front door shows its buyers: what it passes on, what is of one of them, and events behind those they know."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final

import aiohttp
from yarl import URL

from loadgen.audit.compare import same
from loadgen.drill.one_by_one import (
    AGAIN_SECONDS,
    PATIENCE_SECONDS,
    Unasked,
    ask,
    ended,
    listed,
    listen,
    single,
)

Shown = Mapping[str, Sequence[Any]]
# What the front door passes on, and what lists can be asked for of whom.
PASSED_ON: Final = ("usuarios", "tokens", "transacciones")
OF_ONE: Final = (("compras", "usuarioId"), ("transacciones", "usuarioId"), ("transacciones", "tokenId"))
# So many rows, buyers and purchases are asked for; a list has more pages than one, and no more than so many, if a page
# has room for that.
SOME: Final = 10
PAGES: Final = 20
LARGEST: Final = 100
# Of what is further back only how a purchase stands is told.
RECENT_RECORDS: Final = 10_000


class Buyers:
    """Of one front door, in a shop at rest. An answer that is not what its service shows may be that of a process which
    is still reading, and is asked for again, for so long in all."""

    def __init__(self, http: aiohttp.ClientSession, door: str, shown: Shown) -> None:
        self._http, self._door, self._shown = http, door, shown
        self._until = 0.0
        self._random = Random(len(shown.get("compras", ())))

    async def ask(self, found: dict[str, list[Any]]) -> None:
        """Adds to `lists`, `single` and `unasked`, and makes `resumed`: events behind the one of a number."""
        for name in PASSED_ON:
            await self._asking(found, name, self._passed_on)
        for name, field in OF_ONE:
            await self._asking(found, name, partial(self._of_one, field))
        found["resumed"] = []
        await self._asking(found, "compras", self._resumed)

    async def _asking(
        self, found: dict[str, list[Any]], name: str, ask: Callable[[str, dict[str, list[Any]]], Awaitable[None]]
    ) -> None:
        """One who does not answer is not asked for more."""
        if name in self._shown:
            try:
                await ask(name, found)
            except Unasked:
                found["unasked"].append(f"{self._door}/{name}")

    async def _passed_on(self, name: str, found: dict[str, list[Any]]) -> None:
        url, due = URL(f"{self._door}/{name}"), self._shown[name]
        for whole in (url, url % {"limite": _limite(len(due))}):
            found["lists"].append(await self._again(partial(listed, self._http, whole, name, due), due))
        at_home = {one["id"]: one["row"] for one in reversed(found["single"]) if one["of"] == name}
        for number in self._random.sample([*at_home], min(SOME, len(at_home))):
            row = partial(single, self._http, self._door, name, number)
            found["single"].append(await self._again(row, at_home[number], "row"))

    async def _of_one(self, field: str, name: str, found: dict[str, list[Any]]) -> None:
        rows = [row for row in self._shown[name] if isinstance(row, dict) and isinstance(row.get(field), int)]
        counts = Counter(row[field] for row in rows)
        # Of one with a single row there is no second page.
        several = [whose for whose, count in counts.items() if count > 1] or [*counts]
        for whose in self._random.sample(several, min(SOME, len(several))):
            due = [row for row in rows if row[field] == whose]
            url = URL(f"{self._door}/{name}") % {field: whose, "limite": min(LARGEST, _limite(len(due)))}
            found["lists"].append(await self._again(partial(listed, self._http, url, name, due, **{field: whose}), due))

    async def _resumed(self, name: str, found: dict[str, list[Any]]) -> None:
        try:
            desde = max(0, (await ask(self._http, f"{self._door}/readyz"))["records"] - RECENT_RECORDS)
        except (KeyError, TypeError) as error:
            raise Unasked from error
        for about in [row["id"] for row in ended(self._shown[name])[-SOME:]]:
            heard = await listen(self._http, self._door, about, desde)
            for number in heard.numbers:
                behind = await listen(self._http, self._door, about, None, number)
                found["resumed"].append({"id": about, "by": self._door, "behind": number, "shown": behind.shown})
                if not behind.ends:
                    return

    async def _again(self, ask: Callable[[], Awaitable[dict[str, Any]]], due: Any, of: str = "rows") -> dict[str, Any]:
        while True:
            answer = await ask()
            if same(answer[of], due):
                return answer
            self._until = self._until or time.monotonic() + PATIENCE_SECONDS
            if time.monotonic() > self._until:
                return answer
            await asyncio.sleep(AGAIN_SECONDS)


def _limite(count: int) -> int:
    """Of a list of so many rows: two pages at least, if there are two rows."""
    return max(1, min(2, count - 1), -(-count // PAGES))
