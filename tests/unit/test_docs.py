"""What the documentation names exists, and the other way round."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from platform import python_version

import pytest
from fastapi import APIRouter
from prometheus_client import Metric

from broker.messages import TokenPublicado
from loadgen.audit.verdict import PROMISES
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.front_door import FrontDoor
from services.shared.journal.disk import LocalDisk
from services.shared.journal.store import JsonStore, open_json_store
from services.shared.metrics import Metrics
from services.shared.postgres.health import GAUGES, Health
from services.shared.runtime import Runtime, Service
from services.shared.settings import PREFIX, Settings
from services.tokens.domain import DOMAIN
from zoco.cli import app

FECHA = "2026-01-01T00:00:00Z"
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPANISH = (ROOT / "README.es.md").read_text(encoding="utf-8")
# Not the changelog: it tells of what is gone, too.
DOCUMENTS = [ROOT / "README.md", ROOT / "README.es.md", *(ROOT / "docs").glob("*.md"), ROOT / "k8s" / "README.md"]


def test_the_readme_has_every_setting_with_what_it_says_of_itself() -> None:
    rows = dict(re.findall(r"^\| `(ZOCO_\w+)` \| (.*) \|$", README, re.MULTILINE))
    assert rows.keys() == {PREFIX + name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        assert field.description and field.description in rows[PREFIX + name.upper()]


def test_the_readme_has_every_command() -> None:
    commands = {command.callback.__name__ for command in app.registered_commands if command.callback}
    commands |= {str(group.name) for group in app.registered_groups}
    rows = re.search(r"## The command `zoco`\n(.*?)\n## ", README, re.DOTALL)
    assert rows
    assert {row.split()[0] for row in re.findall(r"^\| `([^`]+)` \|", rows[1], re.MULTILINE)} == commands


def test_every_file_that_the_readme_names_exists_and_so_do_the_functions() -> None:
    for path in re.findall(r"`((?:broker|services|loadgen)/[\w/]+\.py)`", README):
        assert (ROOT / path).is_file(), path
    for link in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (ROOT / link).exists(), link
    for path, name in re.findall(r"`((?:broker|services)/[\w/]+\.py)` `([\w.]+)`", README):
        assert re.search(rf"(def|class) {name.split('.')[-1]}\b", (ROOT / path).read_text(encoding="utf-8")), name


def sections(text: str) -> list[str]:
    """Each with its heading."""
    return re.split(r"^(?=#+ )", text, flags=re.MULTILINE)[1:]


def blocks(section: str) -> list[str]:
    return re.findall(r"(?:^ {4}.+\n)+", section, re.MULTILINE)


def is_drawn(block: str) -> bool:
    """It is a picture, or the frame around what a command printed: there are no commands in it."""
    return re.search("[\u2500-\u257f]", block) is not None


def commands(section: str) -> list[str]:
    """The lines that are typed, without what is said of them."""
    lines = [line for block in blocks(section) if not is_drawn(block) for line in block.splitlines()]
    return [re.split(r"\s+# ", line)[0].rstrip() for line in lines]


def tables(section: str) -> list[list[tuple[int, list[str]]]]:
    """Of each row how many cells it has, and what is code in it, in whatever order the language has it."""
    found = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [[(row.count("|"), sorted(re.findall(r"`[^`]+`", row))) for row in table.splitlines()] for table in found]


def links(section: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", section)


def in_the_other_language(link: str) -> str:
    """Where a document says that it is to be read in the other language; itself, if it is in one only."""
    path = ROOT / link.partition("#")[0]
    if path.suffix != ".md":
        return link
    found = re.search(r"\[[^]]*(?:español|English)\]\(([\w.]+)\)", path.read_text(encoding="utf-8"))
    return str((path.parent / found[1]).relative_to(ROOT)) if found else link


def facts(section: str) -> list[str]:
    """What is the same in each language: code, numbers (10,000 is 10.000 there), and messages, also in a picture."""
    text = re.sub(r"\]\([^)]*\)", "]", section)
    drawn = "".join(filter(is_drawn, blocks(section)))
    numbers = [re.sub("[.,]", "", number) for number in re.findall(r"\d[\d.,]*", text)]
    return sorted([*re.findall(r"`[^`]+`", text), *numbers, *re.findall(r"[a-z]+\.[a-z]+", drawn)])


def test_the_spanish_readme_has_the_headings_of_the_english_one() -> None:
    levels, spanish = ([one.index(" ") for one in sections(text)] for text in (README, SPANISH))
    assert len(levels) > 5
    assert spanish == levels


def test_the_spanish_readme_has_the_commands_of_the_english_one() -> None:
    assert sum(map(len, map(commands, sections(README)))) > 10
    assert list(map(commands, sections(SPANISH))) == list(map(commands, sections(README)))


def test_the_spanish_readme_has_the_tables_of_the_english_one() -> None:
    assert sum(map(len, map(tables, sections(README)))) > 3
    assert list(map(tables, sections(SPANISH))) == list(map(tables, sections(README)))


def test_the_spanish_readme_has_the_links_of_the_english_one_to_what_is_spanish_where_there_is_such() -> None:
    assert in_the_other_language("docs/lesson.md") == "docs/leccion.md"
    expected = [sorted(map(in_the_other_language, links(section))) for section in sections(README)]
    assert [sorted(links(section)) for section in sections(SPANISH)] == expected


def test_the_spanish_readme_has_the_code_the_numbers_and_the_pictures_of_the_english_one() -> None:
    drawn = [sum(map(is_drawn, blocks(section))) for section in sections(README)]
    assert sum(drawn) > 1
    assert [sum(map(is_drawn, blocks(section))) for section in sections(SPANISH)] == drawn
    assert list(map(facts, sections(SPANISH))) == list(map(facts, sections(README)))


TARGETS = [
    "up",
    "test",
    "test-faults",
    "test-k8s",
    "test-ha",
    "check",
    "format",
    "clean",
    "bench",
    "images",
    "deploy",
    "undeploy",
    "sbom",
    "digests",
    "help",
]


@pytest.mark.parametrize("target", TARGETS)
def test_the_makefile_lists_every_target(target: str) -> None:
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_promises_are_written_down_once_for_people_and_once_for_the_audit() -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(row) for row in rows] == list(PROMISES)


@pytest.mark.parametrize("name", ["docs/guarantees.md", "docs/bugs-found.md", "SECURITY.md"])
def test_every_test_that_a_document_names_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\w+/\w+\.py)`\s+`(test_\w+)`", text)
    assert len(named) > 10
    assert len(named) == text.count("`test_")
    for path, test in named:
        assert re.search(rf"def {test}\(", (ROOT / path).read_text(encoding="utf-8")), (path, test)


async def test_the_journals_documentation_has_the_fields_of_a_real_record(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    store = JsonStore(disk, DOMAIN, lambda: FECHA)
    assert await store.lead()
    alta = TokenPublicado(alta_id="a", fecha=FECHA, token_id=1, nombre="t", imagen="t.jpg", precio=1)
    await store.process_batch([alta.received(FECHA, "compras/a29757b5/1/6")])
    header, record = (json.loads(line) for line in next(tmp_path.glob("*.jsonl")).read_text("utf-8").splitlines())
    text = (ROOT / "docs" / "journal.md").read_text(encoding="utf-8")
    # The rules stand in a purchase, the generation in what was written again.
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [
        *list(record)[:-3],
        "rules",
        "generation",
        *list(record)[-3:],
    ]
    assert all(f'"{field}":' in text for field in header)
    disk.close()


async def test_the_documentation_has_every_metric_with_what_it_says_of_itself(tmp_path: Path) -> None:
    service = Service(domain=COMPRAS, routes=APIRouter(), seed=lambda raw: [], seed_file=tmp_path / "compras.json")
    runtime = Runtime(service, Settings(data=tmp_path), open_json_store)
    FrontDoor(runtime)
    Health("", runtime.metrics.registry).show(dict.fromkeys(GAUGES, 0))
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(zoco_\w+)` \| \w+ \| (.*) \|$", text, re.MULTILINE))
    exposed = {_exposed(one): one.documentation for one in runtime.metrics.registry.collect()}
    # The library's own speak for themselves.
    of_the_process = {name for name in exposed if name.startswith("process_")}
    assert rows == {name: says for name, says in exposed.items() if name not in of_the_process}
    assert set(re.findall(r"`(process_\w+)`", text)) == of_the_process
    await runtime.store.close()


def test_a_service_says_which_version_of_what_it_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = {"service": "tokens", "version": project["version"], "python": python_version()}
    assert Metrics("tokens").registry.get_sample_value("zoco_build_info", labels) == 1


def _exposed(metric: Metric) -> str:
    """The name under which Prometheus finds it."""
    return metric.name + ("_total" if metric.type == "counter" else "")


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_named_of_the_manifests_is_there(file: Path) -> None:
    """Components are named as an overlay would, without `k8s/`, too."""
    named = re.findall(r"(?<![\w./-])(?:k8s|overlays|components)/[\w./-]*[\w-]", file.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "k8s" / name).exists()] == []
