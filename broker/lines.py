"""Lines for whoever reads a log: nobody who writes them waits for a reader who has stopped, or is gone."""

from __future__ import annotations

import io
import os
import threading
import time
from collections import deque
from typing import Final, TextIO

from broker.texts import printable

# As much as waits for a reader before further lines are left out.
ROOM_BYTES: Final = 1024 * 1024
AGAIN_SECONDS: Final = 0.05


def plain(text: str) -> str:
    """What a stranger wrote, fit for a terminal: what cannot be printed is shown as an escape, as JSON has it, so that
    it breaks no line, colours nothing, and turns no other text around. Lines that are there stay lines."""
    return text if printable(text) else "\n".join("".join(map(_shown, line)) for line in text.split("\n"))


def _shown(char: str) -> str:
    if printable(char):
        return char
    pair = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pair[at : at + 2].hex()}" for at in range(0, len(pair), 2))


class Lines(io.TextIOBase):
    """A text stream that a thread of its own writes on to `target`."""

    def __init__(self, target: TextIO, room_bytes: int = ROOM_BYTES) -> None:
        self._target = target
        self._room_bytes = room_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._left_out = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._write_on, name="lines", daemon=True).start()

    def write(self, text: str) -> int:
        data = text.encode(errors="backslashreplace")
        with self._changed:
            if self._bytes > self._room_bytes:
                self._left_out += text.count("\n")
                return len(text)
            if self._left_out:
                data = b"... %d lines were left out: nobody read them\n" % self._left_out + data
                self._left_out = 0
            self._waiting.append(data)
            self._bytes += len(data)
            self._changed.notify_all()
        return len(text)

    def drain(self, seconds: float) -> None:
        """Wait until all is written, no longer than this. For a process that is about to end."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes, seconds)

    def isatty(self) -> bool:
        return self._target.isatty()

    def fileno(self) -> int:
        return self._target.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = self._waiting.popleft()
            self._write_all(data)
            with self._changed:
                self._bytes -= len(data)
                self._changed.notify_all()

    def _write_all(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._target.fileno(), data) :]
            except BlockingIOError:
                # Somebody else made the pipe like that: to wait for it is what this thread is for.
                time.sleep(AGAIN_SECONDS)
            except (OSError, ValueError):
                # The reader is gone.
                return
