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

from loadgen.audit.text import Unreadable
from loadgen.drill.drill_report import Judged
from loadgen.load.rows import Row
from ops.console import Speaker
from ops.i18n import Text, say

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
        return [*self.broken, *([_not_checked(self.unchecked)] if self.unchecked else [])]

    @property
    def holds(self) -> bool:
        return not self.reasons

    def rows(self) -> str:
        """One line for a person."""
        if self.broken:
            return Text("{histories:,} histories that cannot be true", len(self.broken))
        if self.unchecked:
            return _not_checked(self.unchecked)
        says = "{purchases:,} purchases of {tokens:,} tokens: what each client was told can be true"
        return Text(says, self.purchases, self.tokens)

    def as_json(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "tokens": self.tokens,
            "purchases": self.purchases,
            "broken": list(self.broken),
            "unchecked": self.unchecked,
        }


def _not_checked(why: str) -> str:
    return Text("not checked by Porcupine: {why}", why)


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
    """For the drill's report."""

    async def judging(journals: Sequence[Path]) -> Judged:
        try:
            found = await asyncio.to_thread(judged, journals, alone=alone)
        except Unreadable as error:
            found = Judgement(unchecked=str(error))
        return Judged("porcupine", [Row("Porcupine", found.rows())], found.reasons, found.as_json())

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
        raise NotBuilt(Text("Go is missing: install it (https://go.dev/dl)"))
    # Others may be building it, too: the last one to be ready wins, and all are the same.
    mine = program.with_suffix(f".{os.getpid()}")
    command = [go, "build", "-buildvcs=false", "-o", str(mine), "."]
    try:
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
        if done.returncode:
            raise NotBuilt(Text("it cannot be built: {why}", _last_line(done.stderr)))
        mine.replace(program)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(Text("it cannot be built: {why}", error)) from error
    return program


def _run(command: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # A panic of Go's begins with what went wrong; the rest is where.
        why = done.stderr.partition("\n")[0] or Text("no reason given")
        raise NotBuilt(Text("it ended with exit code {code}: {why}", done.returncode, why))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or Text("no reason given")


def _unreadable(file: str, line: int, why: str) -> Unreadable:
    if why == "missing":
        return Unreadable("{file} cannot be opened: name a client's journal", file)
    if why == "format":
        return Unreadable("{file} has a newer format than Porcupine's reader knows", file)
    if why == "shop":
        return Unreadable("{file} is of another shop than the journals before it", file)
    return Unreadable("{file}, line {line} is no whole line of a client's journal", file, line)


def _broken(found: dict[str, Any]) -> list[str]:
    """A sentence for each history that cannot be true."""
    says = "purchase {purchase} was told two ends: {ends}"
    said: list[str] = [Text(says, one["purchase"], ", ".join(one["told"])) for one in found["twice"]]
    said += [Text("purchase {purchase} was told its end before it was asked for", one) for one in found["backwards"]]
    for one in found["broken"]:
        token, later, earlier = one["token"], one["next"], one["earlier"]
        if earlier:
            says = (
                "token {token}: purchase {purchase} was told {told} before anybody asked for {later}, "
                "which was told {later_told}: that cannot both be true"
            )
            said.append(Text(says, token, earlier["purchase"], earlier["told"], later["purchase"], later["told"]))
        else:
            says = (
                "token {token}: purchase {purchase} was told {told}, "
                "which fits none of the {operations:,} purchases of this token"
            )
            said.append(Text(says, token, later["purchase"], later["told"], one["operations"]))
    return said


def _unchecked(found: dict[str, Any]) -> str | None:
    if found["unchecked"]:
        one = found["unchecked"][0]
        says = "{tokens:,} tokens, which was too much for it, as token {token} with {operations:,} purchases"
        return Text(says, len(found["unchecked"]), one["token"], one["operations"])
    if found["partly"]:
        one = found["partly"][0]
        return Text("{file} ends early, at line {line}: its client may have asked for more", one["file"], one["line"])
    if not found["purchases"]:
        return Text("no client asked for anything")
    if unseen := found["purchases"] - found["ended"]:
        return Text("the end of {unseen:,} of {purchases:,} purchases was not seen", unseen, found["purchases"])
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
        Speaker(stderr=True).print(str(error))
        return 2
    for line in found.reasons or [found.rows()]:
        out.print(line)
    if found.broken:
        return 1
    return 3 if found.unchecked else 0


if __name__ == "__main__":
    sys.exit(main())
