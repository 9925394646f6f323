"""What strangers wrote, on a terminal: it colours nothing, moves no cursor, turns no text around and links nowhere."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.panel import Panel

from broker.lines import plain
from ops.console import Speaker, table
from ops.errors import UserError
from ops.supervisor import Local
from zoco.saying import fail

ROOT = Path(__file__).parents[2]
# A red word, a title for the window, a link, a tag that Rich does not know, one that it does, a picture by its name, a
# direction mark, a control that some terminals obey without ESC, the end of a line that goes back, half a character.
STRANGE = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "[link=https://evil.example]x[/link]",
    "[/nope]",
    "[bold]b[/bold]",
    ":smile:",
    "\u202eidden",
    "\x9b31m",
    "a\rb",
    "\ud800",
]
# What is on a screen, and nothing else: our own tables and panels are drawn with these.
DRAWN = str.maketrans("", "", "\n")
EVERY = pytest.mark.parametrize("strange", STRANGE, ids=ascii)


def fit(text: str) -> bool:
    return text.translate(DRAWN).isprintable()


def spoken(strange: str) -> str:
    """By every way that a command prints."""
    out = io.StringIO()
    console = Speaker(file=out, force_terminal=True, color_system=None, width=200)
    console.print(strange, f"in {strange}")
    console.say("it said {why}", strange)
    console.say("{why}", UserError("{why}", strange))
    console.print(Panel(strange, expand=False))
    shown = table("queue", "message id")
    shown.add_row(strange, strange)
    console.print(shown)
    return out.getvalue()


@EVERY
def test_a_command_prints_it_as_it_was_written(strange: str) -> None:
    said = spoken(strange)
    assert fit(said), repr(said)
    assert said.count(plain(strange)) == 7


@EVERY
def test_json_is_fit_for_a_terminal_and_says_the_same(strange: str) -> None:
    out = io.StringIO()
    Speaker(file=out, force_terminal=True).json({"id": strange})
    assert fit(out.getvalue())
    assert json.loads(out.getvalue()) == {"id": strange}


@EVERY
def test_an_error_and_a_line_that_zoco_up_passes_on_say_it(strange: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fail("{why}", strange)
    Local(Path("nowhere"), 0)._print("tokens", strange)
    said = capsys.readouterr().err
    assert fit(said), repr(said)
    assert said.count(plain(strange)) == 2


LOGS = """
import json, logging, sys, structlog
from services.shared.logs import configure_logs

configure_logs("tokens", sys.argv[1])
log = structlog.get_logger()
for strange in json.loads(sys.argv[2]):
    log.info(strange, value=strange, nested=[strange, {"a": strange}], raw=strange.encode(errors="replace"))
    try:
        raise RuntimeError(strange)
    except RuntimeError as error:
        log.error("a bug", exc_info=error, error=error)
    logging.getLogger("uvicorn.error").error("it said %s", strange, exc_info=True)
"""


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_log_says_it(style: str) -> None:
    words = (sys.executable, "-c", LOGS, style, json.dumps(STRANGE))
    said = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    assert fit(said), repr(said)
    for strange in STRANGE:
        assert (plain(strange) if style == "console" else json.dumps(strange)[1:-1]).replace("\\\\", "\\") in said
    if style == "json":
        told = [json.loads(line) for line in said.splitlines()]
        assert [line["value"] for line in told if "value" in line] == STRANGE


# Who else writes, and why nothing of a stranger's is in it.
WRITERS = {
    "zoco/saying.py": "by `plain`",
    "ops/supervisor.py": "by `plain`",
    "loadgen/drill/controls.py": "how it is called",
    "loadgen/load/worker.py": "frames for its own crew",
    "loadgen/bench/relay.py": "figures, as JSON",
    "loadgen/bench/stores.py": "figures, as JSON",
    "broker/credentials.py": "a sentence of its own",
    "services/rebuild/migration.py": "JSON, and sentences of its own",
}


def test_nothing_else_prints() -> None:
    found = {}
    for package in ("zoco", "ops", "loadgen", "services", "broker"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _prints(ast.unparse(node.func)):
                    found[str(file.relative_to(ROOT))] = ast.unparse(node.func)
                if isinstance(node, ast.keyword) and node.arg == "markup":
                    assert ast.unparse(node.value) == "False", file
    assert found.keys() == WRITERS.keys()


def _prints(called: str) -> bool:
    ways = (".print_json", ".echo", ".stdout.write", ".stderr.write", ".stdout.buffer.write")
    return called in ("print", "Console") or called.endswith(ways)
