"""`POST /libro/reconstruccion`: this service reads the other three books and writes its own again from them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from broker.amqp.bus import BusError
from broker.heights import Height, heard, sender
from broker.messages import Message
from broker.services import SERVICES, Service
from services.rebuild.evidence import Evidence
from services.rebuild.rebuilding import NotRebuilt, in_order
from services.rebuild.restore import lines_of
from services.shared.heights import BookHeights, Doubted
from services.shared.peers import NO_ANSWER
from services.shared.runtime import Runtime
from services.shared.store import NO_ROOM, Damaged, StoreBroken

# The others must have heard what is on its way to them: each queue was empty once, and for so long nobody has heard
# anything more of this book. What else they hear may go on.
QUIET_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 60.0
ASK_SECONDS: Final = 5.0
BATCH: Final = 500
# A record takes less, one with another: compras' and tokens' are the longest.
RECORD_BYTES: Final = 700
# So often it is said how far the reading is.
RECORDS: Final = 20_000


class Rebuild:
    """One try. Nothing has changed until the last line that `run` gives."""

    def __init__(self, runtime: Runtime[Any]) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._me: Service = runtime.name

    async def run(self, *, check: bool) -> AsyncIterator[dict[str, Any]]:
        """A line of progress each; the last has `hecho` (whether the book was written) and a sentence. Raises
        NotRebuilt."""
        doubt = self._runtime.doubt
        if doubt is None or doubt.of != self._me:
            await self._ask_again()
            yield {"hecho": False, "dice": f"there is nothing to do: the others know no more of {self._me}'s book"}
            return
        states = await self._others()
        yield {"paso": "waits until the others have heard what is on its way"}
        states = await self._until_quiet(states)
        known = self._known(states)
        evidence = Evidence(self._me)
        for name, state in states.items():
            at = sender(state["book"]["heights"])
            if at is None:
                raise NotRebuilt(f"{name} does not say which book it has: start it with this version")
            count = 0
            async for record in self._diario(name):
                evidence.peer(name, at[1].book, at[1].generation, record)
                count += 1
                if count % RECORDS == 0:
                    yield {"paso": "reads", "libro": name, "registros": count}
            yield {"paso": "has read", "libro": name, "registros": count}
        async for record in self._own():
            same = self._store.heights.book == known.book
            evidence.own(record, same_book=same, generation=self._store.heights.generation)
        messages = await self._messages(evidence)
        yield {"paso": "has put in order", "mensajes": len(messages)}
        summary = {"libro": known.book, "generacion": known.generation + 1, "mensajes": len(messages),
                   "desconocidos": evidence.unknown}  # fmt: skip
        if check:
            yield {
                "hecho": False,
                **summary,
                "dice": f"the book of {self._me} can be written again: nothing was changed",
            }
            return
        heights = BookHeights(self._me, known.book, known.generation + 1)
        heights.heard = {name: at[1] for name, state in states.items() if (at := sender(state["book"]["heights"]))}
        mine = self._store.heights
        doubted = [state.get("doubtBook") for state in states.values() if state["doubtOf"] == self._me]
        others = {one for one in (*mine.formerly, mine.book, *doubted) if one and one != known.book}
        heights.formerly = sorted(others)
        await self._written(heights, messages)
        yield {"hecho": True, **summary, "dice": f"the book of {self._me} is written again: it starts anew now"}

    async def _written(self, heights: BookHeights, messages: Sequence[Message]) -> None:
        """Write it. Raises NotRebuilt where the disk does not take it; what was written of it is away again then."""
        try:
            await self._store.begin_again(heights, _batches(messages))
        except (OSError, StoreBroken) as error:
            if not isinstance(error, OSError) or error.errno not in NO_ROOM:
                raise NotRebuilt(
                    f"the disk does not take the book of {self._me} ({error}), and nothing is changed: mend that, and "
                    "ask again"
                ) from error
            needed = len(messages) * RECORD_BYTES
            raise NotRebuilt(
                f"there is no room on the disk for {len(messages)} records ({error.strerror}), and nothing is changed: "
                f"free {needed} bytes, and ask again"
            ) from error

    async def _ask_again(self) -> None:
        """One of them may have learned since this process began that the book is an older one. Raises NotRebuilt."""
        try:
            await self._runtime.peers.check(self._store)
        except Doubted as doubted:
            raise NotRebuilt(f"{doubted}: end this process, as what it knows is from before, and ask again") from None

    async def _others(self) -> dict[Service, dict[str, Any]]:
        """What they say of themselves. Raises NotRebuilt when one does not answer, or is itself in doubt."""
        names: list[Service] = [name for name in SERVICES if name != self._me]
        missing = [name for name in names if name not in self._runtime.peers.urls]
        if missing:
            raise NotRebuilt(f"where {missing[0]} answers is not known: set ZOCO_{missing[0].upper()}_URL")
        found = dict(zip(names, await asyncio.gather(*map(self._state, names)), strict=True))
        lost = [name for name, state in found.items() if state.get("doubtOf") == name]
        if lost:
            raise NotRebuilt(
                f"two books are lost, of {self._me} and of {lost[0]}: what they told each other nobody else knows, so "
                "neither can be written again: put back all four from one backup, `zoco restore FILE`"
            )
        return found

    async def _state(self, name: Service) -> dict[str, Any]:
        peers = self._runtime.peers
        try:
            _, state = await peers.writer(name, ASK_SECONDS)
        except NO_ANSWER as error:
            raise NotRebuilt(
                f"{name} does not answer at {peers.urls[name].first}, and its book is needed: start it"
            ) from error
        if "book" not in state or "process" not in state:
            raise NotRebuilt(f"{name} is of a version that does not say which book it has: start it with this one")
        # Who follows has no doubt, and hears nothing.
        if state["role"] != "writer" and not state["diskFull"]:
            raise NotRebuilt(f"no process of {name} writes at the moment, and its book is needed: ask again")
        return state

    async def _until_quiet(self, before: Mapping[Service, dict[str, Any]]) -> dict[Service, dict[str, Any]]:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        # Who has taken all that was in its queue since this book says nothing.
        drained: set[Service] = set()
        processes = {(name, state["process"]) for name, state in before.items()}
        while asyncio.get_running_loop().time() < deadline:
            drained.update(await self._empty(before))
            await asyncio.sleep(QUIET_SECONDS)
            now = await self._others()
            # What a process had in its hands when it died is in the queue again, for another one.
            drained -= {name for name, state in now.items() if (name, state["process"]) not in processes}
            processes.update((name, state["process"]) for name, state in now.items())
            still = all(self._heard_of_me(now[name]) == self._heard_of_me(before[name]) for name in now)
            if still and len(drained) == len(now):
                return now
            before = now
        if full := [name for name, state in before.items() if state["diskFull"]]:
            raise NotRebuilt(
                f"the disk of {full[0]} is full, and what it heard last waits for room: make some, and try again"
            )
        raise NotRebuilt("the others still hear news after a minute: let the load on the shop end, and try again")

    def _heard_of_me(self, state: Mapping[str, Any]) -> Height | None:
        return heard(state["book"]["heights"]).get(self._me)

    async def _empty(self, names: Mapping[Service, Any]) -> list[Service]:
        """Whose queue has nothing that waits. Raises NotRebuilt."""
        bus = self._runtime.bus
        try:
            depths = await bus.depths() if bus else {}
        except BusError as error:
            raise NotRebuilt(f"the broker is away ({error}): what is on its way must be heard first") from error
        # Who doubts this book takes nothing until it is written again: what waits there was said by a wrong one.
        # And who waits for room has in its hands what is in no book yet, and perhaps in no queue.
        return [
            name
            for name, state in names.items()
            if (state["doubtOf"] == self._me or not depths[name].messages) and not state["diskFull"]
        ]

    def _known(self, states: Mapping[Service, dict[str, Any]]) -> Height:
        """The book that they have heard of, up to where. Raises NotRebuilt when they know different ones."""
        said = {name: self._heard_of_me(state) for name, state in states.items()}
        heights: dict[str, Height] = {name: height for name, height in said.items() if height is not None}
        if (doubt := self._runtime.doubt) and doubt.of == self._me and doubt.lost:
            heights["a message"] = doubt.lost
        books = {height.book for height in heights.values()}
        if len(books) != 1:
            names = ", ".join(f"{name}: {height.book}" for name, height in heights.items()) or "nobody"
            raise NotRebuilt(
                f"the others do not know one book of {self._me}, but {names}: are they of one "
                "shop? `zoco rebuild --adopt` goes on from where all four agree"
            )
        return max(heights.values())

    async def _diario(self, name: Service) -> AsyncIterator[Mapping[str, Any]]:
        token = self._runtime.settings.books_token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        try:
            # Who follows may not have read all of it yet.
            url, _ = await self._runtime.peers.writer(name, ASK_SECONDS)
            timeout = aiohttp.ClientTimeout(total=None, sock_read=ASK_SECONDS)
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.get(f"{url}/diario", headers=headers) as answer,
            ):
                if answer.status != 200:
                    raise NotRebuilt(
                        f"{name} does not show its book ({answer.status}): give all four one ZOCO_BOOKS_TOKEN"
                    )
                # Not by its own lines: they end at half a megabyte, and a sale refuses all who wait in one record.
                async for lines in lines_of(answer.content.iter_any()):
                    for line in lines:
                        yield msgspec.json.decode(line)
        except (*NO_ANSWER, Damaged) as error:
            raise NotRebuilt(f"{name}'s book could not be read to its end ({error}): try again") from error

    async def _own(self) -> AsyncIterator[Mapping[str, Any]]:
        after = 0
        while some := await self._store.records(after, 256 * 1024):
            for raw in some:
                yield msgspec.json.decode(raw)
            after += len(some)
            await asyncio.sleep(0)

    async def _messages(self, evidence: Evidence) -> list[Message]:
        seed = self._runtime.seed()
        try:
            return await asyncio.to_thread(in_order, self._runtime.service.domain, evidence, seed)
        except NotRebuilt as error:
            says = "the books do not fit together: put back all four from a backup (`zoco restore FILE`), or go on from"
            raise NotRebuilt(f"{error}; {says} where they agree (`zoco rebuild --adopt`)") from error


async def _batches(messages: Sequence[Message]) -> AsyncIterator[Sequence[Message]]:
    rest = iter(messages)
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch
