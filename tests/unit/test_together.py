"""How the shop stands is asked once for all who ask at a time, and nobody is told what was true before they asked."""

from __future__ import annotations

import asyncio

import pytest

from services.compras.status import Together


class Asked:
    """What is asked: each answer says when it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        mine = self.begun
        await self.go_on.wait()
        return mine


async def until_begun(asked: Asked, times: int) -> None:
    async with asyncio.timeout(10):
        while asked.begun < times:
            await asyncio.sleep(0)


async def test_who_asks_while_one_is_answered_shares_the_next_answer() -> None:
    asked = Asked()
    together = Together(asked)
    first = asyncio.create_task(together.answer())
    await until_begun(asked, 1)
    others = [asyncio.create_task(together.answer()) for _ in range(100)]
    await asyncio.sleep(0.01)
    # Not the answer that is on its way: what came to be meanwhile is not in it.
    assert asked.begun == 1
    asked.go_on.set()
    assert await first == 1
    assert await asyncio.gather(*others) == [2] * 100
    assert await together.answer() == 3


async def test_who_asks_at_once_is_answered_by_one_question_and_who_goes_away_costs_the_others_nothing() -> None:
    asked = Asked()
    together = Together(asked)
    those = [asyncio.create_task(together.answer()) for _ in range(10)]
    await until_begun(asked, 1)
    those[0].cancel()
    asked.go_on.set()
    assert await asyncio.gather(*those[1:]) == [1] * 9


async def test_what_fails_is_told_to_who_asked_and_the_next_one_asks_anew() -> None:
    times = 0

    async def ask() -> str:
        nonlocal times
        times += 1
        if times == 1:
            raise OSError("no answer")
        return "here"

    together = Together(ask)
    for told in await asyncio.gather(together.answer(), together.answer(), return_exceptions=True):
        assert isinstance(told, OSError)
    assert await together.answer() == "here"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Together(asyncio.Event().wait).answer(), 0.01)
