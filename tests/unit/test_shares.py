"""Fair shares, and whose an address is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.http.guard import Guard, client_of
from services.shared.http.shares import Shares, whose
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
        (["::ffff:10.0.0.7"], "::ffff:10.0.0.7"),
    ],
)
def test_a_proxy_says_for_whom_it_asks(told: list[str], client: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of them that is no proxy: what stands before it, the client may have written."""
    monkeypatch.setenv("ZOCO_PROXIES", "10.0.0.0/24, 2001:db8:9::/48")
    guard = Guard(read_settings(), Metrics("tokens"))
    assert guard.is_proxy("10.0.0.7") and guard.is_proxy("::ffff:10.0.0.7") and not guard.is_proxy("10.0.1.7")
    assert client_of([(b"x-forwarded-for", one.encode()) for one in told], guard) == client


def test_what_is_no_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOCO_PROXIES", "10.0.0.0/24, traefik")
    with pytest.raises(WrongSetting, match="ZOCO_PROXIES is wrong"):
        read_settings()
