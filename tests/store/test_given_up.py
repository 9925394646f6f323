"""A segment that its writer takes back for want of room, while others look at the folder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from kept_story import Clock
from store_builders import disk_on, publicado, writer

from services.shared.journal.disk import LocalDisk
from services.shared.journal.segments import mark_name, segment_name
from services.shared.journal.store import JsonStore
from services.tokens.domain import DOMAIN

SECOND = segment_name(1, 2)


class GoesAway(LocalDisk):
    """While this one lists the folder so often, somebody gives the newest segment up."""

    looks = 0

    def names(self) -> list[str]:
        found = super().names()
        self.looks -= 1
        if self.looks == 0:
            for name in (mark_name(SECOND), SECOND):
                (self.folder / name).unlink(missing_ok=True)
        return found


async def nothing(store: JsonStore[Any]) -> None:
    store.disk.create(SECOND)


async def header(store: JsonStore[Any]) -> None:
    store.disk.create(SECOND)
    await store.begin(SECOND)
    store.disk.remove(mark_name(SECOND))


async def header_and_mark(store: JsonStore[Any]) -> None:
    store.disk.create(SECOND)
    await store.begin(SECOND)


@pytest.mark.parametrize("look", [1, 2, 3])
@pytest.mark.parametrize("begun", [nothing, header, header_and_mark])
@pytest.mark.parametrize("anew", [False, True])
async def test_who_looks_while_a_segment_is_given_up_looks_again(
    tmp_path: Path, begun: Callable[[JsonStore[Any]], Awaitable[None]], look: int, anew: bool
) -> None:
    async with writer(tmp_path, DOMAIN) as store:
        await store.process_batch([publicado(1)])
        with disk_on(tmp_path, GoesAway) as disk:
            follower = JsonStore(disk, DOMAIN, Clock())
            if not anew:
                follower.load()
            await begun(store)
            disk.looks = look
            if anew:
                follower.load()
            follower.follow()
            follower.follow()
            assert not (tmp_path / SECOND).exists()
            assert (follower.seq, follower.segment) == (1, segment_name(1, 1))
