"""The store port a second time, in as few lines as it takes: all in memory, for tests only."""

from __future__ import annotations

import asyncio
import secrets
from collections import ChainMap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import msgspec
import pydantic_core

from broker.messages import BIT, Message, encode_word, from_word
from services.shared.decision import Domain
from services.shared.heights import BookHeights
from services.shared.records import RowCodec, has_checksum, with_checksum
from services.shared.room import Room, Space
from services.shared.store import MAX_LINES, Answer, Change, Damaged, Fenced

Row = TypeVar("Row", bound=msgspec.Struct)


@dataclass
class Kept:
    """What outlives a process, as a disk would."""

    rows: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    last: dict[str, Message | None] = field(default_factory=dict)
    records: list[bytes] = field(default_factory=list)
    heights: list[BookHeights] = field(default_factory=list)
    lines: list[Message] = field(default_factory=list)
    # Set, unless a test holds back what is written; and whether something waits for it.
    go: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryStore:
    """One process at a time, which leads from its start."""

    def __init__(self, domain: Domain[Any], now: Callable[[], str], kept: Kept | None = None) -> None:
        self.domain, self.leads, self.full, self.time = domain, False, False, ""
        self.trouble, self.opened, self.lags, self.health = None, True, False, None
        self._now, self._kept = now, kept or Kept()
        self.room = Room(lambda: Space(1, 1), lambda: 0)
        self._kept.go.set()
        self._codec, self._heard, self._url = RowCodec(domain.rows), [], ""
        self._kept.heights = self._kept.heights or [BookHeights(domain.name, secrets.token_hex(4), 1)]
        (self.heights,) = self._kept.heights

    @property
    def seq(self) -> int:
        return len(self._kept.records)

    @property
    def unfinished(self) -> int:
        return sum(not self.domain.finished(row) for row in self._kept.rows.values())

    def unfinished_of(self, kind: type[Any]) -> int:
        rows = self._kept.rows.values()
        return sum(isinstance(row, kind) and not self.domain.finished(row) for row in rows)

    async def row(self, key: str) -> Any:
        return self._kept.rows.get(key)

    async def rows_of(self, keys: Iterable[str]) -> dict[str, Any]:
        return {key: self._kept.rows[key] for key in keys if key in self._kept.rows}

    async def unfinished_rows(self) -> Mapping[str, Any]:
        return {key: row for key, row in self._kept.rows.items() if not self.domain.finished(row)}

    async def public_list(self, limit: int = MAX_LINES, after: int = 0) -> tuple[bytes, int | None]:
        shown = [one for row in self._kept.rows.values() if (one := self.domain.shown(row)) is not None]
        if not after and len(shown) <= limit:
            return msgspec.json.encode(shown), None
        behind = sorted((one for one in shown if one["id"] > after), key=lambda one: one["id"])
        return msgspec.json.encode(behind[:limit]), behind[limit - 1]["id"] if len(behind) > limit else None

    async def listed(
        self, limit: int, *, after: int = 0, where: Mapping[str, int | None]
    ) -> list[tuple[int, Mapping[str, Any]]]:
        wanted = {name: value for name, value in where.items() if value is not None}
        found = (
            (number, pydantic_core.from_json(encode_word(word)))
            for number, word in enumerate(self._kept.lines[after:], after + 1)
            if all(getattr(word, name) == value for name, value in wanted.items())
        )
        return list(islice(found, limit))

    async def records(self, after: int, size_bytes: int) -> list[bytes]:
        found = self._kept.records[after : after + 1]
        for raw in islice(self._kept.records, after + 1, None):
            if sum(map(len, found)) + len(raw) > size_bytes:
                break
            found.append(raw)
        return found

    def now(self) -> str:
        return self._now()

    async def moment(self) -> None: ...

    async def latest(self) -> int:
        return self.seq

    def speaks(self, publish: Callable[[Sequence[Message]], Awaitable[None]]) -> None: ...

    def told(self, messages: Sequence[Message]) -> None: ...

    async def told_upto(self) -> int:
        return self.seq

    async def alone(self) -> None: ...

    async def durable(self) -> None: ...

    def watch(self, heard: Callable[[Change[Any]], None]) -> None:
        self._heard.append(heard)

    async def open(self) -> None: ...

    async def until_leading(self, url: str) -> None:
        self._url, self.leads = url, True

    async def tend(self) -> None:
        await asyncio.Event().wait()

    async def begin_again(self, heights: BookHeights, batches: AsyncIterator[Sequence[Message]]) -> None:
        self._kept.__init__(heights=[heights])  # type: ignore[misc]
        self._kept.go.set()
        self.heights = heights
        async for batch in batches:
            await self.process_batch(batch)

    async def put_back(
        self, heights: BookHeights, records: AsyncIterator[Sequence[bytes]], told: int | None = None
    ) -> None:
        kept = Kept(heights=[heights])
        async for raw in (raw async for some in records for raw in some):
            if not has_checksum(raw):
                raise Damaged("this is not a record as it was written")
            read = pydantic_core.from_json(raw)
            subject, kind = read["id"].rsplit(":", 1)
            if read["change"] is not None:
                kept.rows[read["row"]] = self._codec.changed(kept.rows.get(read["row"]), read["change"])
            kept.seen[subject] = kept.seen.get(subject, 0) | BIT[kind]
            words = [from_word(word) for word in read["words"]]
            kept.last |= {subject: None, **{word.subject: word for word in words}}
            kept.lines += [one for one in words if self.domain.listing and isinstance(one, self.domain.listing.message)]
            kept.records.append(raw)
        self._kept.__dict__.update(kept.__dict__)
        self._kept.go.set()
        self.heights = heights

    def leader_url(self) -> str | None:
        return self._url or None

    async def close(self) -> None:
        self.leads = False

    async def process_batch(self, batch: Sequence[Message]) -> list[Answer]:
        if not self.leads:
            raise Fenced("this process was closed")
        kept, heard = self._kept, []
        rows, seen, last = ChainMap({}, kept.rows), ChainMap({}, kept.seen), ChainMap({}, kept.last)
        self.heights.heard = self.heights.hear([message.heights for message in batch], self.seq)
        lines, records, first, self.time = [], [], self.seq + 1, max(self._now(), self.time)
        answers = []
        for message in batch:
            if seen.get(message.subject, 0) & BIT[message.type]:
                said = last.get(message.subject)
                answers.append(Answer((said,) if said is not None else (), repeated=True))
                continue
            try:
                if self.heights.stale(message.heights):
                    answers.append(Answer())
                    continue
                old = rows.get(key := self.domain.key(message))
                new, words = (decision := self.domain.decide(old, message)).row, decision.messages
            except Exception as error:
                answers.append(Answer(failure=f"{type(error).__name__}: {error}"))
                continue
            record = self._record(message, key, old, new, words, (number := first + len(records), first))
            # Not before: what was accepted is said as it is, and is then of this record.
            answers.append(Answer(tuple(word.said(self.heights.said(number)) for word in words)))
            if new is not None:
                rows[key] = new
            seen[message.subject] = seen.get(message.subject, 0) | BIT[message.type]
            last |= {message.subject: None, **{word.subject: word for word in words}}
            lines += [word for word in words if self.domain.listing and isinstance(word, self.domain.listing.message)]
            records.append(record)
            heard.append(Change(message.type, message.subject, new))
        kept.waiting.set()
        await kept.go.wait()
        for mine, all_there in ((rows, kept.rows), (seen, kept.seen), (last, kept.last)):
            all_there.update(mine.maps[0])
        kept.records += records
        kept.lines += lines
        for change in heard:
            for watcher in self._heard:
                watcher(change)
        return answers

    def _record(
        self, message: Message, key: str, old: Any, new: Any, words: Sequence[Message], seq_and_batch: tuple[int, int]
    ) -> bytes:
        """As docs/journal.md has it."""
        change = None if new is None or new is old else self._codec.change(old, new) or None
        if change and self.domain.finished(new):
            change = {**self._codec.change(None, new), **change}
        head = dict(zip(("seq", "batch"), seq_and_batch, strict=True))
        head |= {"time": self.time, "id": message.id, "row": key}
        head |= {"rules": rules} if (rules := self.domain.rules(message)) else {}
        if message.heights:
            head |= {"from": message.heights.partition(" ")[0]}
            head |= {"message": pydantic_core.from_json(encode_word(message))} if self.domain.keeps(message) else {}
        head["change"] = change
        return with_checksum(msgspec.json.encode(head)[:-1] + b',"words":[' + b",".join(map(encode_word, words)) + b"]")
