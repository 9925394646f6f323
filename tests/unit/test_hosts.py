"""Which pages are the shop's own, by what a browser says in Origin and in Host (RFC 6454, sections 4 and 5)."""

from __future__ import annotations

import pytest

from services.shared.http.hosts import Hosts
from services.shared.http.problems import Problem

HOSTS = Hosts("compras", ("shop.example",))


def lets_in(host: str | None, origin: str) -> bool:
    headers = [(b"origin", origin.encode("latin-1"))]
    if host is not None:
        headers.append((b"host", host.encode("latin-1")))
    try:
        HOSTS.check("1.1" if host is not None else "1.0", "POST", headers)
    except Problem as problem:
        assert problem.status == 403
        return False
    return True


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", "http://localhost"),
        ("localhost", "https://localhost"),
        ("localhost:8000", "http://localhost:8000"),
        ("LOCALHOST:8000", "http://localhost:8000"),
        # The same port, said or not: nginx's $host:$server_port says it.
        ("10.0.0.5:80", "http://10.0.0.5"),
        ("10.0.0.5:443", "https://10.0.0.5"),
        ("[::1]:80", "http://[::1]"),
        ("localhost:80", "http://localhost"),
        ("localhost:", "http://localhost"),
        ("localhost", "http://localhost:80"),
        # By way of a proxy: with TLS, with a port of its own, under a name of its own.
        ("shop.example", "https://shop.example"),
        ("shop.example:80", "https://shop.example"),
        ("shop.example:8443", "https://shop.example:8443"),
        ("compras:8000", "https://shop.example"),
        ("compras", "http://shop.example"),
        (None, "https://shop.example"),
    ],
)
def test_a_page_of_the_same_place_is_the_shops_own(host: str | None, origin: str) -> None:
    assert lets_in(host, origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("shop.example", "http://shop.example:8081"),
        ("shop.example", "ftp://shop.example"),
        ("shop.example", "chrome-extension://shop.example"),
        ("shop.example:8443", "http://shop.example:8081"),
        ("compras:8000", "https://shop.example:8443"),
        ("localhost", "ftp://localhost"),
        ("localhost", "file://localhost"),
        ("localhost", "localhost"),
        ("localhost", "//localhost"),
        ("localhost", "http://localhost:81"),
        ("localhost:80", "https://localhost"),
        ("localhost:443", "http://localhost"),
        ("10.0.0.5:8000", "http://10.0.0.5"),
        ("10.0.0.5", "http://10.0.0.6"),
        ("localhost", "http://localhost/"),
        ("localhost", "http://evil@localhost"),
        ("localhost", "http://a.localhost"),
        ("localhost", "null"),
        ("localhost", "http://"),
        ("localhost", ""),
        (None, "http://"),
        (None, "http://localhost"),
    ],
)
def test_any_other_is_not(host: str | None, origin: str) -> None:
    assert not lets_in(host, origin)
