"""What strangers send, and what they leave unsent: bytes over real sockets, to a service with 1,024 descriptors."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from patience import END_SECONDS, PATIENCE_SECONDS, wait_until
from shop_builders import answers

from ops.child import GUARDED, SERVER_OPTIONS
from ops.process import free_port

DESCRIPTORS = 1024
MIB = 1024 * 1024
HOST = b"Host: localhost\r\n"
LAST = b"Connection: close\r\n"
ALIVE = b"GET /livez HTTP/1.1\r\n" + HOST + LAST + b"\r\n"
# Somebody else's address, that shares are counted by.
STRANGER = "127.0.0.2"
# One for which others ask.
PROXY = "127.0.0.9"
SECONDS = 2
SETTINGS = {f"ZOCO_{name}_SECONDS": str(SECONDS) for name in ("HEAD", "BODY", "UNREAD")}


@dataclass(frozen=True)
class Served:
    """A service, and its process."""

    port: int
    log: Path
    process: psutil.Process

    def connect(self, address: str = "127.0.0.1", receives: int | None = None) -> socket.socket:
        found = socket.socket()
        if receives is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        found.bind((address, 0))
        found.connect(("127.0.0.1", self.port))
        found.settimeout(PATIENCE_SECONDS)
        return found

    def says(self, *parts: bytes, address: str = "127.0.0.1") -> bytes:
        """All that is answered until it closes the connection. The parts are sent one after the other."""
        with self.connect(address) as stream:
            for part in parts:
                # Whoever is refused may not be heard to the end.
                with contextlib.suppress(ConnectionError):
                    stream.sendall(part)
                if part is not parts[-1]:
                    self.alive()
            return all_of(stream)

    def alive(self) -> None:
        with self.connect() as stream:
            stream.sendall(ALIVE)
            assert all_of(stream).startswith(b"HTTP/1.1 200")

    @property
    def memory(self) -> int:
        return int(self.process.memory_info().rss)

    @property
    def most_memory(self) -> int:
        """Since it was asked to count from here."""
        said = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", said)[0]) * 1024

    @property
    def kernel_memory(self) -> int:
        """What has not been sent, or was not taken, of all connections."""
        said = subprocess.run(["ss", "-Htmn", f"sport = :{self.port}"], capture_output=True, text=True, check=True)
        return sum(map(int, re.findall(r"skmem:\(.*?,w(\d+),", said.stdout)))

    def count_from_here(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def refused(self, reason: str) -> float:
        said = self.says(b"GET /metrics HTTP/1.1\r\n" + HOST + LAST + b"\r\n").decode()
        found = re.findall(rf'zoco_http_refused_total\{{reason="{reason}"\}} (\S+)', said)
        return float(found[0]) if found else 0.0


def all_of(stream: socket.socket) -> bytes:
    """What comes until the end, or until the other side breaks it off."""
    found = []
    with contextlib.suppress(ConnectionError):
        while some := stream.recv(65536):
            found.append(some)
    return b"".join(found)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("guarded")
    port, log = free_port(), folder / "log"
    env = {name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")}
    env |= {"ZOCO_DATA": str(folder / "data"), "ZOCO_PROXIES": PROXY, **SETTINGS}
    # More than there are descriptors for.
    env["ZOCO_CONNECTIONS"] = "1000000"
    words = (sys.executable, "-m", "uvicorn", "services.tokens.main:app", "--port", str(port))

    with log.open("wb") as output:
        # Half of what it may have, until it asks for it.
        limited = ("prlimit", f"--nofile={DESCRIPTORS // 2}:{DESCRIPTORS}")
        process = subprocess.Popen([*limited, *words, *SERVER_OPTIONS, *GUARDED], env=env, stdout=output, stderr=output)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/livez"), log.read_text)
        wait_until(lambda: "this process writes" in log.read_text(), log.read_text)
        yield Served(port, log, psutil.Process(process.pid))
        # Nothing that anybody did is in the log, and it lives.
        assert process.poll() is None
        assert len(log.read_text().splitlines()) == 2, log.read_text()
    finally:
        process.terminate()
        process.wait(END_SECONDS)


def post(*headers: bytes) -> bytes:
    return b"POST /nada HTTP/1.1\r\n" + HOST + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


CHUNKED = post(b"Transfer-Encoding: chunked")
GET = b"GET /livez HTTP/1.1\r\n" + HOST


@pytest.mark.parametrize(
    ("begins", "again", "times", "ends", "status", "reason"),
    [
        (GET, b"X: a\r\n", 32 * MIB // 6, b"\r\n", 431, "long"),
        (GET + b"X: ", b"a", 48 * MIB, b"\r\n\r\n", 431, "long"),
        (GET, b"X", 48 * MIB, b": a\r\n\r\n", 431, "long"),
        (GET, b"X: a\r\n", 2_800, b"\r\n", 431, "malformed"),
        (b"GET /", b"a", 32 * MIB, b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "long"),
        (b"GET /livez?", b"a", 16 * 1024, b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "malformed"),
        (b"", b"\r\n", 16 * MIB, b"", 414, "long"),
        (CHUNKED + b"1\r\na\r\n0\r\n", b"T: bbbbbb\r\n", 24 * MIB // 11, b"\r\n", 400, "long"),
        (CHUNKED + b"1\r\na\r\n0\r\nT: ", b"b", 24 * MIB, b"\r\n\r\n", 400, "long"),
        (CHUNKED + b"1;", b"e", 24 * MIB, b"\r\na\r\n0\r\n\r\n", 400, "long"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", 0, b"", 400, "malformed"),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", b"", 0, b"", 400, "malformed"),
        (post(b"Content-Length: 1", b"Transfer-Encoding: chunked"), b"", 0, b"", 400, "malformed"),
        (b"CONNECT localhost:1 HTTP/1.1\r\n" + HOST + b"\r\n", b"", 0, b"", 501, "malformed"),
    ],
)
def test_what_is_too_long_or_no_http_is_refused_in_little_memory(
    served: Served, begins: bytes, again: bytes, times: int, ends: bytes, status: int, reason: str
) -> None:
    before, counted = served.memory, served.refused(reason)
    served.count_from_here()
    said = served.says(begins + again * times + ends)
    assert served.most_memory - before < 10 * MIB
    # An answer to what was whole may have gone before.
    head, _, body = said[said.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), said[:500]
    assert b"application/problem+json" in head and b"connection: close" in head and b"nosniff" in head
    assert b"\r\ndate: " in head
    assert b'"status":%d' % status in body and (status != 414 or b'"title":"URI Too Long"' in body)
    assert served.refused(reason) == counted + 1


@pytest.mark.parametrize("trailer", [b"Host: localhost", b"Origin: http://evil.example", b"X-Forwarded-For: 6.6.6.6"])
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "two"])
def test_a_trailer_is_no_header(served: Served, trailer: bytes, together: bool) -> None:
    parts = [CHUNKED + b"1\r\na\r\n", b"0\r\n" + trailer + b"\r\n\r\n" + ALIVE]
    said = served.says(*([b"".join(parts)] if together else parts))
    assert said.startswith(b"HTTP/1.1 404") and b"HTTP/1.1 200" in said, said


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"chunked, chunked", b"gzip", b"identity"])
def test_a_body_that_was_coded_otherwise_is_not_taken_as_it_is(served: Served, coding: bytes) -> None:
    said = served.says(post(b"Transfer-Encoding: " + coding) + b"1\r\na\r\n0\r\n\r\n" + ALIVE)
    assert said.startswith((b"HTTP/1.1 501", b"HTTP/1.1 400")) and b"HTTP/1.1 200" not in said, said


def test_chunks_that_http_1_0_does_not_know_are_no_body(served: Served) -> None:
    """What stands before us may read them as the next request (RFC 9112, section 6.1)."""
    said = served.says(CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"2\r\n{}\r\n0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400") and said.count(b"HTTP/1.1 ") == 1, said


def test_what_is_refused_of_head_has_no_body_and_of_what_comes_next_one(served: Served) -> None:
    """HEAD is known from its target on: of half a method behind it nobody knows."""
    head = b"HEAD /livez HTTP/1.1\r\n" + HOST
    for sent in (b"Transfer-Encoding: gzip\r\n\r\n", b"Host : localhost\r\n\r\n", b"X: " + b"a" * 17_000, b"Content-"):
        said = served.says(head + sent)
        assert re.match(rb"HTTP/1.1 (501|400|431|408) ", said) and said.endswith(b"\r\n\r\n"), said
    for sent in (b"\x01\r\n\r\n", b"\r\n" * 9_000, b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", b"X"):
        said = served.says(head + b"\r\n", sent)
        assert said.startswith(b"HTTP/1.1 200") and said.endswith(b"}"), said


def test_what_is_long_and_allowed_passes(served: Served) -> None:
    """A body that came with its head in one go, and a head just under the limit."""
    assert served.says(post(b"Content-Length: 300000") + b"a" * 300_000 + ALIVE).count(b"HTTP/1.1 ") == 2
    assert served.says(GET + LAST + b"X: " + b"a" * 16_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    a_byte_each = CHUNKED + b"1\r\na\r\n" * 16_000 + b"0\r\n\r\n"
    assert served.says(a_byte_each + ALIVE).count(b"HTTP/1.1 ") == 2


def test_many_requests_at_once_on_one_connection_are_all_answered_in_little_memory(served: Served) -> None:
    before = served.memory
    served.count_from_here()
    with served.connect() as stream:
        stream.sendall((GET + b"\r\n") * 5_000 + ALIVE)
        assert all_of(stream).count(b"HTTP/1.1 200") == 5_001
    assert served.most_memory - before < 10 * MIB


@pytest.mark.parametrize("address", [STRANGER, PROXY])
def test_who_sends_nothing_more_is_told_so_and_let_go(served: Served, address: str) -> None:
    counted = served.refused("slow")
    began = time.monotonic()
    with contextlib.ExitStack() as four:
        head, body, nothing, drop = (four.enter_context(served.connect(address)) for _ in range(4))
        head.sendall(b"GET / HTTP/1.1\r\nHo")
        body.sendall(b"PUT /libro HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n12")
        ended = {"head": all_of(head), "body": all_of(body), "nothing": all_of(nothing)}
        # A byte now and then is not a request.
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < PATIENCE_SECONDS:
                drop.sendall(b"\r\n")
                time.sleep(0.1)
        assert time.monotonic() - began < PATIENCE_SECONDS
    assert ended["head"].startswith(b"HTTP/1.1 408") and ended["nothing"] == b""
    assert b"408" in ended["body"]
    assert time.monotonic() - began >= SECONDS
    assert served.refused("slow") == counted + 4


@pytest.mark.parametrize("address", [STRANGER, PROXY])
def test_who_does_not_read_is_let_go(served: Served, address: str) -> None:
    """A megabyte and a half, again and again: more than what any kernel holds back."""
    counted = served.refused("unread")
    with served.connect(address, receives=4096) as stream:
        stream.sendall((b"GET /swagger/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n") * 20)
        wait_until(lambda: served.refused("unread") == counted + 1, "it is kept for ever")
        served.alive()


def test_those_who_do_not_read_hold_little_whatever_they_sent(served: Served) -> None:
    """Behind four answers that nobody reads each has sent as many more requests as fit into one piece.

    8 to 10 MiB are seen; parsed all at once they were 70. The kernel held 585 more, which nobody counted.
    """
    bundle = b"GET /swagger/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"
    sent = bundle * 4 + b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n" * 130
    # What the first of them needs is there from then on.
    served.says(bundle.replace(b"\r\n\r\n", b"\r\n" + LAST + b"\r\n"))
    counted = served.refused("unread")
    served.count_from_here()
    before = served.most_memory
    with contextlib.ExitStack() as many:
        for _ in range(150):
            many.enter_context(served.connect(STRANGER, receives=4096)).sendall(sent)
        in_kernel = 0
        while served.refused("unread") < counted + 20:
            in_kernel = max(in_kernel, served.kernel_memory)
            time.sleep(0.1)
        served.alive()
    assert 0 < in_kernel < 16 * MIB, in_kernel
    more = served.most_memory - before
    assert more < 16 * MIB, more


def test_who_has_as_many_unread_answers_as_they_may_is_answered_once_they_read(served: Served) -> None:
    bundle = b"GET /swagger/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + LAST + b"\r\n"
    with contextlib.ExitStack() as many:
        every = [many.enter_context(served.connect(STRANGER, receives=4096)) for _ in range(300)]
        for one in every:
            one.sendall(bundle)
        # Somebody else notices nothing of it.
        served.alive()
        with ThreadPoolExecutor(50) as readers:
            sizes = [*map(len, readers.map(all_of, every[-50:]))]
    assert min(sizes) > MIB, sizes


def test_who_reads_slowly_is_not(served: Served) -> None:
    with served.connect(receives=4096) as stream:
        stream.sendall(b"GET /swagger/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + LAST + b"\r\n")
        began, size = time.monotonic(), 0
        while some := stream.recv(16 * 1024):
            size += len(some)
            # Over twice the time in which some progress must be made.
            time.sleep(0.05 if time.monotonic() - began < 3 * SECONDS else 0)
    assert size > MIB and time.monotonic() - began > 2 * SECONDS


@pytest.mark.parametrize("address", [STRANGER, PROXY])
def test_a_connection_that_was_idle_is_still_heard(served: Served, address: str) -> None:
    with served.connect(address) as stream:
        stream.sendall(GET + b"\r\n")
        said = b""
        while not said.endswith(b"}"):
            said += stream.recv(65536)
        # uvicorn's own are 5 s; a proxy's, 60.
        time.sleep(6)
        stream.sendall(ALIVE)
        assert all_of(stream).startswith(b"HTTP/1.1 200")


WHOLE = GET + b"\r\n"
BUNDLE = b"GET /swagger/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.mark.parametrize(
    ("sent", "answers_to"),
    [
        (WHOLE, [200]),
        (WHOLE * 3, [200] * 3),
        (BUNDLE, [200]),
        (post(b"Content-Length: 2") + b"{}", [404]),
        (CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", [404]),
        (WHOLE + GET, [200]),
        (GET, []),
        (b"", []),
    ],
    ids=range(8),
)
def test_who_has_sent_all_and_says_so_is_answered(served: Served, sent: bytes, answers_to: list[int]) -> None:
    for again in (False, True):
        with served.connect() as stream:
            if again:
                # On a connection that was used before.
                stream.sendall(WHOLE)
                said = b""
                while not said.endswith(b"}"):
                    said += stream.recv(65536)
            stream.sendall(sent)
            stream.shutdown(socket.SHUT_WR)
            began, said = time.monotonic(), all_of(stream)
        assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", said)] == answers_to
        assert not answers_to or time.monotonic() - began < 0.9, "it was kept although it was answered"
        assert sent is not BUNDLE or len(said) > MIB


@pytest.mark.parametrize("address", [STRANGER, PROXY])
@pytest.mark.parametrize("what", ["head", "whole", "nothing"])
def test_one_address_does_not_get_all_connections(served: Served, what: str, address: str) -> None:
    sent = {"head": b"GET / HTTP/1.1\r\n", "whole": GET + b"\r\n", "nothing": b""}[what]
    many: list[socket.socket] = []
    try:
        for number in range(2_000):
            stream = served.connect(address)
            many.append(stream)
            with contextlib.suppress(ConnectionError):
                stream.sendall(sent)
            if number % 100 == 0:
                served.alive()
        assert served.process.num_fds() < DESCRIPTORS - 200
    finally:
        for stream in many:
            stream.close()
    wait_until(lambda: served.process.num_fds() < 100, "they are not closed")
    # On a slow machine those who send nothing are let go before there are too many.
    assert served.refused("connections") + served.refused("slow") > 1_000


def test_a_busy_connection_that_came_first_keeps_nobody_of_its_address_out(served: Served) -> None:
    address = "127.0.0.3"
    with contextlib.ExitStack() as many:
        busy = many.enter_context(served.connect(address))

        def asks(stream: socket.socket) -> bytes:
            stream.sendall(WHOLE)
            said = b""
            while not said.endswith(b"}") and (some := stream.recv(65536)):
                said += some
            return said

        # More than its share: the last of them are refused, or others make room for them.
        for number in range(DESCRIPTORS - 270):
            with contextlib.suppress(ConnectionError):
                asks(many.enter_context(served.connect(address)))
            if number % 50 == 0:
                assert asks(busy).startswith(b"HTTP/1.1 200")
        for _ in range(30):
            time.sleep(0.1)
            assert asks(busy).startswith(b"HTTP/1.1 200")
        # Hundreds have done nothing for longer than it takes to make room.
        assert served.says(ALIVE, address=address).startswith(b"HTTP/1.1 200")
        assert asks(busy).startswith(b"HTTP/1.1 200")


def test_a_hundred_who_hang_up_leave_nothing_behind(served: Served) -> None:
    for target in (b"/libro", b"/libro?x", b"/nada"):
        for _ in range(100):
            with served.connect(STRANGER) as stream:
                stream.sendall(b"PUT " + target + b" HTTP/1.1\r\n" + HOST + b"Authorization: Bearer geheim\r\n")
                stream.sendall(b'Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"nom')
    served.alive()
    # The log is looked at when all tests are over.


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.2", b"anything"])
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "two"])
def test_who_offers_another_protocol_is_answered_in_this_one(served: Served, protocol: bytes, together: bool) -> None:
    """A body is a body, and not the next request."""
    hidden = b"GET /tokens/101 HTTP/1.1\r\n" + HOST + b"\r\n"
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol, b"HTTP2-Settings: AAMAAABk")
    head = post(*offer, b"Content-Type: application/json", b"Content-Length: %d" % len(hidden))
    said = served.says(head + hidden + ALIVE) if together else served.says(head, hidden, ALIVE)
    found = re.findall(rb"HTTP/1.1 (\d+)", said)
    assert found == [b"404", b"200"], said


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("shop.localhost", 200),
        ("127.0.0.1:8000", 200),
        ("10.1.2.3", 200),
        ("[::1]:8000", 200),
        ("tokens", 200),
        ("tokens.zoco.svc.cluster.local", 200),
        ("tokens.zoco.svc.:80", 200),
        ("localhost:", 200),
        ("[::1]:", 200),
        ("localhost:00080", 200),
        ("evil.example", 421),
        ("evil%2eexample", 421),
        ("127.0.0.1%evil", 400),
        ("127.0.0.1%25", 421),
        ("localhost%", 400),
        ("tokens.com", 421),
        ("tokens.svc.evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("2130706433", 421),
        ("", 421),
        # These are none (RFC 9112, section 3.2).
        ("localhost:1@evil", 400),
        ("localhost:99999", 400),
        ("localhost:80:80", 400),
        ("localhost:x", 400),
        ("[1.2.3.4]", 400),
        ("[::1", 400),
        ("::1", 400),
        ("a..localhost", 400),
        (".localhost", 400),
        (".", 400),
        ("a b.localhost", 400),
        ("localhost/", 400),
        ("a" * 300 + ".localhost", 400),
    ],
)
def test_only_the_shops_own_names_are_answered(served: Served, host: str, status: int) -> None:
    said = served.says(b"GET /livez HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (host.encode(), LAST))
    assert said.startswith(b"HTTP/1.1 %d " % status), said


def test_a_request_is_for_one_host(served: Served) -> None:
    assert served.says(b"GET /livez HTTP/1.1\r\n" + LAST + b"\r\n").startswith(b"HTTP/1.1 400")
    assert served.says(GET + HOST + LAST + b"\r\n").startswith(b"HTTP/1.1 400")
    # Before there was that header.
    assert served.says(b"GET /livez HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 405),
        ("https://localhost", 405),
        ("http://localhost:81", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_another_sites_page_may_read_and_not_write(served: Served, origin: str, status: int) -> None:
    head = b" /tokens/101 HTTP/1.1\r\n%sOrigin: %s\r\n%s\r\n" % (HOST, origin.encode(), LAST)
    assert served.says(b"POST" + head).startswith(b"HTTP/1.1 %d " % status)
    assert served.says(b"GET" + head).startswith(b"HTTP/1.1 200")
