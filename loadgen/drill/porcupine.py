"""A second judge of what clients were told, which nobody here wrote: Porcupine, a linearizability checker in Go.

The program is in loadgen/porcupine. It is built where it is needed; without Go, nothing was checked, and that is said.

    python -m loadgen.drill.porcupine [--alone] client.jsonl...
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen.audit.books import Unreadable
from loadgen.drill.certificate import Judged
from ops.i18n import Speaker, say

SOURCE: Final = Path(__file__).parents[1] / "porcupine"
# Beside the environment that runs this: `make clean` takes it away, too.
BUILT: Final = Path(sys.prefix) / "porcupine"
# With the module to be fetched; a build takes some 5 s.
BUILD_SECONDS: Final = 600
# Ten thousand purchases of one token take less than one.
TOKEN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What Porcupine found. `unchecked` says what it could not judge, if only in part; None: it judged all."""

    tokens: int = 0
    purchases: int = 0
    broken: tuple[str, ...] = ()
    unchecked: str | None = None

    @property
    def reasons(self) -> list[str]:
        """Why it does not hold."""
        return [*self.broken, *([f"not checked by Porcupine: {self.unchecked}"] if self.unchecked else [])]

    @property
    def holds(self) -> bool:
        return not self.reasons

    def rows(self) -> str:
        """One line for a person."""
        if self.broken:
            return f"{len(self.broken):,} histories that cannot be true"
        if self.unchecked:
            return f"not checked by Porcupine: {self.unchecked}"
        return f"{self.purchases:,} purchases of {self.tokens:,} tokens: what each client was told can be true"

    def as_json(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "tokens": self.tokens,
            "purchases": self.purchases,
            "broken": list(self.broken),
            "unchecked": self.unchecked,
        }


class NotBuilt(Exception):
    """Porcupine cannot be run here. Says why."""


def judged(journals: Sequence[Path], *, alone: bool, seconds: float = TOKEN_SECONDS) -> Judgement:
    """Let Porcupine judge these journals of the clients of one shop. Raises Unreadable.

    `alone`: nobody else ever asked for the tokens in them. Otherwise somebody else may have bought any of them.
    `seconds`: the longest that one token may take; then it was not checked.
    """
    options = ["-seconds", f"{seconds:f}", *(["-alone"] if alone else [])]
    try:
        found = _run([str(_built()), *options, "--", *map(str, journals)])
    except NotBuilt as why:
        return Judgement(unchecked=str(why))
    if failed := found.get("unreadable"):
        raise _unreadable(**failed)
    return Judgement(found["tokens"], found["purchases"], tuple(_broken(found)), _unchecked(found))


def judge(*, alone: bool) -> Callable[[Sequence[Path]], Awaitable[Judged]]:
    """For a drill's certificate."""

    async def judging(journals: Sequence[Path]) -> Judged:
        try:
            found = await asyncio.to_thread(judged, journals, alone=alone)
        except Unreadable as error:
            found = Judgement(unchecked=str(error))
        return Judged("porcupine", [("Porcupine", found.rows())], found.reasons, found.as_json())

    return judging


def _built() -> Path:
    """The program, built from these sources if it is not there yet. Raises NotBuilt."""
    sources = sorted((*SOURCE.glob("*.go"), SOURCE / "go.mod", SOURCE / "go.sum"))
    made_of = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()
    program = BUILT / made_of[:16]
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise NotBuilt("Go is missing: install it (https://go.dev/dl)")
    # Others may be building it, too: the last one to be ready wins, and all are the same.
    mine = program.with_suffix(f".{os.getpid()}")
    command = [go, "build", "-buildvcs=false", "-o", str(mine), "."]
    try:
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
        if done.returncode:
            raise NotBuilt(f"it cannot be built: {_last_line(done.stderr)}")
        mine.replace(program)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(f"it cannot be built: {error}") from error
    return program


def _run(command: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # A panic of Go's begins with what went wrong; the rest is where.
        why = done.stderr.partition("\n")[0] or "no reason given"
        raise NotBuilt(f"it ended with exit code {done.returncode}: {why}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "no reason given"


def _unreadable(file: str, line: int, why: str) -> Unreadable:
    if why == "missing":
        return Unreadable(f"{file} cannot be opened: name a client's journal")
    if why == "format":
        return Unreadable(f"{file} has a newer format than Porcupine's reader knows")
    if why == "shop":
        return Unreadable(f"{file} is of another shop than the journals before it")
    return Unreadable(f"{file}, line {line} is no whole line of a client's journal")


def _broken(found: dict[str, Any]) -> list[str]:
    """A sentence for each history that cannot be true."""
    said = [f"purchase {one['purchase']} was told two ends: {', '.join(one['told'])}" for one in found["twice"]]
    said += [f"purchase {one} was told its end before it was asked for" for one in found["backwards"]]
    for one in found["broken"]:
        token, later, earlier = one["token"], one["next"], one["earlier"]
        if earlier:
            said.append(
                f"token {token}: purchase {earlier['purchase']} was told {earlier['told']} before anybody asked for "
                f"{later['purchase']}, which was told {later['told']}: that cannot both be true"
            )
        else:
            said.append(
                f"token {token}: purchase {later['purchase']} was told {later['told']}, "
                f"which fits none of the {one['operations']:,} purchases of this token"
            )
    return said


def _unchecked(found: dict[str, Any]) -> str | None:
    if found["unchecked"]:
        one = found["unchecked"][0]
        return (
            f"{len(found['unchecked']):,} tokens, which was too much for it, "
            f"as token {one['token']} with {one['operations']:,} purchases"
        )
    if found["partly"]:
        one = found["partly"][0]
        return f"{one['file']} ends early, at line {one['line']}: its client may have asked for more"
    if not found["purchases"]:
        return "no client asked for anything"
    if unseen := found["purchases"] - found["ended"]:
        return f"the end of {unseen:,} of {found['purchases']:,} purchases was not seen"
    return None


def main() -> int:
    """Exit code 1 when a history cannot be true, 2 when a journal cannot be read, 3 when not all was checked."""
    parser = argparse.ArgumentParser(description=say("Let Porcupine judge what the clients of one shop were told."))
    parser.add_argument("journals", nargs="+", type=Path, help=say("Each client's journal."))
    parser.add_argument("--alone", action="store_true", help=say("Nobody else ever asked for their tokens."))
    wanted = parser.parse_args()
    out = Speaker()
    try:
        found = judged(wanted.journals, alone=wanted.alone)
    except Unreadable as error:
        Speaker(stderr=True).print(str(error), markup=False)
        return 2
    for line in found.reasons or [found.rows()]:
        out.print(line, markup=False)
    if found.broken:
        return 1
    return 3 if found.unchecked else 0


if __name__ == "__main__":
    sys.exit(main())
