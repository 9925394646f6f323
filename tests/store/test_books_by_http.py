"""Books as `zoco backup` and `zoco restore` read them by HTTP: real records, from whoever answers so."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from store_builders import publicado, writer

from broker.heights import sender
from broker.services import SERVICES
from ops import backup as backups
from ops.copies import Identity
from ops.errors import UserError
from services.tokens.domain import DOMAIN
from zoco.books import Books
from zoco.rebuild import _lines
from zoco.restore import _thrown_away


class Service(ThreadingHTTPServer):
    """tokens, with these records. It ends the first answer behind so many, and its next ones at `damaged`."""

    daemon_threads = True

    def __init__(self, heights: str, lines: list[bytes], cut: int | None = None, damaged: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.heights, self.lines, self.cut, self.damaged = heights, lines, cut, damaged
        self.asked: list[int] = []


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        told = urlsplit(self.path)
        if told.path == "/readyz":
            book = {"heights": self.server.heights, "formerly": []}
            self.whole(200, {"role": "writer", "book": book, "diskFull": False, "doubt": None})
        else:
            self.records(int(parse_qs(told.query)["desde"][0]))

    def do_POST(self) -> None:
        self.do_GET()

    def whole(self, status: int, told: Any) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def records(self, after: int) -> None:
        self.server.asked.append(after)
        if after == self.server.damaged:
            self.whole(500, {"detail": f"the books cannot be read here: record {after + 1} is not as it was written"})
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        cut = self.server.cut if len(self.server.asked) == 1 else None
        for line in self.server.lines[after:cut]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        if cut is None:
            self.wfile.write(b"0\r\n\r\n")
        else:
            # It ends inside a record.
            self.wfile.write(b"400\r\n" + self.server.lines[cut][:20])
            self.close_connection = True

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def served(*arguments: Any, **more: Any) -> Iterator[tuple[Service, Books]]:
    with Service(*arguments, **more) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{service.server_port}"
        try:
            yield service, Books(lambda _: [url], "t")
        finally:
            service.shutdown()
            thread.join()


async def book_of(folder: Path, *batches: list[Any]) -> tuple[str, list[bytes]]:
    """Its heights and its records when it has decided these, too."""
    async with writer(folder, DOMAIN) as store:
        for batch in batches:
            await store.process_batch(batch)
        lines: list[bytes] = []
        while some := await store.records(len(lines), 1 << 20):
            lines += some
        return store.heights.state(store.seq)["heights"], lines


async def test_records_that_end_in_between_are_asked_for_from_the_last_whole_one(tmp_path: Path) -> None:
    heights, lines = await book_of(tmp_path, [publicado(token) for token in range(101, 110)])
    with served(heights, lines, cut=4) as (service, books):
        assert b"".join(books.records("tokens")) == b"".join(lines)
        assert service.asked == [0, 4]
    with served(heights, lines, cut=4, damaged=4) as (_, books), pytest.raises(UserError) as refused:
        list(books.records("tokens"))
    assert "record 5 is not as it was written" in str(refused.value)


async def test_a_service_that_ends_while_it_answers_is_a_sentence(tmp_path: Path) -> None:
    heights, lines = await book_of(tmp_path, [publicado()])
    with served(heights, lines, cut=0) as (service, books):
        with pytest.raises(UserError, match="ended before it was done"):
            list(_lines(f"http://127.0.0.1:{service.server_port}/libro?desde=0", "t"))
        service.asked.clear()
        with pytest.raises(UserError, match="ended before it was done"):
            list(books.records("tokens"))


async def test_what_an_older_copy_of_the_same_book_decided_by_itself_is_listed(tmp_path: Path) -> None:
    """It has as many records as the backup, and others."""
    await book_of(tmp_path / "book", [publicado(101), publicado(102)])
    shutil.copytree(tmp_path / "book", tmp_path / "copy")
    heights, lines = await book_of(tmp_path / "book", [publicado(103)], [publicado(104)])
    said = sender(heights)
    assert said is not None
    file = tmp_path / "shop.tar"
    identities = {name: Identity(said[1].book, said[1].generation) for name in SERVICES}
    with backups.made(file, lambda: identities, lambda name: lines if name == "tokens" else [], lambda *_: None):
        pass
    about = backups.read(file).books["tokens"]
    assert (about.records, len(lines)) == (4, 4)
    with served(heights, lines) as (_, books):
        assert _thrown_away(books, file, "tokens", about) == []
    _, more = await book_of(tmp_path / "book", [publicado(105)])
    with served(heights, more) as (_, books):
        assert _thrown_away(books, file, "tokens", about) == ["semilla:105"]
    with served(heights, lines[:3]) as (_, books):
        assert _thrown_away(books, file, "tokens", about) == []
    again, alone = await book_of(tmp_path / "copy", [publicado(103, precio=60)], [publicado(106)])
    assert (at := sender(again)) and (at[1].book, at[1].generation) == (said[1].book, said[1].generation)
    with served(again, alone) as (_, books):
        assert _thrown_away(books, file, "tokens", about) == ["semilla:103", "semilla:106"]
