"""A machine that lost its power says so to nobody. Whoever waits for its answer is told by the kernel, after 15 s."""

from __future__ import annotations

import socket
from typing import Any, Final

# Each where it is known: macOS has another name for the first, and none for the last.
KEEPALIVE: Final = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPALIVE": 5,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 2,
    # Milliseconds, also for what was sent and never arrived.
    "TCP_USER_TIMEOUT": 15_000,
}


def keep_alive(line: Any) -> None:
    """Of a socket, or what an event loop has in its place."""
    if line.family != socket.AF_UNIX:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if (option := getattr(socket, name, None)) is not None:
                line.setsockopt(socket.IPPROTO_TCP, option, value)
