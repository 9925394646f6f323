"""What a shop on this machine holds while it is drilled: memory and open files, of all its processes together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from loadgen.load.rows import Row, row
from ops.running import LocalError, Running

SAMPLE_SECONDS: Final = 1.0
# With fewer samples a quarter of them says nothing.
FEWEST: Final = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident memory in bytes, and open file descriptors."""

    memory_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """Samples in their order, one a second."""

    samples: list[Sample] = field(default_factory=list)

    async def follow(self, data: Path | None) -> None:
        """Take samples until cancelled. A second in which one of the processes is dead has none.

        None: the processes are elsewhere.
        """
        while data:
            with suppress(LocalError, psutil.Error):
                running = Running.read(data)
                self.samples.append(held([running.pid, *running.pids.values()]))
            await asyncio.sleep(SAMPLE_SECONDS)

    def quarters(self) -> tuple[Sample, Sample] | None:
        """The medians of the first and of the last quarter; None when there are too few samples."""
        if len(self.samples) < FEWEST:
            return None
        count = len(self.samples) // 4
        return middle(self.samples[:count]), middle(self.samples[-count:])

    def rows(self) -> list[Row]:
        """For the drill's report."""
        if (found := self.quarters()) is None:
            return []
        first, last = found
        memory = "{first:.0f} MB in the first quarter, {last:.0f} in the last"
        return [
            row("memory", memory, first.memory_bytes / 1e6, last.memory_bytes / 1e6),
            row("open files", "{first} in the first quarter, {last} in the last", first.files, last.files),
        ]

    def as_json(self) -> dict[str, Any] | None:
        if (found := self.quarters()) is None:
            return None
        return {
            name: {"memoryBytes": sample.memory_bytes, "files": sample.files}
            for name, sample in zip(("first", "last"), found, strict=True)
        }


def held(pids: Sequence[int]) -> Sample:
    """What these processes hold together. Raises psutil.Error when one of them has ended."""
    return Sample(sum(map(memory_bytes, pids)), sum(psutil.Process(pid).num_fds() for pid in pids))


def memory_bytes(pid: int) -> int:
    """Resident. Raises psutil.Error when the process has ended, also while nobody has asked for its exit code."""
    if resident := int(psutil.Process(pid).memory_info().rss):
        return resident
    raise psutil.ZombieProcess(pid)


def middle(samples: Sequence[Sample]) -> Sample:
    return Sample(
        int(median(sample.memory_bytes for sample in samples)), int(median(sample.files for sample in samples))
    )
