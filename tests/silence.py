"""What a socket is asked for so that its kernel tells who waits for a machine that is there no more."""

from __future__ import annotations

import socket
import sys
from typing import Any

SECONDS = 15


def tells_of_silence(line: Any) -> None:
    """Fails unless whoever waits at this socket is told after 15 s at most."""
    assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    probes = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
    between = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
    idle = getattr(socket, "TCP_KEEPIDLE", None) or socket.TCP_KEEPALIVE
    assert line.getsockopt(socket.IPPROTO_TCP, idle) + probes * between <= SECONDS
    if sys.platform == "linux":
        # What was sent and never arrived at all, too.
        assert 0 < line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= SECONDS * 1000
