"""Which processes a shop has on this machine, what they are called, and where they listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.services import SERVICES, Service
from ops.process import free_port, listen_once
from ops.running import LocalError

# The front door first: the others are seldom called by hand.
PORTS: Final[dict[Service, int]] = {"compras": 0, "usuarios": 1, "tokens": 2, "transacciones": 3}
# From one process of a service to its next: tokens-1 on 8002, tokens-2 on 8012.
STEP: Final = 10
MOST: Final = 9
LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Place:
    """A process of a service: its name is the service's, or that with a number where there are several."""

    label: str
    service: Service
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def read_replicas(text: str) -> dict[Service, int]:
    """`tokens=3,usuarios=2`: how many processes; of a service that is not named there is one. Raises LocalError."""
    found: dict[Service, int] = {}
    for word in filter(None, text.split(",")):
        name, _, number = word.strip().partition("=")
        service = next((one for one in SERVICES if one == name), None)
        if service is None:
            known = ", ".join(SERVICES)
            raise LocalError(
                "--replicas: there is no {name}: write tokens=3,usuarios=2; known are {known}", name, known
            )
        if not (number.isascii() and number.isdigit() and 1 <= int(number[:3]) <= MOST):
            raise LocalError("--replicas: of {name} there can be 1 to {most}, as in tokens=3", name, MOST)
        found[service] = int(number)
    return found


def places(first_port: int, replicas: Mapping[Service, int]) -> list[Place]:
    """Raises LocalError when nobody can listen there, or somebody else does: never move quietly, 8000 is written in too
    many places."""
    highest = LAST_PORT - max(offset + STEP * (replicas.get(service, 1) - 1) for service, offset in PORTS.items())
    if first_port > highest:
        says = "--port {port} is too high: the last of its ports would be above {last}. At most {highest} (0: any)"
        raise LocalError(says, first_port, LAST_PORT, highest)
    found = []
    for service, offset in PORTS.items():
        many = replicas.get(service, 1)
        for number in range(many):
            label = f"{service}-{number + 1}" if many > 1 else service
            port = first_port + offset + STEP * number if first_port else free_port()
            if first_port:
                _check(port, label)
            found.append(Place(label, service, port))
    return found


def _check(port: int, label: str) -> None:
    try:
        listen_once(port)
    except PermissionError:
        says = "port {port} ({name}) is for root only: choose others with --port (0: any)"
        raise LocalError(says, port, label) from None
    except OSError:
        says = "port {port} ({name}) is taken: stop what listens there, or choose others with --port (0: any)"
        raise LocalError(says, port, label) from None


def by_service(there: Sequence[Place]) -> dict[Service, list[str]]:
    """Where each service answers."""
    return {service: [place.url for place in there if place.service == service] for service in PORTS}
