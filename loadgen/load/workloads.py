"""What buyers ask for: five mixes, each the same for the same seed. Nothing here knows of HTTP or of clocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Final

PRECIO: Final = 10
# Ids that nobody registers: above all that `zoco load` prepares.
NOBODY: Final = 10**12
# Among so many tokens that were asked for last, some are asked for again: that is where buyers meet.
RECENT: Final = 20


@dataclass(frozen=True, slots=True)
class Bad:
    """A request that must be refused: what is wrong with it, and what is sent."""

    wrong: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BuyRequest:
    """One request to buy, or a bad one. The same key is the same purchase."""

    key: str
    usuario: int
    token: int
    precio_maximo: int | None = None
    bad: Bad | None = None


@dataclass(frozen=True, slots=True)
class Fixture:
    """What must be there before: buyers with so much money, tokens at such a price."""

    buyers: range
    tokens: range
    saldo: int
    precio: int = PRECIO

    @classmethod
    def of(cls, buyers: int, tokens: int, saldo: int) -> Fixture:
        return cls(range(1, buyers + 1), range(1, tokens + 1), saldo)

    def behind(self, user: int, token: int) -> Fixture:
        """The same with ids above these."""
        buyers = range(self.buyers.start + user, self.buyers.stop + user)
        return replace(self, buyers=buyers, tokens=range(self.tokens.start + token, self.tokens.stop + token))


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of load: what it needs for so many requests, and the requests."""

    says: str
    fixture: Callable[[int], Fixture]
    requests: Callable[[Fixture, Random], Iterator[BuyRequest]]
    # Whether there is something to sell until the last request: by the next sale one sees that the shop is back.
    sells: bool = True


def requests(mix: str, fixture: Fixture, seed: int, count: int | None = None) -> Iterator[BuyRequest]:
    """The requests of a mix, so many, or without end. The same arguments give the same requests."""
    return islice(WORKLOADS[mix].requests(fixture, Random(f"{mix} {seed}")), count)


def _key(random: Random) -> str:
    return f"{random.getrandbits(96):024x}"


def _normal(fixture: Fixture, random: Random) -> Iterator[BuyRequest]:
    """Most ask for a token that nobody wanted before; some want what others want, pay less, or are nobody."""
    fresh = iter(fixture.tokens)
    recent: list[int] = []
    while True:
        token = next(fresh, None) if random.random() < 0.7 or not recent else random.choice(recent)
        token = random.choice(fixture.tokens) if token is None else token
        recent = [*recent[-RECENT + 1 :], token]
        usuario = random.choice(fixture.buyers) if random.random() < 0.99 else NOBODY + random.randrange(1000)
        yield BuyRequest(_key(random), usuario, token, fixture.precio - 1 if random.random() < 0.02 else None)


def _flood(fixture: Fixture, random: Random) -> Iterator[BuyRequest]:
    """Everybody wants the same."""
    while True:
        for usuario in random.sample(fixture.buyers, len(fixture.buyers)):
            yield BuyRequest(_key(random), usuario, random.choice(fixture.tokens))


def _broke(fixture: Fixture, random: Random) -> Iterator[BuyRequest]:
    """Each buyer asks for far more than they can pay; who waits behind one gets the token."""
    while True:
        for token in fixture.tokens:
            for usuario in random.choices(fixture.buyers, k=2):
                yield BuyRequest(_key(random), usuario, token)


def _retry(fixture: Fixture, random: Random) -> Iterator[BuyRequest]:
    """Keys are sent again, at once or later, and sometimes with another body."""
    sent: list[BuyRequest] = []
    for ask in _normal(fixture, random):
        sent = [*sent[-RECENT + 1 :], ask]
        yield ask
        for _ in range(random.choice((0, 0, 1, 1, 2, 5))):
            again = random.choice(sent)
            if random.random() < 0.2:
                again = replace(again, token=random.choice(fixture.tokens), precio_maximo=random.choice((None, 1)))
            yield again


def _abuse(fixture: Fixture, random: Random) -> Iterator[BuyRequest]:
    """Every other request is one that must be refused; the good ones between them must not suffer."""
    for ask in _normal(fixture, random):
        yield ask
        yield replace(ask, key=_key(random), bad=_bad(random))


def _bad(random: Random) -> Bad:
    good = {"usuarioId": 1, "tokenId": 1}
    wrong_fields = {
        "a missing field": {"usuarioId": 1},
        "a field too many": {**good, "precio": 0},
        "an id of zero": {**good, "usuarioId": 0},
        "an id below zero": {**good, "tokenId": -random.randrange(1, 10**6)},
        "an id that is text": {**good, "tokenId": "101"},
        "an id that is a fraction": {**good, "usuarioId": random.random()},
        "an id that is true": {**good, "usuarioId": True},
        "an id that no machine holds": {**good, "tokenId": 10 ** random.randrange(20, 60)},
        "no id": {**good, "usuarioId": None},
        "a price below zero": {**good, "precioMaximo": -1},
    }
    json_type = {"Content-Type": "application/json"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    others = [
        Bad("nothing", b"", json_type),
        Bad("half of it", json.dumps(good).encode()[: random.randrange(1, 20)], json_type),
        Bad("no JSON", random.randbytes(random.randrange(1, 200)), json_type),
        Bad("a list", json.dumps([good]).encode(), json_type),
        Bad("a deep nest", b"[" * 5000, json_type),
        Bad("a form", b"usuarioId=1&tokenId=1", form),
        Bad("a body too long", json.dumps({**good, "precio": "9" * 20_000}).encode(), json_type),
        Bad("a key too long", json.dumps(good).encode(), {**json_type, "Idempotency-Key": "k" * 300}),
    ]
    bodies = [Bad(wrong, json.dumps(body).encode(), json_type) for wrong, body in wrong_fields.items()]
    return random.choice([*bodies, *others])


WORKLOADS: Final[dict[str, Workload]] = {
    "normal": Workload(
        "most buy, some want what others want",
        lambda count: Fixture.of(100, max(1, count * 7 // 10), PRECIO * count),
        _normal,
    ),
    "flood": Workload(
        "thousands of buyers on one token", lambda count: Fixture.of(min(count, 10_000), 1, PRECIO), _flood, sells=False
    ),
    "broke": Workload(
        "buyers who cannot pay all that they ask for",
        lambda count: Fixture.of(max(1, count // 10), max(1, count // 2), 2 * PRECIO),
        _broke,
        sells=False,
    ),
    "retry": Workload(
        "keys sent again, and with changed bodies",
        lambda count: Fixture.of(100, max(1, count // 3), PRECIO * count),
        _retry,
    ),
    "abuse": Workload(
        "bad input among the good",
        lambda count: Fixture.of(100, max(1, count * 35 // 100), PRECIO * count),
        _abuse,
    ),
}
