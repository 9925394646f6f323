"""ARCHITECTURE.md is as the code is: who may import whom, how long a file is, which errors there are, the route."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.compras.domain import ETAPAS

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
# Each package, and which others it may import.
INWARD: dict[str, set[str]] = {
    "broker": set(),
    "services": {"broker"},
    "ops": {"broker"},
    "loadgen": {"broker", "services", "ops"},
    "zoco": {"broker", "ops", "loadgen"},
}
FILES = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8") for name in INWARD for path in (ROOT / name).rglob("*.py")
}
TREES = {path: ast.parse(text) for path, text in FILES.items()}
MODULES = {str(path.with_suffix("")).replace("/", ".").removesuffix(".__init__"): path for path in FILES}
FILE_LINES, CLASS_LINES, ROUTE_LINES, PAGE_LINES = 300, 200, 3000, 120
# What is longer, and how long: it may become shorter, and leaves this list when it is short enough.
LONG_FILES = {
    "broker/amqp/bus.py": 551,
    "broker/amqp/frames.py": 384,
    "broker/messages.py": 326,
    "loadgen/audit/books.py": 334,
    "loadgen/audit/model.py": 419,
}
LONG_CLASSES = {
    "Bus": 437,
    "DrillReport": 214,
    "Meter": 220,
    "Selling": 209,
    "Showing": 212,
    "Writer": 209,
}


def imported(node: ast.AST) -> Iterator[str]:
    """The modules of ours that a file imports where it runs, in functions, too."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.ImportFrom(module=str(module), names=names):
                for name in names:
                    inner = f"{module}.{name.name}"
                    yield inner if inner in MODULES else module
            case ast.Import(names=names):
                yield from (name.name for name in names)
        yield from imported(child)


ARROWS = {module: {one for one in imported(TREES[path]) if one in MODULES} for module, path in MODULES.items()}


def test_nobody_knows_of_the_journal_but_who_opens_it() -> None:
    """A second store stands beside it: whatever else knew of segments or offsets would know of one store only."""
    room = "services.shared.journal"
    knows = {module for module, targets in ARROWS.items() if any(one.startswith(room) for one in targets)}
    outside = {module for module in knows if not module.startswith(room)}
    # Who opens it unless another store is handed in; who takes it into another store; and the drill, which breaks it.
    assert outside == {"services.shared.http.app", "services.rebuild.migration", "loadgen.drill.controls"}


@pytest.mark.parametrize("package", INWARD)
def test_arrows_point_inward(package: str) -> None:
    for module, targets in ARROWS.items():
        if module.split(".")[0] == package:
            outward = {one for one in targets if one.split(".")[0] not in INWARD[package] | {package}}
            assert outward == set(), module


def test_the_audit_shares_nothing_with_what_it_judges() -> None:
    for module, targets in ARROWS.items():
        if module.startswith("loadgen.audit"):
            assert {one for one in targets if not one.startswith("loadgen.audit")} == set(), module


def test_there_is_no_circle() -> None:
    left = {module: set(targets) for module, targets in ARROWS.items()}
    while leaves := {module for module, targets in left.items() if not targets & left.keys()}:
        left = {module: targets for module, targets in left.items() if module not in leaves}
    assert left == {}


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    longer = {str(path): text.count("\n") for path, text in FILES.items() if text.count("\n") > FILE_LINES}
    assert longer.keys() == LONG_FILES.keys()
    assert {path: lines for path, lines in longer.items() if lines > LONG_FILES[path]} == {}


def test_no_class_is_longer_than_can_be_read_at_once() -> None:
    longer = {
        one.name: lines
        for tree in TREES.values()
        for one in ast.walk(tree)
        if isinstance(one, ast.ClassDef) and (lines := (one.end_lineno or 0) - one.lineno + 1) > CLASS_LINES
    }
    assert longer.keys() == LONG_CLASSES.keys()
    assert {name: lines for name, lines in longer.items() if lines > LONG_CLASSES[name]} == {}


def table(name: str) -> list[list[str]]:
    """The rows of one of the page's tables."""
    found = re.search(rf"<!-- {name}: .*?-->\n(.*?)<!-- end of {name} -->", ARCHITECTURE, re.DOTALL)
    assert found, name
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()[2:]]


def test_every_folder_of_tests_is_run() -> None:
    """And what `make test` leaves out has a command of its own in CI."""
    folders = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert folders == {*options["testpaths"], "tests/bench", "tests/k8s"}


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest takes the second for the first, once both are collected: the tests in it are not run."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert not {name: count for name, count in names.items() if count > 1}


def test_the_page_is_short() -> None:
    assert ARCHITECTURE.count("\n") <= PAGE_LINES


def test_the_route_is_as_long_as_the_page_says_and_an_afternoon_at_most() -> None:
    rows = table("route")
    for _, file, lines, _ in rows:
        text = (ROOT / file.strip("`")).read_text(encoding="utf-8")
        assert int(lines) == text.count("\n"), file
    assert 0 < sum(int(lines) for _, _, lines, _ in rows) <= ROUTE_LINES


def test_the_picture_of_a_purchases_states_is_that_of_their_table() -> None:
    way = sorted((name for name in ETAPAS if name != "rechazada"), key=lambda name: ETAPAS[name].orden)
    steps = [f" ─{ETAPAS[name].llega.type}▶ {name}" for name in way[1:]]
    unpaid = ", ".join(name for name in way if not ETAPAS[name].pagada)
    picture = f"    {way[0]}{''.join(steps)}\n    {unpaid} ─{ETAPAS['rechazada'].llega.type}▶ rechazada\n"
    assert picture in ARCHITECTURE
    assert {name for name, etapa in ETAPAS.items() if etapa.final} == {way[-1], "rechazada"}


def test_every_word_of_the_glossary_is_one_of_the_codes_and_means_one_thing() -> None:
    rows = re.findall(
        r"^\| ([^`|]+) \| ", ARCHITECTURE[ARCHITECTURE.index("## Words") : ARCHITECTURE.index("## Errors")], re.M
    )
    words = [word for row in rows[2:] for word in re.sub(r" \((\w+)\)", r", \1", row).split(", ")]
    assert len(words) == len(set(words)) > 20
    names = {
        name.lower().replace("_", "")
        for tree in TREES.values()
        for one in ast.walk(tree)
        if (name := getattr(one, "name", None) or getattr(one, "id", None) or getattr(one, "arg", None))
    } | {path.stem.replace("_", "") for path in FILES}
    assert [word for word in words if not any(word.replace(" ", "") in name for name in names)] == []


def test_the_page_lists_every_error() -> None:
    known = {"Exception"}
    defined: dict[str, str] = {}
    # An error of an error: as often as it takes.
    for _ in range(3):
        for path, tree in TREES.items():
            for one in ast.walk(tree):
                bases = {ast.unparse(base) for base in one.bases} if isinstance(one, ast.ClassDef) else set()
                if isinstance(one, ast.ClassDef) and bases & known and not one.name.startswith("_"):
                    defined[one.name] = str(path)
                    known.add(one.name)
    assert dict(pair for errors, _ in table("errors") for pair in re.findall(r"`(\w+)` `([\w/.]+)`", errors)) == defined


DOCUMENTS = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "k8s").rglob("*.md"),
        *(path for name in INWARD for path in (ROOT / name).rglob("*.md")),
    }
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_links_to_or_names_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in link:
            assert (document.parent / link).exists(), link
    for path in re.findall(rf"`((?:{'|'.join(INWARD)}|tests|docs|k8s|scripts)/[\w./-]+\.\w+)`", text):
        assert (ROOT / path).exists(), path
