"""A host and its port, as they stand in a URL that may name several: of RabbitMQ, or of PostgreSQL."""

from __future__ import annotations

from typing import Final

PORT: Final = "a port is a number from 1 to 65535"


def host_and_port(text: str, default_port: int) -> tuple[str, int]:
    """An IPv6 address without its brackets. Raises ValueError, which shows no part of it: where a URL is wrong the
    password may be anywhere."""
    host, colon, number = text.rpartition(":")
    if not colon or number.endswith("]"):
        host, number = text, str(default_port)
    if host.startswith("[") and host.endswith("]") and ":" in host:
        host = host[1:-1]
    elif not host or any(sign in host for sign in "[]:@ "):
        raise ValueError("it names no host")
    if not (number.isascii() and number.isdigit() and len(number) <= 5 and 0 < int(number) < 65536):
        raise ValueError(PORT)
    return host, int(number)
