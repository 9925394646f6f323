"""For whom a request is: under the shop's own names only, so that a page whose name leads here is let in by nobody
(DNS rebinding); and what is written comes from no page of others (RFC 6454)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from services.shared.http.problems import Problem
from services.shared.http.shares import address_of

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# A name is no longer (RFC 1035).
LONGEST: Final = 300
# As RFC 3986 has it: behind the colon there may be no port.
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|(?:[a-z0-9!$&'()*+,;=._~-]|%[0-9a-f]{2})*)(?::([0-9]*))?")
HIGHEST_PORT: Final = 65_535
PORTS: Final = {"http": 80, "https": 443}
# So many that were looked at are remembered.
REMEMBERED: Final = 1_000


class Hosts:
    """The names of one service."""

    def __init__(self, service: str, public: Sequence[str]) -> None:
        self._service = service
        self._public = frozenset(public)
        self._refused: dict[bytes, int | None] = {}

    def check(self, version: str, method: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Raises Problem (400, 403, 421)."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 and not (version == "1.0" and not hosts):
            raise Problem(400, f"there are {len(hosts)} Host headers: a request has one (RFC 9112, section 3.2)")
        refused = self._status(hosts[0]) if hosts else None
        if refused == 400:
            raise Problem(400, "in Host stands a name or an address, and perhaps a port (RFC 9112, section 3.2)")
        if refused:
            raise Problem(
                421, "this shop is not reached under that name: whoever runs it names others in ZOCO_PUBLIC_HOSTS"
            )
        if method not in READING:
            here = hosts[0].decode("latin-1") if hosts else ""
            for name, origin in headers:
                if name == b"origin" and not self.is_own(origin.decode("latin-1"), here):
                    raise Problem(
                        403,
                        "another site's page sent this (Origin): pages of this shop may. A proxy passes on the Host "
                        "that it was asked for, with its port",
                    )

    def is_own(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is of the shop that was asked for under this Host. Without a port that is the
        scheme's: a proxy may speak TLS before us."""
        scheme, _, told = origin.lower().partition("://")
        page, here = place_of(told), place_of(host)
        if scheme not in PORTS or page is None or not page[0] or here is None:
            return False
        port = PORTS[scheme]
        asked_at = here[1] or port
        if (page[0], page[1] or port) == (here[0], asked_at):
            return True
        # A proxy may have its own name for this shop; pages are of the public one.
        return page[0] in self._public and (page[1] or port) in (port, asked_at)

    def _status(self, host: bytes) -> int | None:
        """400, 421, or None for one that is ours."""
        if len(host) > LONGEST:
            return 400
        if host not in self._refused:
            if len(self._refused) >= REMEMBERED:
                self._refused.clear()
            place = place_of(host.decode("latin-1"))
            self._refused[host] = 400 if place is None else None if self._is_ours(place[0]) else 421
        return self._refused[host]

    def _is_ours(self, name: str) -> bool:
        if name in self._public or name == "localhost" or name.endswith(".localhost"):
            return True
        # A name cannot be an address, so nobody can lead one here.
        if "%" not in name and address_of(name.strip("[]")) is not None:
            return True
        # A Service's names in a cluster; no such one can be had outside.
        service, _, rest = name.partition(".")
        return service == self._service and (
            not rest or re.fullmatch(r"[a-z0-9-]+\.svc(\.cluster\.local)?", rest) is not None
        )


def place_of(host: str) -> tuple[str, int | None] | None:
    """The name, in small letters and without a dot at its end, and the port. None: this is no host."""
    found = _HOST.fullmatch(host.lower()) if len(host) <= LONGEST else None
    if found is None:
        return None
    name, port = found[1], int(found[2]) if found[2] else None
    if name.startswith(".") or ".." in name or (port is not None and port > HIGHEST_PORT):
        return None
    if name.startswith("[") and (":" not in name or address_of(name[1:-1]) is None):
        return None
    return name.removesuffix("."), port
