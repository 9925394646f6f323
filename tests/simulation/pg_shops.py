"""The small shops that the model walks through, and what each rule's absence does in one of them. To see how:

.venv/bin/python tests/simulation/pg_shops.py "row lock"
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from typing import Final, NamedTuple

from pg_business import published, purchase, registered
from pg_model import Model
from pg_walk import Walked, walk
from pg_world import RULES, Setup

# a and b ask for the first token, c and d for the second; d is bought by a's buyer. One key has two bodies.
A, B, C, D = purchase("a", 1, 1), purchase("b", 2, 1), purchase("c", 2, 2), purchase("d", 1, 2)
OTHER_BODY = purchase("a", 1, 2)
TOKENS = (published(1), published(2))
BUYERS = (registered(1, 10), registered(2, 10))

# Two purchases for one token. Both can be paid; or the first to hold it has no money, and the second gets it.
ONE_TOKEN: Final = Setup(
    processes={"tokens": 2}, decided={"compras": (A, B), "usuarios": BUYERS, "tokens": TOKENS[:1]}, said=(A, B)
)
NO_MONEY: Final = replace(ONE_TOKEN, decided={**ONE_TOKEN.decided, "usuarios": (registered(1, 0), registered(2, 10))})
# One purchase, and the queues are never empty: the resender never asks.
ALONE: Final = replace(ONE_TOKEN, decided={**ONE_TOKEN.decided, "compras": (A,)}, said=(A,), busy=True)
# The token is published while somebody asks for it.
BIRTH: Final = replace(ONE_TOKEN, decided={"compras": (A, TOKENS[0]), "usuarios": BUYERS}, said=(A, TOKENS[0]))
# Two purchases for two tokens, two at a time. Both tokens are there, or one, or none.
TWO_TOKENS: Final = Setup(
    processes={"tokens": 2},
    decided={"compras": (A, C), "usuarios": BUYERS, "tokens": TOKENS},
    said=(A, C),
    batch=2,
)
ONE_ABSENT: Final = replace(TWO_TOKENS, decided={**TWO_TOKENS.decided, "tokens": TOKENS[:1]})
TWO_ABSENT: Final = replace(TWO_TOKENS, decided={**TWO_TOKENS.decided, "tokens": ()})
# One buyer with the money for one of two tokens.
MONEY: Final = Setup(
    processes={"usuarios": 2},
    decided={"compras": (A, D), "usuarios": BUYERS[:1], "tokens": TOKENS},
    said=(A, D),
)
# Two consumers of each of the two services that decide about a purchase, and two purchases for one token.
SELLING: Final = replace(ONE_TOKEN, processes={"tokens": 2, "usuarios": 2})
# Two front doors: one key with two bodies; one purchase, and the resender never asks; two purchases. There is no such
# token, so that what comes of a purchase is heard once.
DOORS: Final = Setup(processes={"compras": 2}, posts=(A, OTHER_BODY))
ONE_POST: Final = replace(DOORS, posts=(A,), busy=True)
TWO_POSTS: Final = replace(DOORS, posts=(A, B))
# A purchase that is sold: two front doors hear four messages about it.
SALE: Final = Setup(processes={"compras": 2}, decided={"usuarios": BUYERS, "tokens": TOKENS[:1]}, posts=(A,))

# All of it: a purchase through two of each that decides; two purchases through one of each.
WHOLE: Final = Setup(
    processes={"compras": 2, "tokens": 2, "usuarios": 2},
    decided={"usuarios": BUYERS, "tokens": TOKENS[:1]},
    posts=(A,),
)
ONE_OF_EACH: Final = replace(WHOLE, processes={"compras": 1, "tokens": 1, "usuarios": 1}, posts=(A, B))

SHOPS: Final = {
    "one token": ONE_TOKEN,
    "no money": NO_MONEY,
    "alone": ALONE,
    "birth": BIRTH,
    "two tokens": TWO_TOKENS,
    "one absent": ONE_ABSENT,
    "two absent": TWO_ABSENT,
    "money": MONEY,
    "selling": SELLING,
    "doors": DOORS,
    "one post": ONE_POST,
    "two posts": TWO_POSTS,
    "sale": SALE,
    "whole": WHOLE,
    "one of each": ONE_OF_EACH,
}


Faults = tuple[str, ...]


class Absence(NamedTuple):
    """In which shop, and with which faults, a rule is missed, and what is said then."""

    shop: str
    faults: Faults
    breach: str


WITHOUT: Final = {
    "row lock": Absence("one token", (), "is not what comes of the records before it"),
    "rows in order": Absence("two tokens", ("again",), "deadlock"),
    "absent rows in order": Absence("two absent", ("again",), "deadlock"),
    "do nothing": Absence("two absent", ("again", "again"), "deadlock"),
    "count": Absence("doors", (), "compras has decided twice"),
    "empty row": Absence("birth", (), "is not what comes of the records before it"),
    "recuerdo": Absence("one token", ("again",), "tokens has decided twice"),
    "silence": Absence("one token", ("again",), "for ever"),
    "second statement": Absence("one token", ("again",), "tokens has decided twice"),
    "advisory lock": Absence("two tokens", (), "a reader that tails them skips one"),
    "held to the commit": Absence("two tokens", (), "or sees one twice"),
    "base under the lock": Absence("two tokens", (), "or sees one twice"),
    "one place for it": Absence("one absent", ("again",), "deadlock"),
    "WAL record": Absence("one token", ("restart",), "is said, and no book has it"),
    "synchronous": Absence("one token", (), "is said, and no book has it"),
    "no timeout": Absence("one token", ("cancel",), "is said, and no book has it"),
    "unknown is done again": Absence("one token", ("failover",), "is said, and no book has it"),
    "commit first": Absence("one token", ("failover",), "becomes a dead letter"),
    "ack last": Absence("alone", ("crash",), "a never comes to an end"),
    "accept by writing": Absence("doors", ("restart",), "which is lost if the primary dies now"),
    "voces": Absence("one post", ("crash",), "a never comes to an end"),
    "voces wait": Absence("one post", ("restart",), "is said, and no book has it"),
    "dicho last": Absence("one post", ("crash",), "a never comes to an end"),
    "writing lock": Absence("one post", ("crash",), "a never comes to an end"),
    "asking waits": Absence("doors", ("restart", "early"), "is said, and no book has it"),
    "resender": Absence("one token", ("crash",), "b never comes to an end"),
    "rows forgotten": Absence("one token", ("restart", "failover"), "is not what comes of the records before it"),
    "readers wait": Absence("one token", ("restart", "failover"), "and now there is none"),
}


def walked(shop: str, faults: Faults, *without: str, connections_wait: bool = False) -> Walked:
    setup = replace(SHOPS[shop], faults=Counter(faults), without=frozenset(without), connections_wait=connections_wait)
    return walk(Model(setup))


if __name__ == "__main__":
    for rule in sys.argv[1:] or WITHOUT:
        absence = WITHOUT[rule]
        print(f"without {rule}: {RULES[rule]}\n{walked(absence.shop, absence.faults, rule)}\n")
