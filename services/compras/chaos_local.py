"""Knocking down on this machine: the processes of a `zoco up`, as `zoco kill` does it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from broker.messages import SERVICES
from ops.supervisor import BROKER, LocalError, Running, kill
from services.compras.chaos import DEFAULT_SECONDS
from services.shared.http.problems import unavailable


class LocalPlace:
    """The processes of the `zoco up` in this folder."""

    names: Sequence[str] = (*SERVICES, BROKER)

    def __init__(self, data: Path) -> None:
        self._data = data

    def command(self, name: str) -> str:
        return f"zoco kill {name} --for {DEFAULT_SECONDS:g}"

    async def knock_down(self, name: str, seconds: float) -> str:
        try:
            # The answer of a front door that kills itself would be lost with it.
            running = Running.read(self._data)
            return f"pid {await asyncio.to_thread(kill, running, name, seconds)}"
        except LocalError as error:
            raise unavailable(str(error)) from None
