"""Two replicas of compras on the same books, one that writes and one that follows it, asked by raw bytes."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patience import END_SECONDS, wait_until
from shop_builders import answers

from ops.child import GUARDED, SERVER_OPTIONS
from ops.process import free_port

PROGRAM = Path(__file__).with_name("raising_program.py")
KEY = "the-operators-key-of-this-test"
SECRET = "what-replicas-know-each-other-by"
JSON = {"Content-Type": "application/json"}
OPERATOR = {**JSON, "Authorization": f"Bearer {KEY}"}

Answer = tuple[str, list[str], bytes]


@dataclass(frozen=True)
class Door:
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """The status line, the headers but for the hour, and the body."""
        sent = {"Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return await self.ask_raw(f"{method} {target}", head.encode("latin-1"), body)

    async def ask_raw(self, line: str, head: bytes, body: bytes) -> Answer:
        """`head`: whole lines."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(
                f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode() + head + b"\r\n" + body
            )
            answer = await reader.read()
        finally:
            writer.close()
        # Whether a body is asked for that has come already is each one's choice (RFC 9110, section 10.1.1).
        said, _, content = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
        status, *lines = said.decode().split("\r\n")
        return status, sorted(line for line in lines if not line.startswith("date:")), content

    async def hang_up(self, method: str, target: str, headers: dict[str, str]) -> None:
        """In mid-body."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(
            f'{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n{head}\r\n{{"nom'.encode()
        )
        await writer.drain()
        # It has read this much, and waits for more.
        await self.ask("GET", "/livez", {})
        writer.close()
        await writer.wait_closed()

    async def answered(self, method: str, status: int) -> int:
        """How many requests were answered so."""
        _, _, metrics = await self.ask("GET", "/metrics", {})
        line = f'zoco_http_requests_total{{method="{method}",status="{status}"}} '
        found = re.search(rf"^{re.escape(line)}([\d.]+)$", metrics.decode(), re.MULTILINE)
        return int(float(found[1])) if found else 0


def told(answer: Answer, header: str) -> str | None:
    """What one header says."""
    found = [line.partition(": ")[2] for line in answer[1] if line.partition(": ")[0].lower() == header.lower()]
    assert len(found) <= 1, found
    return found[0] if found else None


@contextmanager
def door(folder: Path, name: str, **env: str) -> Iterator[Door]:
    """A compras on the books in this folder; its broker is away. A setting that is empty is none."""
    port, log = free_port(), folder / f"{name}.log"
    given = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ZOCO_")},
        "ZOCO_DATA": str(folder / "compras"),
        "ZOCO_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "ZOCO_RABBITMQ_URL": f"amqp://x:x@127.0.0.1:{free_port()}/",
        "ZOCO_OPERATOR_TOKEN": KEY,
        "ZOCO_REPLICA_SECRET": SECRET,
        **env,
    }
    settings = {name: value for name, value in given.items() if value}
    words = [sys.executable, str(PROGRAM), "services.compras.main:app", "--port", str(port), *SERVER_OPTIONS, *GUARDED]
    with log.open("wb") as output:
        process = subprocess.Popen(words, env=settings, stdout=output, stderr=output)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/livez"), f"the {name} does not start")
        yield Door(port, log, process)
    finally:
        process.terminate()
        process.wait(END_SECONDS)


@contextmanager
def doors(folder: Path, *, writer: dict[str, str] | None = None, **env: str) -> Iterator[dict[str, Door]]:
    """The one that writes and the one that follows it, each with a log of another style."""
    with door(folder, "writer", ZOCO_LOG="json", **env, **(writer or {})) as first:
        wait_until(lambda: "this process writes" in first.log.read_text(), "nobody writes")
        with door(folder, "follower", ZOCO_LOG="console", **env) as second:
            yield {"writer": first, "follower": second}
