"""What the lesson says to type, and what it says is seen."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
LESSONS = {"en": "lesson.md", "es": "leccion.md"}
# The language of whoever types it.
LANGUAGES = {"en": "C.UTF-8", "es": "es_ES.UTF-8"}


def typed(language: str) -> list[tuple[int, str, list[str]]]:
    """Every command of the lesson: the part it is in, and the lines that it should print."""
    text = (DOCS / LESSONS[language]).read_text(encoding="utf-8")
    steps: list[tuple[int, str, list[str]]] = []
    part = 0
    for line in text.splitlines():
        part += line.startswith("## ")
        if line.startswith("    $ "):
            steps.append((part, line.removeprefix("    $ "), []))
        elif line.startswith("    "):
            steps[-1][2].append(line.removeprefix("    "))
    return steps


def code_of(command: str, wanted: list[str]) -> int:
    """What a command that prints this ends with: a purchase may be refused, or have no end yet."""
    if any("rechazada (" in line for line in wanted):
        return 1
    return 3 if "zoco buy" in command and wanted and not wanted[-1].endswith("registrada") else 0


def looks_like(seen: str, wanted: list[str]) -> bool:
    """Whether these lines are among those that were printed, in this order; `…` is anything."""
    pattern = "[^\n]*\n(?:.*\n)?".join(".*".join(map(re.escape, line.split("…"))) for line in wanted)
    return re.search(pattern.replace(r"\ ", " +"), seen.replace("│", " "), re.MULTILINE) is not None
