"""A client's journal: what one client asked, before it asked, what it was told, and the ends that it saw.

JSON lines. The first one has the format (`client`), the last one says how many stand before it (`closed`): a journal
without it ends early. `t` is the load's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.load.clock import Clock, rfc3339

FORMAT: Final = 1
JOURNAL: Final = "client.jsonl"


class NotClosed(Exception):
    """A journal is still being written, or its writer was killed: nobody may go on with it."""


def journal_file(folder: Path, number: int) -> Path:
    """The journal of a load's client, by its number: client.jsonl, client-2.jsonl, …"""
    return folder / (JOURNAL if number == 1 else f"client-{number}.jsonl")


class ClientJournal:
    """One client's. It writes through: a client that is killed has noted all that it asked."""

    def __init__(self, file: Path, url: str, clock: Clock) -> None:
        """Begin it, or go on with one that was closed. Raises NotClosed."""
        self._clock = clock
        lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
        if lines and b'"closed":true' not in lines[-1]:
            raise NotClosed(f"{file} has no last line: its client still writes it, or was killed")
        self.knows_shop = any(line.startswith(b'{"shop"') for line in lines)
        self._file = file.open("r+b" if lines else "wb")
        self._lines = 0
        if lines:
            self._file.truncate(sum(map(len, lines[:-1])))
            self._file.seek(0, 2)
            self._lines = len(lines) - 1
        else:
            self.write({"client": FORMAT, "url": url, "started": rfc3339(clock.now())})

    @property
    def lines(self) -> int:
        return self._lines

    def write(self, line: Mapping[str, Any]) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()
        self._lines += 1

    def note(self, line: Mapping[str, Any], at: float | None = None) -> None:
        """With the time (unless told, now) behind `n`, if it has one."""
        first = {"n": line["n"]} if "n" in line else {}
        self.write({**first, "t": round(self._clock.now() if at is None else at, 6), **line})

    def is_of(self, shop: Mapping[str, Any]) -> None:
        """`shop` is record 1 of compras' journal: its seq, time and crc."""
        self.write({"shop": {name: shop[name] for name in ("seq", "time", "crc")}})
        self.knows_shop = True

    def close(self) -> None:
        self.note({"closed": True, "lines": self._lines})
        self._file.close()
