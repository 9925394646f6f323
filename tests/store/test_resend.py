"""Asking again for what does not get on: on a real store, with a voice and a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

import pytest
from store_builders import confirmada, life, reservado, solicitada, writer

from broker.messages import Message
from broker.services import SERVICES, Service
from services.compras.domain import DOMAIN
from services.compras.resend import LONGEST_SECONDS, ROUND_LIMIT, Resender
from services.shared.journal.store import JsonStore


class Outbound:
    """Writes down what is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waiting: set[Service] | None = set()
        self.held: dict[Service, float] = {}
        self.at: Callable[[], None] = lambda: None

    async def publish(self, messages: Sequence[Message]) -> None:
        self.asked += [message.subject for message in messages]
        self.at()

    async def oldest(self) -> dict[Service, float] | None:
        if self.waiting is None:
            return None
        return {name: inf if name in self.waiting else self.held.get(name, 0.0) for name in SERVICES}


class Rounds:
    """A clock that goes on by a round at each sleep, so many times."""

    def __init__(self, rounds: int) -> None:
        self.seconds = 0.0
        self._left = rounds

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        if not self._left:
            raise asyncio.CancelledError
        self._left -= 1
        self.seconds += seconds


async def nudged(store: JsonStore[object], voice: Outbound, rounds: int) -> list[str]:
    """What is asked for in so many seconds from the start on."""
    clock = Rounds(rounds)
    nudge = Resender(store, voice, clock, sleep=clock.sleep)  # type: ignore[arg-type]
    task = asyncio.create_task(nudge.run())
    await asyncio.wait([task])
    return voice.asked


async def asked_in_rounds(store: JsonStore[object], voice: Outbound, rounds: int) -> list[int]:
    """The second of each question."""
    clock = Rounds(rounds)
    seconds: list[int] = []
    voice.at = lambda: seconds.append(round(clock.seconds))
    nudge = Resender(store, voice, clock, sleep=clock.sleep)  # type: ignore[arg-type]
    await asyncio.wait([asyncio.create_task(nudge.run())])
    return seconds


async def test_what_stands_still_is_asked_for_ever_more_seldom(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([solicitada(1)])
        asked = await nudged(store, Outbound(), 1_000)
        # At once, after 5, 15, 35, 75, 155, and then every 120 seconds.
        assert len(asked) == 6 + (1_000 - 155) // int(LONGEST_SECONDS)


async def test_nothing_is_asked_while_it_is_not_known_what_waits(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([solicitada(1)])
        voice = Outbound()
        voice.waiting = None
        assert await nudged(store, voice, 100) == []


async def test_while_a_queue_holds_something_what_may_be_in_it_is_not_asked_for(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([solicitada(1), solicitada(2), confirmada(solicitada(2))])
        for name in SERVICES:
            voice = Outbound()
            voice.waiting = {name}
            # With transacciones down and a backlog, what is lost before the sale is found all the same.
            wanted = {solicitada(1).subject} if name == "transacciones" else set()
            assert set(await nudged(store, voice, 20)) == wanted


@pytest.mark.parametrize(
    ("seconds", "asked_at"),
    [
        (0.4, [5, 15]),  # somebody is at work, on what was said just now: it is none of that
        (2.9, [5, 15]),
        (3.1, [6, 16]),
        (9, [11]),  # it may be that: with many consumers, or slow ones, it waits there
        (30, []),
    ],
)
async def test_what_may_be_in_somebodys_hands_is_not_asked_for(
    tmp_path: Path, seconds: float, asked_at: list[int]
) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        said = solicitada(1)
        await store.process_batch([said, reservado(said).received(said.fecha)])
        for name in SERVICES:
            voice = Outbound()
            voice.held = {name: seconds}
            # What is behind the sale keeps nobody who is before it.
            wanted = [5, 15] if name == "transacciones" else asked_at
            assert await asked_in_rounds(store, voice, 20) == wanted


async def test_a_start_asks_at_once_for_what_may_not_have_been_said_and_later_for_the_rest(tmp_path: Path) -> None:
    said, heard = solicitada(1), solicitada(2)
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([said, heard, reservado(heard).received(heard.fecha)])
        assert await nudged(store, Outbound(), 0) == [said.subject]
        assert await nudged(store, Outbound(), 5) == [said.subject, said.subject, heard.subject]


async def test_what_waits_in_a_queue_is_not_asked_for_at_each_start(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([solicitada(number) for number in range(1, 2_001)])
        voice = Outbound()
        voice.waiting = {"tokens"}
        for _ in range(3):
            assert await nudged(store, voice, 3) == []
        voice.waiting = set()
        assert len(await nudged(store, voice, 0)) == ROUND_LIMIT


async def test_what_is_finished_is_not_asked_for(tmp_path: Path) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch(life(solicitada(1), 1))
        assert await nudged(store, Outbound(), 100) == []
