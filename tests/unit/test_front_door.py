"""`zoco buy` and `zoco queues` at an address where no front door is: one sentence, and exit code 2."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

import pytest

from zoco.front_door import NoAnswer, get, post


class Stranger(BaseHTTPRequestHandler):
    """Answers with what the path says: /STATUS/BODY. Writes down the keys that it was given."""

    keys: ClassVar[list[str | None]] = []

    def answer(self) -> None:
        _, status, body, *_ = unquote_to_bytes(self.path).split(b"/")
        self.keys.append(self.headers["Idempotency-Key"])
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(int(status))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_answer_is_passed_on_whatever_its_status(stranger: str) -> None:
    assert post(f"{stranger}/422/{{}}", {}, None, 0) == (422, {})
    assert post(f"{stranger}/202/[1]", {}, "ñ", 0) == (202, [1])
    assert Stranger.keys[-2:] == [None, "ñ".encode().decode("latin-1")]
    assert get(f"{stranger}/200/[2]") == [2]


@pytest.mark.parametrize("path", ["/200/hello", "/200/%FF", "/502/hello", "/404/"])
def test_what_is_no_front_door_is_named(stranger: str, path: str) -> None:
    for ask in (get, lambda url: post(url, {}, None, 0)):
        with pytest.raises(NoAnswer, match="is no front door"):
            ask(stranger + path)


def test_a_status_that_is_no_answer_is_said(stranger: str) -> None:
    with pytest.raises(NoAnswer, match="answered 503: mended soon"):
        get(f'{stranger}/503/{{"detail":"mended soon"}}'.replace(" ", "%20"))


@pytest.mark.parametrize("words", [["--url", "junk"], ["--url", "http://127.0.0.1:9"], ["--key", "a\nb"]])
def test_what_cannot_be_asked_is_a_sentence_and_exit_code_2(stranger: str, words: list[str]) -> None:
    url = [] if "--url" in words else ["--url", stranger]
    done = subprocess.run(
        [sys.executable, "-m", "zoco", "buy", "1", "2", *words, *url], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("zoco: the front door ")


def test_a_command_starts_without_what_it_does_not_need() -> None:
    """Each of these takes longer to import than all that `zoco --help` needs."""
    heavy = {"aiohttp", "aio_pika", "pydantic", "uvicorn", "structlog", "msgspec", "services"}
    code = f"import sys, zoco.cli; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr
