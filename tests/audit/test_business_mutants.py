"""The audit against the business broken in every way: what it must see, what nobody can see, and the table of both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from equivalent_mutants import EQUIVALENT
from mutants import FILES, ROOT, Mutant, mutants_of

PROGRAM = Path(__file__).with_name("mutants.py")
GUARANTEES = ROOT / "docs" / "guarantees.md"
SECTION, TABLE = "## What the audit was seen to catch", "### Mutants"
SAMPLE, SEED = 60, 16
NAMES = {name: reason for reason, names in EQUIVALENT.items() for name in names}


@cache
def every_mutant() -> tuple[Mutant, ...]:
    return tuple(mutant for file in FILES for mutant in mutants_of(file))


def outcomes(mutants: Iterable[Mutant], jobs: int, tmp_path: Path, healthy: str) -> list[dict[str, Any]]:
    """How each was seen: see mutants.py, which runs them."""
    wanted = tmp_path / "wanted.json"
    wanted.write_text(json.dumps([mutant.name for mutant in mutants]), encoding="utf-8")
    command = [sys.executable, str(PROGRAM), "--only", str(wanted), "--jobs", str(jobs), "--healthy", healthy]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    first, *others = [json.loads(line) for line in answer.stdout.splitlines()]
    # Else what is seen in the mutants is nothing that is wrong with them.
    assert first == {"healthy": ["survived", []]}
    return others


def name_of(outcome: dict[str, Any]) -> tuple[str, str, str, str]:
    return outcome["file"], outcome["function"], outcome["text"], outcome["change"]


def unseen(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who survived and changes something; and of whom the audit said nothing at all, as it came to no verdict."""
    return [
        outcome
        for outcome in found
        if outcome["seen"].startswith(("no verdict", "no answer"))
        or (outcome["seen"] == "survived" and name_of(outcome) not in NAMES)
    ]


def test_the_audit_alone_sees_a_sample_of_what_is_broken(tmp_path: Path) -> None:
    some = Random(SEED).sample([mutant for mutant in every_mutant() if mutant.name not in NAMES], SAMPLE)
    found = outcomes(some, 1, tmp_path, "stories")
    assert len(found) == SAMPLE
    assert not unseen(found)


def test_every_mutant_that_is_said_to_change_nothing_exists() -> None:
    existing = {mutant.name for mutant in every_mutant()}
    assert not [name for name in NAMES if name not in existing]
    assert len(NAMES) == sum(len(names) for names in EQUIVALENT.values()), "one is listed twice"


@pytest.mark.long
def test_the_audit_alone_sees_all_that_is_broken(tmp_path: Path) -> None:
    """All but those that change nothing; these it does not see. Writes the table."""
    found = outcomes(every_mutant(), 2, tmp_path, "all")
    assert len(found) == len(every_mutant())
    assert not unseen(found)
    seen = {name_of(outcome) for outcome in found if outcome["seen"] != "survived"}
    assert not [name for name in NAMES if name in seen], "the audit sees these: they change something"
    write(table(found))


def test_the_table_speaks_of_this_code() -> None:
    """Its numbers are counted by the long test; that none of them is of older code is seen here."""
    text = GUARANTEES.read_text(encoding="utf-8")
    equal = Counter(mutant.file for mutant in every_mutant() if mutant.name in NAMES)
    for file in FILES:
        count = sum(mutant.file == file for mutant in every_mutant())
        assert f"| `{file}` | {count} | {count - equal[file]} | {equal[file]} | 100 % |" in text, (
            f"{file} has {count} mutants, {equal[file]} of them equivalent: run the long test of this file"
        )


def table(found: list[dict[str, Any]]) -> str:
    """The score of each file; a mutant that changes nothing counts neither way."""
    rows = []
    for file in FILES:
        these = [outcome for outcome in found if outcome["file"] == file]
        equal = sum(name_of(outcome) in NAMES for outcome in these)
        killed = sum(outcome["seen"] != "survived" for outcome in these)
        score = 100 * killed // (len(these) - equal)
        rows.append(f"| `{file}` | {len(these)} | {killed} | {equal} | {score} % |")
    how = Counter(outcome["seen"].split(":")[0].split(" ")[0] for outcome in found if outcome["seen"] != "survived")
    stories = how["chapter"] + how["a"]
    reasons = [f"- {len(names)}: {reason}" for reason, names in EQUIVALENT.items()]
    return "\n".join(
        (
            TABLE,
            "",
            "The business broken by mutmut's operators and some more, one change at a time; each mutant ran through",
            "small stories with the real stores and through worlds of the simulation, and the audit alone judged its",
            "books (`tests/audit/mutants.py`).",
            "",
            "| file | mutants | seen | equivalent | score |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"{stories} were seen in the stories, {how['world']} in the simulation; {how['no']} do not run at all, and",
            f"{how['unreadable']} write what is no record, which the audit refuses to judge. The others change nothing",
            "that anybody could see. They are named, each with its line, in",
            "`tests/audit/equivalent_mutants.py`:",
            "",
            *reasons,
            "",
        )
    )


def write(part: str) -> None:
    """Put the table into its place, and leave all else there as it is."""
    text = GUARANTEES.read_text(encoding="utf-8")
    if SECTION not in text:
        text = f"{text.rstrip()}\n\n{SECTION}\n\n"
    before, heading, after = text.partition(f"\n{SECTION}\n")
    body, mark, rest = after.partition("\n## ")
    if f"{TABLE}\n" in body:
        head, _, old = body.partition(f"{TABLE}\n")
        _, more, others = old.partition("\n### ")
        body = f"{head}{part}" + (f"\n### {others}" if more else "")
    else:
        body = f"{body.rstrip()}\n\n{part}"
    GUARANTEES.write_text(f"{before}{heading}{body}{mark}{rest}", encoding="utf-8")
