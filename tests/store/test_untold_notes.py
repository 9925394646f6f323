"""What was decided and not told: who leads next says it, as far as it is not noted that the broker has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from store_builders import Clock, HeldBroker, copied, cut_off_by_a_doubt, disk_on, publicado, solicitada, writer

from broker.messages import CompraRechazada, Message
from services.shared.heights import BookHeights
from services.shared.journal.position import TOLD, told
from services.shared.journal.store import JsonStore
from services.shared.journal.untold import noted
from services.tokens.domain import DOMAIN as TOKENS


async def said_at_the_start(store: JsonStore[Any]) -> list[Message]:
    """What it publishes once it decides."""
    said: list[Message] = []

    async def publish(messages: Sequence[Message]) -> None:
        said.extend(messages)

    await noted(store, store.seq)
    telling = asyncio.create_task(store.tell())
    # It may be in doubt still.
    await asyncio.sleep(0)
    assert not said and not telling.done()
    store.speaks(publish)
    await telling
    return said


def subjects(messages: Sequence[Message]) -> list[str]:
    return [message.subject for message in messages]


async def test_what_the_one_before_decided_and_did_not_tell_is_said_in_its_order(tmp_path: Path) -> None:
    first, second, third = (solicitada(number) for number in (1, 2, 3))
    async with writer(tmp_path, TOKENS) as store:
        assert await said_at_the_start(store) == []
        answers = await store.process_batch([publicado(), publicado(102), first])
        store.told([message for answer in answers for message in answer.messages])
        await store.process_batch([solicitada(2, token=102), third])
        at = store.heights.said(4)
    async with writer(tmp_path, TOKENS) as store:
        said = await said_at_the_start(store)
    assert subjects(said) == [second.subject] and said[0].heights == at
    async with writer(tmp_path, TOKENS) as store:
        assert await said_at_the_start(store) == [], "it was told"


async def test_a_note_that_a_version_of_before_went_on_behind_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.journal.untold.MOST_RECORDS", 2)
    async with writer(tmp_path, TOKENS) as store:
        await said_at_the_start(store)
        await store.process_batch([publicado(), solicitada(1)])
    kept = copied(tmp_path, tmp_path.with_name("kept"))
    async with writer(kept, TOKENS) as store:
        assert subjects(await said_at_the_start(store)) == [solicitada(1).subject]
    async with writer(tmp_path, TOKENS) as store:
        await store.process_batch([publicado(102)])
    async with writer(tmp_path, TOKENS) as store:
        assert await said_at_the_start(store) == []


async def test_who_dies_while_it_tells_has_told_nothing(tmp_path: Path) -> None:
    async with writer(tmp_path, TOKENS) as store:
        await said_at_the_start(store)
        await store.process_batch([publicado(), solicitada(1)])
    async with writer(tmp_path, TOKENS) as store:
        begun = asyncio.Event()

        async def publish(messages: Sequence[Message]) -> None:
            begun.set()
            await asyncio.Event().wait()

        telling = asyncio.create_task(store.tell())
        store.speaks(publish)
        await begun.wait()
        # What it decides itself is told, and what was before is not.
        (answer,) = await store.process_batch([solicitada(2, token=9)])
        store.told(answer.messages)
        telling.cancel()
    async with writer(tmp_path, TOKENS) as store:
        assert subjects(await said_at_the_start(store)) == [solicitada(1).subject, solicitada(2).subject]


async def test_what_a_doubt_cut_off_is_said_once_it_is_over_and_noted_only_then(tmp_path: Path) -> None:
    broker = HeldBroker()
    async with writer(tmp_path, TOKENS) as store:
        telling = asyncio.create_task(store.tell())
        await cut_off_by_a_doubt(store, broker)
        await telling
        assert json.loads((tmp_path / TOLD).read_bytes())["told"] == store.heights.said(5).partition(" ")[0]
    refused = [word.subject for word in broker.said if isinstance(word, CompraRechazada)]
    assert refused == [solicitada(2).subject, solicitada(3).subject]


@pytest.mark.parametrize(
    "noted",
    [
        None,
        lambda book: b"",
        lambda book: b"nonsense",
        lambda book: note_of("compras", book.book, 1),
        lambda book: note_of("tokens", "0badb00c", 1),
        lambda book: note_of("tokens", book.book, 2),
        lambda book: note_of("tokens", book.book, 1).replace(b"/0", b"/1"),
    ],
    ids=["none", "empty", "nonsense", "another service's", "another book's", "another generation's", "altered"],
)
async def test_a_note_that_is_not_of_this_book_says_nothing(
    tmp_path: Path, noted: Callable[[BookHeights], bytes] | None
) -> None:
    """As in a folder of the version before: the front door asks again for what does not get on."""
    file = tmp_path / TOLD
    async with writer(tmp_path, TOKENS) as store:
        await said_at_the_start(store)
        await store.process_batch([publicado(), solicitada(1)])
        heights = store.heights
    if noted is None:
        file.unlink()
    else:
        file.write_bytes(noted(heights))
    async with writer(tmp_path, TOKENS) as store:
        assert await said_at_the_start(store) == []
        assert json.loads(file.read_bytes())["told"] == heights.said(2)


def note_of(service: str, book: str, generation: int) -> bytes:
    """That nothing of it is told."""
    return told(f"{service}/{book}/{generation}/0")


async def test_who_dies_with_its_first_decision_has_told_nothing(tmp_path: Path) -> None:
    """Until the note stood before all decisions, one that came meanwhile was taken for told (world 410 of the busy)."""
    with disk_on(tmp_path) as disk:
        store = JsonStore(disk, TOKENS, Clock())
        store.load()
        await store.until_leading("http://here")
        await store.process_batch([publicado(), solicitada(1)])
    async with writer(tmp_path, TOKENS) as store:
        assert subjects(await said_at_the_start(store)) == [solicitada(1).subject]


async def test_a_note_that_was_copied_behind_its_segments_hides_nothing_that_comes(tmp_path: Path) -> None:
    async with writer(tmp_path, TOKENS) as store:
        await store.process_batch([publicado(1)])
        (tmp_path / TOLD).write_bytes(told(store.heights.said(9)))
    with disk_on(tmp_path) as disk:
        store = JsonStore(disk, TOKENS, Clock())
        store.load()
        await store.until_leading("http://here")
        assert await store.told_upto() == 1
        await store.process_batch([solicitada(token=1)])
    async with writer(tmp_path, TOKENS) as store:
        assert subjects(await said_at_the_start(store)) == [solicitada(token=1).subject]


async def test_nothing_is_decided_while_the_disk_takes_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with writer(tmp_path, TOKENS) as store:
        failed = asyncio.Event()
        replace = store.disk.replace

        async def fails_once(name: str, data: bytes) -> None:
            if name == TOLD and not failed.is_set():
                failed.set()
                raise OSError(28, "No space left on device")
            await replace(name, data)

        monkeypatch.setattr(store.disk, "replace", fails_once)
        await noted(store, store.seq)
        assert failed.is_set()
        assert json.loads((tmp_path / TOLD).read_bytes())["told"] == store.heights.said(0)
