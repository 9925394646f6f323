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
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
# So many that were looked at are remembered.
REMEMBERED: Final = 1_000


class Hosts:
    """The names of one service."""

    def __init__(self, service: str, public: Sequence[str]) -> None:
        self._service = service
        self._public = {name.lower() for name in public}
        self._known: dict[bytes, bool] = {}

    def check(self, version: str, method: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Raises Problem (400, 403, 421)."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 and not (version == "1.0" and not hosts):
            raise Problem(400, f"there are {len(hosts)} Host headers: a request has one (RFC 9112, section 3.2)")
        if hosts and not self._is_known(hosts[0]):
            raise Problem(
                421, "this shop is not reached under that name: whoever runs it names others in ZOCO_PUBLIC_HOSTS"
            )
        if method not in READING:
            for name, origin in headers:
                if name == b"origin" and not self._is_own(origin, hosts):
                    raise Problem(403, "another site's page sent this (Origin): pages of this shop may")

    def _is_known(self, host: bytes) -> bool:
        known = self._known.get(host) if len(host) <= LONGEST else False
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[host] = self._is_ours(host.decode("latin-1").lower())
        return known

    def _is_ours(self, host: str) -> bool:
        if (found := _HOST.fullmatch(host)) is None:
            return False
        name = found[1].removesuffix(".")
        if name in self._public or name == "localhost" or name.endswith(".localhost"):
            return True
        # A name cannot be an address, so nobody can lead one here.
        if address_of(name.strip("[]")) is not None:
            return True
        # A Service's names in a cluster; no such one can be had outside.
        service, _, rest = name.partition(".")
        return service == self._service and (
            not rest or re.fullmatch(r"[a-z0-9-]+\.svc(\.cluster\.local)?", rest) is not None
        )

    def _is_own(self, origin: bytes, hosts: Sequence[bytes]) -> bool:
        place = origin.decode("latin-1").lower().partition("://")[2]
        if hosts and place == hosts[0].decode("latin-1").lower():
            return True
        # A proxy may have its own name for this shop; pages are of the public one.
        found = _HOST.fullmatch(place)
        return found is not None and found[1] in self._public
