"""Fair shares, and whose an address is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.http.for_whom import client_of
from services.shared.http.guard import PROXIES, Guard, Phase
from services.shared.http.one_by_one import OneByOne
from services.shared.http.shares import A_FEW, AT_ONCE, Rounds, Shares, Unread, whose
from services.shared.metrics import Metrics
from services.shared.settings import WrongSetting, read_settings


def test_who_is_alone_gets_nine_tenths_and_the_next_of_the_rest() -> None:
    shares = Shares(1_000)
    taken = {name: sum(shares.take(name) for _ in range(2_000)) for name in "abc"}
    assert taken == {"a": 900, "b": 90, "c": 9}
    for _ in range(900):
        shares.give("a")
    assert sum(shares.take("c") for _ in range(2_000)) > 700


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=300), st.integers(1, 60))
def test_there_are_never_more_than_there_are(steps: list[tuple[bool, int]], places: int) -> None:
    shares, held = Shares(places), [0] * 6
    for takes, who in steps:
        if takes:
            # Whoever holds nothing gets one while there is one.
            assert shares.take(str(who)) or held[who] or not shares.free
            held[who] = shares._held[str(who)]
        elif held[who]:
            shares.give(str(who))
            held[who] -= 1
        assert sum(held) + shares.free == places and shares.free >= 0


async def test_each_address_is_begun_in_its_turn_whoever_sends_how_much() -> None:
    rounds, begun = Rounds(), []
    for number in range(1_000):
        rounds.add("stranger", partial(begun.append, f"stranger {number}"))
    for name in ("ana", "eva", "ana"):
        rounds.add(name, partial(begun.append, name))
    while len(begun) < 1_003:
        before = len(begun)
        await asyncio.sleep(0)
        # Not all in one turn of the loop: what has come meanwhile is seen between them.
        assert len(begun) - before <= A_FEW
    assert begun[:7] == ["stranger 0", "ana", "eva", "stranger 1", "ana", "stranger 2", "stranger 3"]
    assert begun[-1] == "stranger 999"


async def test_who_is_alone_has_more_of_each_turn() -> None:
    rounds, begun = Rounds(), []
    rounds._last = "ana"
    for number in range(100):
        rounds.add("ana", partial(begun.append, number))
    turns = 0
    while len(begun) < 100:
        await asyncio.sleep(0)
        turns += 1
    assert begun == list(range(100)) and turns <= 100 / AT_ONCE + 2


async def test_one_works_at_a_time_and_each_address_in_its_turn() -> None:
    one_by_one, began, working = OneByOne(), list[str](), 0

    async def work(name: str) -> str:
        nonlocal working
        working += 1
        assert working == 1
        began.append(name)
        await asyncio.sleep(0)
        working -= 1
        if name == "s1":
            raise ValueError(name)
        return name

    def asks(whose: str, name: str) -> asyncio.Task[str]:
        return asyncio.create_task(one_by_one.done(whose, partial(work, name)))

    every = [asks("stranger", f"s{number}") for number in range(100)] + [asks("ana", "a1"), asks("ana", "a2")]
    while not began:
        await asyncio.sleep(0)
    # What is begun is done to its end, whoever has gone; what is not, is not begun.
    every[0].cancel()
    every[50].cancel()
    found = await asyncio.gather(*every, return_exceptions=True)
    assert began[:6] == ["s0", "a1", "s1", "a2", "s2", "s3"]
    assert began[-1] == "s99" and "s50" not in began and len(began) == 101
    assert isinstance(found[0], asyncio.CancelledError) and isinstance(found[1], ValueError) and found[2] == "s2"
    assert await asks("ana", "again") == "again" and not one_by_one._waiting


async def test_what_cannot_even_be_begun_is_told_to_who_asked_and_the_next_is_done() -> None:
    one_by_one = OneByOne()
    done = asyncio.Event()
    done.set()

    def ended() -> Any:
        raise RuntimeError("cannot schedule new futures after shutdown")

    asked = [one_by_one.done("ana", ended), one_by_one.done("ana", done.wait)]
    first, second = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
    assert isinstance(first, RuntimeError) and second is True


async def test_the_loop_is_everybody_elses_between_two_pieces() -> None:
    one_by_one, began = OneByOne(rest=3.0), list[float]()

    async def work() -> None:
        began.append(time.perf_counter())
        time.sleep(0.005)

    await asyncio.gather(*(one_by_one.done("ana", work) for _ in range(3)))
    assert began[1] - began[0] >= 4 * 0.005 and began[2] - began[1] >= 4 * 0.005


async def test_while_a_piece_waits_for_a_database_the_loop_is_everybody_elses_already() -> None:
    one_by_one, began = OneByOne(rest=3.0), list[float]()

    async def work() -> None:
        began.append(time.perf_counter())
        await asyncio.sleep(0.02)

    await asyncio.gather(*(one_by_one.done("ana", work) for _ in range(10)))
    assert min(after - before for before, after in pairwise(began)) < 2 * 0.02


async def test_who_does_not_read_is_answered_no_further_and_others_are() -> None:
    unread, begun = Unread(100, Rounds()), []

    def asks(connection: str, whose: str) -> None:
        unread.begin(connection, whose, partial(begun.append, connection))

    async def now() -> list[str]:
        for _ in range(20):
            await asyncio.sleep(0)
        found, begun[:] = [*begun], []
        return found

    unread.hold("a1", "stranger", 50)
    asks("a1", "stranger")
    asks("a2", "stranger")
    # One answer at a time, on as many connections as there is room for.
    assert await now() == ["a2"]
    unread.hold("a2", "stranger", 50)
    asks("a3", "stranger")
    asks("a4", "stranger")
    asks("b", "ana")
    assert await now() == ["b"]
    # Who closes a connection has taken back what they asked for, and what they did not read.
    unread.gone("a4", "stranger")
    unread.gone("a2", "stranger")
    assert await now() == ["a3"]
    unread.read("a1")
    assert await now() == ["a1"]
    asks("a1", "stranger")
    assert await now() == ["a1"]


async def test_what_waits_for_others_to_read_is_begun_when_they_have() -> None:
    unread, begun = Unread(100, Rounds()), []
    unread.hold("a", "stranger", 99)
    unread.hold("b1", "ana", 10)
    unread.begin("b2", "ana", partial(begun.append, "b2"))
    assert not begun
    unread.read("a")
    unread.look()
    for _ in range(3):
        await asyncio.sleep(0)
    assert begun == ["b2"]


@dataclass(eq=False)
class Standing:
    """A connection."""

    fresh: bool
    phase: Phase = Phase.IDLE
    is_cut: bool = False

    def is_fresh(self) -> bool:
        return self.fresh

    def cut(self) -> None:
        self.is_cut = True


def test_who_has_long_done_nothing_makes_room_and_who_is_new_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOCO_CONNECTIONS", "10")
    guard = Guard(read_settings(), Metrics("tokens"))
    old, new = [Standing(fresh=False) for _ in range(2)], [Standing(fresh=True) for _ in range(20)]
    assert [guard.let_in(cast(Any, one), "6.6.6.6") for one in (*old, *new)] == [True] * 11 + [False] * 11
    assert all(one.is_cut for one in old) and not any(one.is_cut for one in new)
    assert guard.let_in(cast(Any, Standing(fresh=True)), "127.0.0.1")
    # One that is served is not cut, however long that takes.
    for one in new:
        one.fresh, one.phase = False, Phase.ANSWER
        guard.entered(cast(Any, one), "6.6.6.6")
    assert not guard.let_in(cast(Any, Standing(fresh=True)), "6.6.6.6")


def test_who_has_done_nothing_for_longest_makes_room_whoever_came_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOCO_CONNECTIONS", "10")
    guard = Guard(read_settings(), Metrics("tokens"))
    first, *others = every = [Standing(fresh=False) for _ in range(9)]
    assert all(guard.let_in(cast(Any, one), "6.6.6.6") for one in every)
    first.fresh = True
    guard.entered(cast(Any, first), "6.6.6.6")
    assert guard.let_in(cast(Any, Standing(fresh=True)), "6.6.6.6")
    assert [one.is_cut for one in every] == [False, True, *[False] * 7]
    # What is gone is not asked for its place again, and nothing is kept of it.
    for one in others:
        guard.gone(cast(Any, one), "6.6.6.6")
        guard.entered(cast(Any, one), "6.6.6.6")
    guard.gone(cast(Any, first), "6.6.6.6")
    assert guard.let_in(cast(Any, Standing(fresh=True)), "6.6.6.6")


def test_a_proxy_loses_no_connection_that_it_may_be_sending_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOCO_CONNECTIONS", "10")
    guard = Guard(read_settings(), Metrics("tokens"))
    idle, half = [Standing(fresh=False) for _ in range(8)], Standing(fresh=False, phase=Phase.HEAD)
    new = [Standing(fresh=True) for _ in range(2)]
    assert [guard.let_in(cast(Any, one), PROXIES) for one in (*idle, half, *new)] == [True] * 10 + [False]
    assert half.is_cut and not any(one.is_cut for one in (*idle, *new))
    assert guard.let_in(cast(Any, Standing(fresh=True)), "127.0.0.1")


@pytest.mark.parametrize(
    ("told", "counts_as"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_whose_an_address_is(told: str, counts_as: str) -> None:
    assert whose(told) == counts_as


@pytest.mark.parametrize(
    ("told", "client"),
    [
        (["1.2.3.4"], "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4, 10.0.0.7"], "1.2.3.4"),
        (["6.6.6.6", "1.2.3.4", "10.0.0.7 "], "1.2.3.4"),
        (["1.2.3.4, nobody, 10.0.0.7"], "10.0.0.7"),
        (["nobody"], None),
        ([], None),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["::ffff:10.0.0.7"], "10.0.0.7"),
        # Some write where it came from as a socket has it.
        (["6.6.6.6:1, 1.2.3.4:5678, 10.0.0.7:80"], "1.2.3.4"),
        (["6.6.6.6, [2001:db8::1]:443, [2001:db8:9::1]:80"], "2001:db8::1"),
        (["fe80::1%eth0"], "fe80::1"),
        (["2001:db8::1%br-lan"], "2001:db8::1"),
        (["6.6.6.6, [fe80::1%25a.100]:443"], "fe80::1"),
        (["fe80::1%" + "x" * 10_000], None),
        (["1.2.3.4, 1.2.3.4:123456"], None),
        (["1.2.3.4, \xb9.2.3.4"], None),
        (["1.2.3.4, "], None),
    ],
)
def test_a_proxy_says_for_whom_it_asks(told: list[str], client: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of them that is no proxy: what stands before it, the client may have written."""
    monkeypatch.setenv("ZOCO_PROXIES", "10.0.0.0/24, 2001:db8:9::/48")
    guard = Guard(read_settings(), Metrics("tokens"))
    assert guard.is_proxy("10.0.0.7") and guard.is_proxy("::ffff:10.0.0.7") and not guard.is_proxy("10.0.1.7")
    assert client_of([(b"x-forwarded-for", one.encode("latin-1")) for one in told], guard.is_proxy) == client


def test_what_is_no_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOCO_PROXIES", "10.0.0.0/24, traefik")
    with pytest.raises(WrongSetting, match="ZOCO_PROXIES is wrong"):
        read_settings()
