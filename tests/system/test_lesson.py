"""The lesson's first part, typed as it stands into a real shop: what it says is seen is seen, in both languages."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from shop_builders import start

ROOT = Path(__file__).parents[2]
LESSONS = {"en": ("lesson.md", "C.UTF-8"), "es": ("leccion.md", "es_ES.UTF-8")}
# The shop's port is any that is free.
DOCUMENTED = "http://127.0.0.1:8000"


def typed(language: str) -> list[tuple[str, list[str], bool]]:
    """Every command of the lesson, the lines that it should print, and whether it is of the first part."""
    text = (ROOT / "docs" / LESSONS[language][0]).read_text(encoding="utf-8")
    steps: list[tuple[str, list[str], bool]] = []
    part = 0
    for line in text.splitlines():
        part += line.startswith("## ")
        if line.startswith("    $ "):
            steps.append((line.removeprefix("    $ "), [], part == 1))
        elif line.startswith("    "):
            steps[-1][1].append(line.removeprefix("    "))
    return steps


def looks_like(seen: str, wanted: list[str]) -> bool:
    """Whether these lines are among those that were printed, in this order; `…` is anything."""
    pattern = "[^\n]*\n(?:.*\n)?".join(".*".join(map(re.escape, line.split("…"))) for line in wanted)
    return re.search(pattern.replace(r"\ ", " +"), seen.replace("│", " "), re.MULTILINE) is not None


def test_both_languages_have_the_same_commands() -> None:
    commands = {language: [(command, first) for command, _, first in typed(language)] for language in LESSONS}
    assert commands["en"] == commands["es"]
    assert sum(first for _, first in commands["en"]) > 5


@pytest.mark.parametrize("language", ["en", pytest.param("es", marks=pytest.mark.long)])
def test_the_lesson_is_as_it_says(language: str, tmp_path: Path) -> None:
    shop = start(tmp_path, ZOCO_NUDGE_SECONDS="2")
    # Where whoever types it is: in the project's folder, beside what `make up` keeps there.
    (tmp_path / ".zoco").symlink_to(shop.data)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    for command, wanted, first in typed(language):
        if not first:
            continue
        done = subprocess.run(
            ["bash", "-c", command.replace(DOCUMENTED, shop.front)],
            cwd=tmp_path,
            env={**os.environ, "LC_ALL": LESSONS[language][1]},
            capture_output=True,
            text=True,
            check=False,
        )
        refused = any("rechazada (" in line for line in wanted)
        assert done.returncode == (1 if refused else 0), (command, done.stdout, done.stderr)
        assert looks_like(done.stdout, wanted), f"{command} says:\n{done.stdout}"
