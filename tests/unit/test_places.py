"""Connections to another process: whoever asks a lot of them leaves the next one to somebody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from services.compras.pools import Places


async def stays() -> Any:
    await asyncio.Event().wait()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_somebody_else_has_one_at_once_and_then_each_address_in_its_turn() -> None:
    places, had = Places(10), list[str]()

    async def wants(whose: str) -> None:
        await places.take(whose, stays)
        had.append(whose)

    every = [asyncio.create_task(wants("stranger")) for _ in range(300)]
    await turns()
    assert had == ["stranger"] * 9
    every += [asyncio.create_task(wants(whose)) for whose in ("ana", "eva", "ana")]
    await turns()
    assert had[9:] == ["ana"]
    for _ in range(4):
        places.give("stranger")
        await turns()
    assert had[10:] == ["stranger", "eva", "ana", "stranger"]
    for task in every:
        task.cancel()


@pytest.mark.parametrize("how", ["hangs up", "is cancelled", "hangs up as it is given", "is cancelled as it is given"])
async def test_who_is_gone_while_they_wait_costs_nobody_a_place(how: str) -> None:
    places, leaves = Places(1), asyncio.Event()

    async def hangs_up() -> Any:
        await leaves.wait()
        return {"type": "http.disconnect"}

    await places.take("ana", stays)
    waiting = asyncio.create_task(places.take("stranger", hangs_up))
    await turns()
    if "given" in how:
        places.give("ana")
    if "cancelled" in how:
        waiting.cancel()
    else:
        leaves.set()
    (end,) = await asyncio.gather(waiting, return_exceptions=True)
    if end is None:
        # It has one, and gives it back as everybody does.
        places.give("stranger")
    else:
        assert isinstance(end, asyncio.CancelledError if "cancelled" in how else ClientDisconnect)
    if "given" not in how:
        places.give("ana")
    assert places.unused
    await asyncio.wait_for(places.take("eva", stays), 5)
