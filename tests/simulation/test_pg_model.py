"""The rules of the PostgreSQL store, in small shops of which every state is looked at: `pg_model.py`, `pg_shops.py`.

`.venv/bin/pytest tests/simulation/test_pg_model.py -s` says how many states each has, and how each rule is missed.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
from pg_code import CODE, READ_EARLY, says
from pg_shops import WITHOUT, Faults, walked
from pg_world import CHOICES, FAULTS, RULES

ONE_FAULT: list[Faults] = [(fault,) for fault in FAULTS]
TWO_FAULTS: list[Faults] = list(combinations_with_replacement(FAULTS, 2))


def walks(faults: list[Faults], *shops: str) -> dict[tuple[str, Faults], None]:
    return {(shop, some): None for shop in shops for some in faults}


# With each of these faults at every place in every order of all steps.
QUICK = {
    **walks(ONE_FAULT, "one token", "no money", "birth", "one absent", "two absent", "selling", "doors"),
    **walks(TWO_FAULTS, "alone", "one post", "money"),
    **dict.fromkeys((absence.shop, absence.faults) for absence in WITHOUT.values()),
}
LONG = {
    **walks(TWO_FAULTS, "one token", "no money", "birth", "one absent", "two absent", "selling", "doors"),
    **walks(ONE_FAULT, "two tokens", "two posts", "sale"),
    **walks([()], "whole", "one of each"),
}
EACH = [*QUICK, *(pytest.param(*walk, marks=pytest.mark.long) for walk in LONG if walk not in QUICK)]
# What waited for the standby when the primary started again is seen, and may be lost: who must not act on it.
SEEN_EARLY = ("WAL record", "accept by writing", "voces wait", "asking waits", "rows forgotten", "readers wait")


@pytest.mark.parametrize(("shop", "faults"), EACH)
def test_the_promises_hold(shop: str, faults: Faults) -> None:
    found = walked(shop, faults)
    print(f"{shop}, {' and '.join(faults) or 'no fault'}: {found}")
    assert found.breach is None, str(found)


@pytest.mark.parametrize("rule", RULES)
def test_without_a_rule_there_is_a_breach(rule: str) -> None:
    """In a shop of the test above, and with its faults: it is the rule that is missed."""
    absence = WITHOUT[rule]
    found = walked(absence.shop, absence.faults, rule)
    print(f"without {rule}: {found}")
    assert found.breach is not None, "it is not missed"
    assert absence.breach in found.breach, str(found)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_in_the_code(rule: str) -> None:
    """A rule that only the model keeps proves nothing of the store."""
    assert CODE[rule] and [place for place in CODE[rule] if not says(*place)] == []


def test_the_code_is_looked_at_for_rules_of_the_model_only() -> None:
    assert list(CODE) == list(RULES)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("shop", ["one token", "birth", "two absent", "one post", "doors"])
def test_what_may_be_otherwise(choice: str, shop: str) -> None:
    for faults in (("cut",), ("crash",), ("again",)):
        found = walked(shop, faults, choice)
        assert found.breach is None, str(found)


@pytest.mark.parametrize(("rule", "shop"), [("ack last", "one token"), ("voces", "doors"), ("dicho last", "doors")])
def test_what_the_resender_makes_up_for_once_all_queues_are_empty(rule: str, shop: str) -> None:
    found = walked(shop, ("crash",), rule)
    assert found.breach is None, str(found)


@pytest.mark.parametrize("shop", ["one token", "birth", "money", "one post"])
def test_new_connections_that_wait_see_nothing_early(shop: str) -> None:
    """One WAL record before anything is read by a new connection, and six rules are for a cancelled COMMIT only."""
    for faults in (("restart", "failover"), ("restart", "early"), ("restart", "crash")):
        found = walked(shop, faults, *SEEN_EARLY, connections_wait=True)
        assert found.breach is None, str(found)


@pytest.mark.parametrize("rule", SEEN_EARLY)
def test_a_cancelled_commit_is_seen_early_by_connections_that_live(rule: str) -> None:
    shop = "one token" if rule == "rows forgotten" else "one post"
    after = "early" if rule == "asking waits" else "failover"
    assert walked(shop, ("cancel", after), rule, connections_wait=True).breach is not None


@pytest.mark.parametrize("shop", ["one token", "one post", "money"])
def test_who_reads_by_a_connection_that_lives_is_shown_a_cancelled_commit_and_nothing_worse(shop: str) -> None:
    """As the code is: docs/guarantees.md says so, too."""
    for faults in (("restart", "failover"), ("cut", "failover"), ("failover", "failover"), ("cancel", "early")):
        found = walked(shop, faults, READ_EARLY, connections_wait=True)
        assert found.breach is None, str(found)
    found = walked(shop, ("cancel", "failover"), READ_EARLY, connections_wait=True)
    assert found.breach is not None and "a reader was shown" in found.breach, str(found)
