"""The lesson's first part, typed as it stands into a real shop: what it says is seen is seen, in both languages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from lesson_steps import LANGUAGES, code_of, looks_like, typed
from shop_builders import start

ROOT = Path(__file__).parents[2]
# The shop's port is any that is free.
DOCUMENTED = "http://127.0.0.1:8000"


def test_both_languages_have_the_same_commands() -> None:
    commands = {language: [(part, command) for part, command, _ in typed(language)] for language in LANGUAGES}
    assert commands["en"] == commands["es"]
    assert min(sum(part == number for part, _ in commands["en"]) for number in (1, 2)) > 5


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.long
def test_the_lesson_is_as_it_says(language: str, tmp_path: Path) -> None:
    shop = start(tmp_path, ZOCO_NUDGE_SECONDS="2")
    # Where whoever types it is: in the project's folder, beside what `make up` keeps there.
    (tmp_path / ".zoco").symlink_to(shop.data)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    for part, command, wanted in typed(language):
        if part != 1:
            continue
        done = subprocess.run(
            ["bash", "-c", command.replace(DOCUMENTED, shop.front)],
            cwd=tmp_path,
            env={**os.environ, "LC_ALL": LANGUAGES[language]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code_of(command, wanted), (command, done.stdout, done.stderr)
        assert looks_like(done.stdout, wanted), f"{command} says:\n{done.stdout}"
