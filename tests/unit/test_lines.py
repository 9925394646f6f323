"""A log whose reader stops, or goes away: who writes goes on, and the lines come again when they can."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

from patience import PATIENCE_SECONDS

from broker.lines import Lines

# More than a pipe holds (64 KiB) and more than waits for a reader.
MANY = 40_000
TALKS = f"""
import structlog, sys
from services.shared.logs import configure_logs
configure_logs("tokens", "json")
for n in range({MANY}):
    structlog.get_logger().info("a line", number=n)
sys.stdout.write("done")
"""


def test_who_writes_waits_for_no_reader_and_is_told_how_much_was_left_out() -> None:
    here, there = os.pipe()
    lines = Lines(os.fdopen(there, "w"), room_bytes=100_000)
    began = time.monotonic()
    for n in range(MANY):
        lines.write(f"line {n}\n")
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
    with os.fdopen(here, "rb", buffering=0) as reader:
        said = b""
        while b"line 0\n" not in said or not said.endswith(b"\n"):
            said += reader.read(65536)
        # The reader is back: what is said now comes, behind a word about what is missing.
        while b"left out" not in said:
            lines.write("again\n")
            said += reader.read(65536)
        lines.drain(PATIENCE_SECONDS)
        while not said.endswith(b"again\n"):
            said += reader.read(65536)
    told = said.decode().splitlines()
    kept = [line for line in told if line.startswith("line ")]
    assert kept == sorted(kept, key=lambda line: int(line.split()[1]))
    missing = sum(int(found) for found in re.findall(r"(\d+) lines were left out", said.decode()))
    assert missing >= MANY - len(kept)


def test_a_reader_that_is_gone_stops_nobody() -> None:
    here, there = os.pipe()
    lines = Lines(os.fdopen(there, "w"))
    os.close(here)
    for n in range(MANY):
        lines.write(f"line {n}\n")
    lines.drain(PATIENCE_SECONDS)
    lines.write("still here\n")


def test_a_service_whose_log_nobody_reads_goes_on() -> None:
    process = subprocess.Popen([sys.executable, "-c", TALKS], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    # It ends, though not a line was read; and not before it has waited a moment for whoever may still read.
    assert process.stdout.read() == b"done"
    said, _ = process.stderr.read(), process.wait(PATIENCE_SECONDS)
    assert said.startswith(b'{"number": 0,')
    assert process.returncode == 0
    process.stdout.close()
    process.stderr.close()


def test_the_last_words_of_a_process_are_read() -> None:
    program = (
        "from services.shared.logs import configure_logs\n"
        "from services.shared.exits import end\n"
        'configure_logs("tokens", "json")\nend(78, "mend this")'
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "mend this" in done.stderr
