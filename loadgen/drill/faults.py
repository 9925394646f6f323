"""What happens to a shop during a drill: plans made from a seed, and carrying them out on whatever can be harmed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal, Protocol

from broker.services import SERVICES
from loadgen.load.clock import CLOCK
from ops.i18n import Text

BROKER: Final = "rabbitmq"
POSTGRES: Final = "postgres"
STANDBY: Final = "postgres-standby"
ENGINES: Final = (BROKER, POSTGRES, STANDBY)
POLL_SECONDS: Final = 0.05
NETWORK: Final = "the network"
# In this order their books are lost: whoever believes an older one of the first would sell again.
BOOKS: Final = ("tokens", "usuarios", "transacciones", "compras")
# How long the standby is away, from when on those who wait for it are disconnected, and when the other one is killed:
# all of it in the time for which a request waits for its answer.
AWAY_SECONDS: Final = 8.0
DISCONNECTED_SECONDS: Final = 1.0
FAILOVER_SECONDS: Final = 4.0
FAILOVERS: Final = 2
# A long chain: how often a process of a service is killed, and how often PostgreSQL, each time with a standby that has
# stood still for so long.
LINK_SECONDS: Final = 1.5
CHAIN_FAILOVER_SECONDS: Final = 15.0
STILL_SECONDS: Final = 1.0
# How long transacciones is down around the wiping of the broker's disk.
WIPED_SECONDS: Final = 4.0

# "delete" is what kills in a cluster.
Kind = Literal["kill", "delete", "wipe", "freeze", "disconnect", "disk-full", "cut", "stall", "lost-disk", "old-backup"]


class FaultFailed(Exception):
    """A fault could not be made to happen. One sentence: why, and what to do."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens when (seconds after the first request) to whom, and for how long."""

    at_seconds: float
    kind: Kind
    victim: str
    seconds: float = 0.0

    def __str__(self) -> str:
        lasts = f" for {self.seconds:g} s" if self.seconds else ""
        return f"{self.at_seconds:.1f} s: {self.kind} {self.victim}{lasts}"


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault, when it began, and when it was over: who was killed is started again, what stood still goes on.

    Instants are those of `clock.py`. `trouble` if it did not happen.
    """

    fault: Fault
    began: float
    over: float
    trouble: str | None = None


class Target(Protocol):
    """A shop that can be harmed.

    kill, delete: SIGKILL, as soon as there is something to kill, on this machine: something that works; down for so
    long before it is started again.
    wipe: kill RabbitMQ, and delete its disk while it is down for so long.
    freeze: SIGSTOP, then SIGCONT: connections stay open and nothing answers.
    disconnect: whoever waits for the standby of PostgreSQL loses the connection, and what is committed can be seen.
    disk-full: no room for what this service writes: half a record, then an error.
    cut: end all connections between services and broker, and refuse new ones.
    stall: let no byte through between services and broker, and end nothing.
    lost-disk: this service's folder is deleted; old-backup: it is put back as it was a while ago. See `lost.py`.
    """

    async def do(self, fault: Fault, began: Callable[[float], None]) -> None:
        """Return when it is over. Raises FaultFailed. `began` is told when it begins (`clock.py`)."""


def _nothing_more(random: Random, load_seconds: float, down_seconds: float) -> list[Fault]:
    return []


@dataclass(frozen=True, slots=True)
class Scenario:
    """A plan of faults for a load of so many seconds. `down` is how long a killed process stays down."""

    says: str
    plan: Callable[[Random, float, float], list[Fault]]
    # Whether it can be done to pods.
    kube: bool = False
    # Whether the network between services and broker can be cut.
    proxied: bool = False
    # Whether books are lost, which is for a shop of the drill's own.
    loses: bool = False
    # What more happens to a shop with a database; and whether it is for no other, or for none of these.
    more: Callable[[Random, float, float], list[Fault]] = _nothing_more
    database: bool | None = None
    # Whether PostgreSQL has a standby: a shop of the drill's own.
    standby: bool = False


def plan(
    scenario: str,
    seed: int,
    load_seconds: float,
    down_seconds: float = 0.0,
    every_seconds: float = 1.0,
    *,
    database: bool = False,
) -> list[Fault]:
    """The faults of a scenario, in order. The same arguments give the same faults.

    `every_seconds` is how often a storm kills a service: two busy cores cannot start one a second for long.
    """
    found, random, seconds = SCENARIOS[scenario], Random(f"{scenario} {seed}"), load_seconds / every_seconds
    faults = found.plan(random, seconds, down_seconds) + (found.more(random, seconds, down_seconds) if database else [])
    faults = [replace(fault, at_seconds=fault.at_seconds * every_seconds) for fault in faults]
    return sorted(faults, key=lambda fault: fault.at_seconds)


def _spread(random: Random, load_seconds: float, count: int) -> list[float]:
    """So many instants, each somewhere in its own share of the load, none in its first or last twentieth."""
    share = 0.9 * load_seconds / max(1, count)
    return [0.05 * load_seconds + (number + random.uniform(0.2, 0.8)) * share for number in range(count)]


def _kills(victims: Sequence[str]) -> Callable[[Random, float, float], list[Fault]]:
    return lambda random, load_seconds, down_seconds: [
        Fault(at, "kill", victim, down_seconds)
        for at, victim in zip(_spread(random, load_seconds, len(victims)), victims, strict=True)
    ]


def _each(kind: Kind, victims: Sequence[str], seconds: float) -> Callable[[Random, float, float], list[Fault]]:
    return lambda random, load_seconds, _: [
        Fault(at, kind, victim, seconds)
        for at, victim in zip(_spread(random, load_seconds, len(victims)), victims, strict=True)
    ]


def _storm(random: Random, load_seconds: float, down_seconds: float) -> list[Fault]:
    """A service every second, and the broker every tenth on average, which takes that long to come back."""
    count = max(1, int(load_seconds))
    services = [
        Fault(second + random.random(), "kill", random.choice(SERVICES), down_seconds) for second in range(count)
    ]
    brokers = [Fault(at, "kill", BROKER, down_seconds) for at in _spread(random, load_seconds, count // 10)]
    return services + brokers


def _storm_on_databases(random: Random, load_seconds: float, down_seconds: float) -> list[Fault]:
    """The database as often as the broker."""
    count = max(1, int(load_seconds) // 10)
    return [Fault(at, "kill", POSTGRES, down_seconds) for at in _spread(random, load_seconds, count)]


def _failovers(random: Random, load_seconds: float, _: float) -> list[Fault]:
    """The standby is away, then those who wait for it lose their connections, then it has to take over."""
    faults: list[Fault] = []
    for at in _spread(random, load_seconds, FAILOVERS):
        faults += (
            Fault(at, "kill", STANDBY, AWAY_SECONDS),
            Fault(at + DISCONNECTED_SECONDS, "disconnect", POSTGRES),
            Fault(at + FAILOVER_SECONDS, "kill", POSTGRES),
        )
    return faults


def _chain(random: Random, load_seconds: float, down_seconds: float) -> list[Fault]:
    """One of the processes of each service, time and again, and PostgreSQL, whose standby has to catch up and lead."""
    links, failovers = (max(1, int(load_seconds / every)) for every in (LINK_SECONDS, CHAIN_FAILOVER_SECONDS))
    faults = [
        Fault(at, "kill", SERVICES[number % len(SERVICES)], down_seconds)
        for number, at in enumerate(_spread(random, load_seconds, links))
    ]
    for at in _spread(random, load_seconds, failovers):
        faults += Fault(at, "freeze", STANDBY, STILL_SECONDS), Fault(at + STILL_SECONDS, "kill", POSTGRES)
    return faults


def _wipe(random: Random, load_seconds: float, down_seconds: float) -> list[Fault]:
    """With transacciones down its messages wait in the broker, and the broker loses them."""
    (at,) = _spread(random, load_seconds, 1)
    down = max(down_seconds, WIPED_SECONDS)
    return [Fault(at - WIPED_SECONDS / 2, "kill", "transacciones", down), Fault(at, "wipe", BROKER, WIPED_SECONDS / 2)]


def _cuts(random: Random, load_seconds: float, _: float) -> list[Fault]:
    kinds: list[Kind] = ["cut", "stall", "cut", "stall"]
    return [
        Fault(at, kind, NETWORK, round(random.uniform(0.5, 3), 1))
        for at, kind in zip(_spread(random, load_seconds, len(kinds)), kinds, strict=True)
    ]


SCENARIOS: Final[dict[str, Scenario]] = {
    "transacciones": Scenario("transacciones is killed three times", _kills(["transacciones"] * 3), kube=True),
    "all": Scenario("each service is killed in turn, twice", _kills([*SERVICES, *SERVICES]), kube=True),
    "broker": Scenario("RabbitMQ is killed twice", _kills([BROKER] * 2), kube=True),
    "database": Scenario("PostgreSQL is killed twice", _kills([POSTGRES] * 2), database=True),
    "failover": Scenario(
        "PostgreSQL is killed twice while its standby is away, and that one takes over",
        _failovers,
        database=True,
        standby=True,
    ),
    "chain": Scenario(
        "one of several processes is killed all the while, and PostgreSQL, whose standby stood still and takes over",
        _chain,
        database=True,
        standby=True,
    ),
    "wipe": Scenario("RabbitMQ is killed and its disk deleted, with messages waiting", _wipe),
    "freeze": Scenario(
        "each service, and RabbitMQ, stands still for 3 s",
        _each("freeze", [*SERVICES, BROKER], 3),
        more=_each("freeze", [POSTGRES], 3),
    ),
    "storm": Scenario(
        "a random service is killed every second, RabbitMQ every tenth", _storm, kube=True, more=_storm_on_databases
    ),
    "disk-full": Scenario(
        "each service finds no room on its disk for 3 s", _each("disk-full", SERVICES, 3), database=False
    ),
    "cut": Scenario("the network to RabbitMQ is cut, and stalls", _cuts, proxied=True),
    "lost-disk": Scenario(
        "each service in turn loses its folder, and writes it again",
        _each("lost-disk", BOOKS, 0),
        loses=True,
        database=False,
    ),
    "old-backup": Scenario(
        "each service in turn gets an older copy of its folder, and writes it again",
        _each("old-backup", BOOKS, 0),
        loses=True,
        database=False,
    ),
}


async def carry_out(faults: Sequence[Fault], target: Target) -> list[Happened]:
    """Do all of it, one after the other. What could not be done is said in the result.

    Who is to be killed and is down already is killed when it is back, and then all that follows comes later by as
    much. Otherwise kills would pile up, and a RabbitMQ that starts more slowly than it is killed would never be back.
    """
    start, late, happened = CLOCK.now(), 0.0, []
    for fault in faults:
        await asyncio.sleep(start + fault.at_seconds + late - CLOCK.now())
        happened.append(await _one(fault, target))
        late = max(late, happened[-1].began - start - fault.at_seconds)
    return happened


async def _one(fault: Fault, target: Target) -> Happened:
    began: list[float] = []
    try:
        await target.do(fault, began.append)
    except FaultFailed as error:
        return Happened(fault, CLOCK.now(), CLOCK.now(), str(error))
    # Whoever is killed is down for so long; whoever kills does not wait for that.
    return Happened(fault, began[0], max(CLOCK.now(), began[0] + fault.seconds))


async def kill_when_there(
    kill: Callable[[], object],
    victim: str,
    not_there: type[Exception],
    patience_seconds: float,
    began: Callable[[float], None],
) -> None:
    """Call `kill`, which takes its time, again and again until it no longer raises `not_there`. Raises FaultFailed."""
    deadline = time.monotonic() + patience_seconds
    while True:
        now = CLOCK.now()
        try:
            await asyncio.to_thread(kill)
        except not_there as error:
            if time.monotonic() > deadline:
                says = "there was no {victim} to kill in {seconds:.0f} s: {error}"
                raise FaultFailed(Text(says, victim, patience_seconds, error)) from None
            await asyncio.sleep(POLL_SECONDS)
        else:
            began(now)
            return
