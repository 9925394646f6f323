"""uvicorn's protocol, fed piece by piece: a request at a time whatever comes at once, HTTP/1.1 whatever is offered."""

from __future__ import annotations

import asyncio
import re
from typing import Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from services.shared.http.edge import FOR_BROWSERS, POLICY
from services.shared.http.problems import Problem
from services.shared.http.shutdown import CLOSE

# Parsed in one go: so much, or to where the first head in it ends. What is left waits while a request that came with it
# is answered: parsed, it takes a hundred times as much memory as it was sent in.
PIECE_BYTES: Final = 4 * 1024
# No less, though, or a body of nothing but line ends would be parsed four bytes at a time.
LEAST_BYTES: Final = 128
HEAD_END: Final = b"\r\n\r\n"
# What begins as a request does (RFC 9110, section 5.6.2), and one of a protocol that the parser takes, too.
METHOD: Final = re.compile(rb"[\r\n]*[!#-'*+.0-9A-Z^_`a-z|~-]+ ")
NOT_HTTP: Final = re.compile(rb"[\r\n]*[A-Z]+ [!-~]+ (?:RTSP|ICE)/")
# A target that names its host, and who asks as nobody (RFC 9110, section 4.2.4).
ABSOLUTE: Final = re.compile(rb"https?://([^/?@]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)
VERSIONS: Final = ("1.0", "1.1")
# Whoever was asked to slow down is not heard for so long.
HOLD_SECONDS: Final = 1.0
# Who sends no more, and may have hung up, is answered what comes so soon.
LAST_SECONDS: Final = 1.0


class PiecewiseProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Nothing more is read: it was refused, or there is no place for it.
        self.over = False
        # What came behind a request that is being answered.
        self._held = b""
        self._hold = False
        # What is read now, as far as that is known.
        self._is_head = False
        self._ended = False
        # The request that is answered now, of those that came.
        self._serving: RequestResponseCycle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._nobody_reads()
        if self.scope is not None:
            # It would keep itself.
            self.scope["state"].pop("connection", None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.over:
            return
        if self._held:
            self._hold_back(self._held + data)
            return
        self._unset_keepalive_if_required()
        start = 0
        while start < len(data) and not self.over:
            if self.pipeline:
                self._hold_back(data[start:])
                return
            end = piece_end(data, start)
            self.feed(data[start:end])
            start = end

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether it is kept for what is asked already: whoever has sent all may say so (RFC 9112, section 9.6). An
        answer without an end is none to wait for, and half a request neither."""
        serving = self._serving
        waits = serving is not None and not (serving.response_complete or serving.more_body or serving.chunked_encoding)
        if waits and not self._ended:
            self._ended = True
            self.loop.call_later(LAST_SECONDS, self.transport.close)
        return waits and not self.over

    def feed(self, data: bytes) -> None:
        """Parse a piece."""
        if NOT_HTTP.match(data):
            self.refuse("malformed", Problem(400, "this shop speaks HTTP and nothing like it"))
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.refuse("malformed", malformed(error, data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._is_head = self.parser.get_method() == b"HEAD"

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer is no header (RFC 9110, section 6.5.1): whoever stands before us has not looked at it.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if (version := self.parser.get_http_version()) not in VERSIONS:
            raise Problem(505, f"HTTP/{version} is not spoken here: HTTP/1.1 is")
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and b",".join(codings).strip().lower() != b"chunked":
            raise Problem(501, "a body is sent as it is, or in chunks: Transfer-Encoding is chunked and nothing else")
        if version == "1.0":
            if codings:
                raise Problem(400, "HTTP/1.0 has no Transfer-Encoding: say Content-Length (RFC 9112, section 6.1)")
            # There it means nothing (RFC 9110, section 10.1.1).
            self.expect_100_continue = False
        # Else it is read again, as if nothing had been offered.
        if not self.parser.should_upgrade():
            self._read_target(version)
            self.scope["state"]["connection"] = self
            super().on_headers_complete()

    def _read_target(self, version: str) -> None:
        """Where it names the host, that counts, whatever the header says (RFC 9112, section 3.2.2). Raises Problem
        (400)."""
        if b"#" in self.url:
            raise Problem(400, "what is behind '#' is for whoever asks alone: leave it out (RFC 9112, section 3.2)")
        if self.url.startswith((b"/", b"*")):
            return
        if (found := ABSOLUTE.fullmatch(self.url)) is None:
            raise Problem(400, "what is asked for is a path, or 'http://HOST/PATH' without a user")
        host, path, query = found.groups(b"")
        everything = self.parser.get_method() == b"OPTIONS" and not query
        self.url = (path or (b"*" if everything else b"/")) + query
        # These are the scope's already.
        self.headers[:] = [(name, host if name == b"host" else value) for name, value in self.headers]
        if version == "1.0" and all(name != b"host" for name, _ in self.headers):
            self.headers.append((b"host", host))

    def on_message_complete(self) -> None:
        self._is_head = False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._hold:
            self._hold = False
            self.flow.pause_reading()
            self.loop.call_later(HOLD_SECONDS, self._hear_again)
        elif self._held:
            self.flow.pause_reading() if self.pipeline else self._hear_again()
        elif self._ended and self._serving is not None and self._serving.response_complete:
            self.transport.close()

    def hold(self) -> None:
        """Hear nothing for a while once the request that is answered now has its answer."""
        self._hold = True

    def cut(self) -> None:
        """End it at once."""
        self.over = True
        self._nobody_reads()
        self.transport.abort()

    def refuse(self, reason: str, problem: Problem) -> None:
        """Answer this instead of what was asked for, and end the connection. A request before it is answered yet."""
        self.over, self._held = True, b""
        serving = self._serving
        if serving is not None and not serving.response_complete:
            if not serving.more_body:
                self.pipeline.clear()
                serving.keep_alive = False
                return
            self._nobody_reads()
            if serving.response_started:
                self.transport.close()
                return
        self.say_last(problem)

    def say_last(self, problem: Problem) -> None:
        """Of a connection, without an application."""
        response = problem.response()
        every = [*self.server_state.default_headers, *response.raw_headers, *FOR_BROWSERS, POLICY, CLOSE]
        lines = [STATUS_LINE[problem.status], *(b"%s: %s\r\n" % header for header in every), b"\r\n"]
        # To HEAD there is none (RFC 9110, section 9.3.2).
        body = b"" if self._is_head else bytes(response.body)
        self.transport.write(b"".join([*lines, body]))
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        # What nobody reads would keep it open.
        self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def _nobody_reads(self) -> None:
        """Whoever answers is told. uvicorn tells the last request only, and of several only the first is answered."""
        self.pipeline.clear()
        if self._serving is not None and not self._serving.response_complete:
            self._serving.disconnected = True
            self._serving.message_event.set()
            self.flow.resume_writing()

    def _hold_back(self, data: bytes) -> None:
        self._held = data
        self.flow.pause_reading()

    def _hear_again(self) -> None:
        if self.over or self.transport.is_closing():
            return
        held, self._held = self._held, b""
        if held:
            self.data_received(held)
        if not self.pipeline:
            self.flow.resume_reading()

    def _without_upgrade(self, rest: bytes) -> None:
        """The same request again, as one who does not know that protocol reads it (RFC 9110, section 7.8)."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.refuse("malformed", Problem(501, "this is no proxy: CONNECT is not for here"))
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%s: %s\r\n" % header for header in self.headers if header[0] not in (b"upgrade", b"http2-settings")]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.feed(b"".join([method, b" ", self.url, b" HTTP/", version, b"\r\n", *lines, b"\r\n", rest]))


def malformed(error: httptools.HttpParserError, data: bytes) -> Problem:
    """What is wrong with what the parser does not take, which may be one of ours."""
    if isinstance(error, httptools.HttpParserInvalidMethodError) and METHOD.match(data):
        return Problem(501, "there is no such method here: OPTIONS says which there are, in capitals")
    if isinstance(error.__context__, Problem):
        return error.__context__
    # Of a URL it names what it looked for next, which says nothing to whoever wrote it.
    why = "no URL" if isinstance(error, httptools.HttpParserInvalidURLError) else error
    return Problem(400, f"this is no request as RFC 9112 has it: {why}")


def piece_end(data: bytes, start: int) -> int:
    """Up to where it is parsed in one go."""
    most = start + PIECE_BYTES
    found = data.find(HEAD_END, start + LEAST_BYTES - len(HEAD_END), most)
    return most if found < 0 else found + len(HEAD_END)
