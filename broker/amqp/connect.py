"""A connection to the broker by its URL, which may name several hosts; and that URL, read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import aio_pika
from aiormq.connection import DEFAULT_PORTS
from yarl import URL

from broker.amqp.tap import FrameTap
from broker.hosts import host_and_port

# With aio-pika's own, a broker that stands still is noticed after three minutes.
HEARTBEAT_SECONDS: Final = 10
LIKE: Final = "write amqp://user:password@host:5672/, with what is special in user or password as %XX"


@dataclass(frozen=True, slots=True)
class Address:
    """`amqp://user:password@host:5672,other:5672/vhost`, as RabbitMQ's clients write several hosts."""

    # With the first host.
    url: URL
    hosts: tuple[tuple[str, int], ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError with what is wrong. No part of it is shown: where it is wrong the password may be
        anywhere."""
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in DEFAULT_PORTS:
            raise ValueError(f"it begins with neither amqp:// nor amqps://: {LIKE}")
        end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
        user, at_sign, named = rest[:end].rpartition("@")
        hosts = tuple(_host(one, DEFAULT_PORTS[scheme]) for one in named.split(","))
        host, port = hosts[0]
        host = f"[{host}]" if ":" in host else host
        try:
            url = URL(f"{scheme}://{user}{at_sign}{host}:{port}{rest[end:]}")
            # What aio-pika and aiormq read of it themselves.
            float(url.query.get("happy_eyeballs_delay", 0))
        except ValueError:
            raise ValueError(f"it is no URL: {LIKE}") from None
        return cls(url, hosts)

    def after(self, failures: int) -> tuple[tuple[str, int], ...]:
        """The hosts in the order in which to try them: whoever took the connection and then did not answer is the
        last one the next time."""
        first = failures % len(self.hosts)
        return self.hosts[first:] + self.hosts[:first]


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        return host_and_port(text.strip(), port)
    except ValueError as error:
        raise ValueError(f"{error}: {LIKE}") from None


async def connect(
    address: Address,
    name: str,
    *,
    line: FrameTap | None = None,
    seconds: float = 10,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> aio_pika.Connection:
    """`name` is what the broker shows of it. `line`: a tap that is to sit on it. Raises `calls.UNKNOWN`, ValueError."""
    asked = address.url.update_query({"heartbeat": heartbeat_seconds})
    connection = aio_pika.Connection(asked, client_properties={"connection_name": name})
    connection.kwargs["transport_factory"] = line or FrameTap(hosts=address.hosts)
    await connection.connect(timeout=seconds)
    return connection
