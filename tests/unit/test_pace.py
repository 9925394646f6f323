"""Who asks more than their share while there is not enough for all is asked to come again; who is alone never is."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from math import inf

import pytest

from services.shared.http.pace import LEAST, Pace
from services.shared.http.problems import Problem

LATE, IN_TIME = True, False


def asked(pace: Pace, too_much: bool, **times: int) -> dict[str, int]:
    """How often each was let in during one window."""
    let_in = dict.fromkeys(times, 0)
    for name, count in times.items():
        for _ in range(count):
            try:
                pace.check(name)
                let_in[name] += 1
            except Problem as problem:
                assert problem.status == 429 and problem.headers["Retry-After"] == "1"
    pace.adapt(too_much=too_much)
    return let_in


def test_who_is_alone_may_ask_as_often_as_they_can() -> None:
    pace = Pace()
    for _ in range(100):
        assert asked(pace, LATE, one=1_000) == {"one": 1_000}


def test_where_there_is_enough_two_may() -> None:
    pace = Pace()
    for _ in range(100):
        assert asked(pace, IN_TIME, one=1_000, two=1_000) == {"one": 1_000, "two": 1_000}


def test_who_asks_most_is_slowed_down_and_nobody_else() -> None:
    pace = Pace()
    let_in = [asked(pace, LATE, greedy=1_000, honest=2) for _ in range(30)]
    assert {one["honest"] for one in let_in} == {2}
    assert let_in[-1]["greedy"] == LEAST
    # It is enough again: a little more each time, for as long as somebody asks for more.
    assert [asked(pace, IN_TIME, greedy=1_000, honest=2)["greedy"] for _ in range(3)] == [50, 60, 70]
    assert pace.level < inf
    # Nobody does any more.
    for _ in range(20):
        asked(pace, IN_TIME, honest=2)
    assert pace.level == inf


def test_what_is_said_to_them_can_be_kept_to() -> None:
    pace = Pace()
    for _ in range(30):
        asked(pace, LATE, greedy=1_000, honest=2)
    with pytest.raises(Problem, match="no more than 50 a second") as problem:
        for _ in range(100):
            pace.check("greedy")
    assert problem.value.headers["RateLimit-Policy"] == '"address";q=50;w=1'
    assert problem.value.headers["RateLimit"] == '"address";r=0;t=1'


def test_who_only_looks_is_counted_and_is_nobody_beside_who_asks() -> None:
    """A kubelet beside one buyer, who is alone; and a stranger who does nothing but look."""
    pace = Pace()
    for _ in range(30):
        pace.check("kubelet", only_looks=True)
        assert asked(pace, LATE, buyer=1_000) == {"buyer": 1_000}
    for _ in range(30):
        for _ in range(1_000):
            with suppress(Problem):
                pace.check("stranger", only_looks=True)
        assert asked(pace, LATE, buyer=40) == {"buyer": 40}
    with pytest.raises(Problem):
        for _ in range(LEAST + 1):
            pace.check("stranger", only_looks=True)


async def test_what_its_threads_do_is_the_processs_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is late because of what it does not do itself."""
    monkeypatch.setattr(time, "process_time", time.perf_counter)
    pace = Pace()
    running = asyncio.create_task(pace.run())
    async with asyncio.timeout(20):
        while pace.level == inf:
            for name in ("one", "two"):
                pace.check(name)
            # Late, and not at work.
            time.sleep(0.1)
            await asyncio.sleep(0)
    running.cancel()
