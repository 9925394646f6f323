"""What buyers ask for, and what happens meanwhile: the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from loadgen.drill import faults
from loadgen.drill.faults import SCENARIOS
from loadgen.load.workloads import NOBODY, WORKLOADS, requests

COUNT = 2_000


@pytest.mark.parametrize("mix", WORKLOADS)
def test_a_seed_always_gives_the_same_requests_and_another_seed_gives_others(mix: str) -> None:
    fixture = WORKLOADS[mix].fixture(COUNT)
    first = list(requests(mix, fixture, 7, COUNT))
    assert len(first) == COUNT
    assert list(requests(mix, fixture, 7, COUNT)) == first
    assert list(requests(mix, fixture, 8, COUNT)) != first


@pytest.mark.parametrize("mix", WORKLOADS)
def test_requests_are_for_the_buyers_and_tokens_of_the_stock_wherever_their_ids_begin(mix: str) -> None:
    fixture = WORKLOADS[mix].fixture(COUNT).behind(5_000, 70_000)
    for ask in requests(mix, fixture, 1, COUNT):
        assert ask.token in fixture.tokens
        assert ask.usuario in fixture.buyers or ask.usuario >= NOBODY


def test_normal_buyers_want_much_and_meet_now_and_then() -> None:
    fixture = WORKLOADS["normal"].fixture(COUNT)
    wanted = Counter(ask.token for ask in requests("normal", fixture, 1, COUNT))
    assert len(wanted) > 0.9 * len(fixture.tokens)
    assert sum(count > 1 for count in wanted.values()) > 100


def test_a_flood_is_thousands_of_buyers_on_one_token() -> None:
    found = list(requests("flood", WORKLOADS["flood"].fixture(COUNT), 1, COUNT))
    assert {ask.token for ask in found} == {1}
    assert len({ask.usuario for ask in found}) == COUNT


def test_the_broke_want_more_than_they_can_pay() -> None:
    fixture = WORKLOADS["broke"].fixture(COUNT)
    wanted = Counter(ask.usuario for ask in requests("broke", fixture, 1, COUNT))
    assert sum(count * fixture.precio > fixture.saldo for count in wanted.values()) > 0.9 * len(fixture.buyers)


def test_retries_repeat_keys_sometimes_with_another_body() -> None:
    bodies: dict[str, set[tuple[int, int | None]]] = {}
    found = list(requests("retry", WORKLOADS["retry"].fixture(COUNT), 1, COUNT))
    for ask in found:
        bodies.setdefault(ask.key, set()).add((ask.token, ask.precio_maximo))
    assert len(bodies) < COUNT * 2 // 3
    assert sum(len(of_one_key) > 1 for of_one_key in bodies.values()) > 50


def test_abuse_has_bad_requests_of_every_kind_between_good_ones() -> None:
    found = list(requests("abuse", WORKLOADS["abuse"].fixture(COUNT), 1, COUNT))
    assert [bool(ask.bad) for ask in found] == [False, True] * (COUNT // 2)
    assert len({ask.bad.wrong for ask in found if ask.bad}) == 18


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_seed_always_gives_the_same_faults_in_order_and_within_the_load(scenario: str) -> None:
    plan = faults.plan(scenario, 7, 40)
    assert plan
    assert faults.plan(scenario, 7, 40) == plan
    assert faults.plan(scenario, 8, 40) != plan
    instants = [fault.at_seconds for fault in plan]
    assert instants == sorted(instants)
    assert instants[0] > 0
    assert instants[-1] < 40


def test_the_classic_kills_transacciones_three_times_and_keeps_it_down_as_long_as_told() -> None:
    plan = faults.plan("transacciones", 0, 40, 2.5)
    assert [(fault.kind, fault.victim, fault.seconds) for fault in plan] == [("kill", "transacciones", 2.5)] * 3


def test_a_storm_kills_a_service_every_second_and_the_broker_every_tenth() -> None:
    victims = Counter(fault.victim for fault in faults.plan("storm", 7, 1000))
    assert victims.pop("rabbitmq") == 100
    assert sum(victims.values()) == 1000
    assert set(victims) == set(faults.SERVICES)


def test_a_slower_storm_kills_as_much_in_its_own_time() -> None:
    slow, fast = faults.plan("storm", 7, 1000, every_seconds=2), faults.plan("storm", 7, 500)
    assert [(fault.victim, fault.at_seconds / 2) for fault in slow] == [(one.victim, one.at_seconds) for one in fast]
