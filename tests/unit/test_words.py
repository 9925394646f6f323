"""`zoco` in Spanish: every sentence that a person reads has its Spanish form, and the table has no other."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from loadgen.audit.verdict import PROMISES
from loadgen.bench.figures import Findings
from loadgen.bench.table import markdown
from loadgen.drill.faults import SCENARIOS
from loadgen.drill.report import html
from loadgen.load.meter import Meter
from loadgen.load.mixes import MIXES
from ops import i18n as words
from ops.spanish import SPANISH, TYPER_FILLS, TYPER_SAYS
from zoco.cli import app

ROOT = Path(__file__).parents[2]
AUDIT = ("audit", "books", "clients", "findings", "live", "model", "selling", "showing", "verdict")
FILES = [
    *(f"zoco/{name}.py" for name in ("audit", "bench", "cli", "drill", "front_door", "load", "options")),
    *(f"ops/{name}.py" for name in ("cluster", "doctor", "rabbitmq", "running", "supervisor")),
    *(f"loadgen/audit/{name}.py" for name in AUDIT),
    *(
        f"loadgen/drill/{name}.py"
        for name in (
            "certificate",
            "drill",
            "exposure",
            "faults",
            "footprint",
            "pods",
            "porcupine",
            "reconcile",
            "report",
            "shop",
        )
    ),
    *("loadgen/drill/target.py", "loadgen/terminal.py"),
    *(f"loadgen/load/{name}.py" for name in ("client", "crew", "load", "meter", "rows")),
    *(f"loadgen/bench/{name}.py" for name in ("figures", "run", "table")),
]
# Whoever raises one of these, or calls one of those, says something to a person.
ERRORS = {
    *("LocalError", "NodeError", "KubeError", "Unreadable", "NotAShop", "Impossible", "NotQuiet", "Unusable"),
    *("FaultFailed", "NoAnswer", "NotBuilt", "UserError"),
}
SAYING = {"fromkeys", "fail", "say", "table", "tell", "print", "Finding", "Figure", "map", "_refuse", "in_part"}
# Constants that are sentences.
TEXTS = {"HELP", "TOP", "THIRD", "BELIEVED", "NO_JOURNAL", "NOT_ASKED", "WAS_SET"}
# What a service says of its role, and the doctor passes on.
ROLES = {"writer", "follower"}
# Functions that put together what is said elsewhere.
MAKING = {
    *("_welcome", "load_rows", "_line", "_left", "_quiet", "rows", "reasons", "_control_rows", "_recovery_rows"),
    *(
        "spread",
        "meaning",
        "_curves",
        "where",
        "_broken",
        "_unchecked",
        "_last_line",
        "limits",
        "measured",
        "_client_says",
        "_wrong",
        "_kind",
        "_failed",
    ),
    *(
        "says",
        "outcome",
        "_said_of",
        "_awaited",
        "_audit_rows",
        "_met_rows",
        "work_rows",
        "block",
        "_audited",
        "who",
        "_own_limit",
    ),
}
# What is said as it is: names, and what is made of nothing but figures or of what others say.
AS_IT_IS = {
    *("RabbitMQ", "Zoco", "zoco", "zoco up", "p50", "p99", "max", "ms", "MB", "token {}"),
    "  curl -s {}/compras -H 'Content-Type: application/json' -H 'Prefer: wait=5' "
    '-d \'{"usuarioId": 1, "tokenId": 101}\'',
    *("  .venv/bin/zoco kill transacciones --for 20{}", "  .venv/bin/zoco queues --watch{}"),
}


def said(tree: ast.AST) -> Iterator[str]:
    """The sentences in a file, with `{}` where something is filled in."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[text, *_]))
                | ast.Return(value=ast.Call(func=ast.Name(id=name), args=[text, *_]))
            ) if name in ERRORS:
                yield from literals(text)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in SAYING:
                for text in node.args:
                    yield from literals(text)
            # Of what a breach is given, a sentence is what has a space in it; the rest are the names of fields.
            case ast.Call(func=ast.Attribute(attr="breach" | "_breach")):
                yield from (text for argument in node.args for text in literals(argument) if " " in text)
            case ast.keyword(arg="help", value=text):
                yield from literals(text)
            case ast.Assign(targets=[ast.Name(id="says" | "left" | "note" | "why" | "reason")], value=text):
                yield from literals(text)
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id="why"), *_])], value=ast.Tuple(elts=[text, *_])):
                yield from literals(text)
            case ast.Assign(targets=[ast.Subscript(value=ast.Attribute(attr="unchecked"))], value=text):
                yield from literals(text)
            case ast.AnnAssign(
                target=ast.Name(id=name),
                value=ast.Constant() as text,
            ) if name in TEXTS:
                yield from literals(text)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name in MAKING:
                for part in node.body[bool(ast.get_docstring(node)) :]:
                    yield from literals(part)


def literals(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)
            for part in parts:
                if isinstance(part, ast.FormattedValue):
                    yield from literals(part.value)
        # What is looked up, compared or given to something else is not said.
        case ast.Subscript() | ast.Compare() | ast.Lambda() | ast.Call(func=ast.Name(id="getattr")):
            pass
        case ast.Call(func=ast.Attribute(attr="get" | "join" | "summary" | "dumps" | "_where"), args=args):
            for one in args:
                if not isinstance(one, ast.Constant):
                    yield from literals(one)
        case ast.Dict():
            pass
        case _:
            for child in ast.iter_child_nodes(node):
                yield from literals(child)


def wanted() -> set[str]:
    found = {text for file in FILES for text in said(ast.parse((ROOT / file).read_text(encoding="utf-8")))}
    found |= {*helps(app), *ROLES}
    found |= {*PROMISES.values(), *(mix.says for mix in MIXES.values()), *(one.says for one in SCENARIOS.values())}
    return {text for text in found - AS_IT_IS if re.search("[A-Za-z]{2}", text.replace("{}", ""))}


def helps(group: typer.Typer) -> Iterator[str]:
    for command in group.registered_commands:
        yield inspect.getdoc(command.callback) or ""
    for inner in group.registered_groups:
        assert inner.typer_instance
        yield from helps(inner.typer_instance)


def test_every_sentence_has_its_spanish_form_and_no_form_is_left_without_a_sentence() -> None:
    assert wanted() - SPANISH.keys() == set()
    assert SPANISH.keys() - wanted() - TYPER_SAYS.keys() == set()


def test_what_stands_as_it_is_stands_somewhere() -> None:
    found = {text for file in FILES for text in said(ast.parse((ROOT / file).read_text(encoding="utf-8")))}
    assert found >= AS_IT_IS


def test_a_spanish_form_has_the_same_things_filled_in() -> None:
    for english in SPANISH.keys() - TYPER_FILLS:
        places = re.findall(r"\{(\d+)(?::say)?\}", SPANISH[english])
        assert sorted(map(int, places)) == list(range(english.count("{}"))), english
        things = [f"thing{number}" for number in range(english.count("{}"))]
        # And no other sentence's pattern takes it for its own.
        assert words.spanish(english.format(*things)) == SPANISH[english].replace(":say", "").format(*things)


# Runs the command with each of these arguments, and prints what came of it: a process for each would take seconds.
RUNS = """
import contextlib, io, json, sys
from zoco import cli
told = []
for arguments in json.loads(sys.argv[1]):
    out, err, sys.argv = io.StringIO(), io.StringIO(), ["zoco", *arguments]
    cli.out.file = out
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            told.append([end.code or 0, out.getvalue(), err.getvalue()])
print(json.dumps(told))
"""


def zoco(runs: list[list[str]], **env: str) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each, on a wide terminal that tells no language but this one."""
    clean = {name: value for name, value in os.environ.items() if name not in words.VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(runs)],
        env={**clean, **env, "COLUMNS": "200", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


def test_the_help_of_every_command_is_spanish_and_none_of_it_english() -> None:
    runs = [[*command, "--help"] for command in commands(app)]
    told = zip(runs, zoco(runs, LANG="C.UTF-8"), zoco(runs, LANG="es_ES.UTF-8"), strict=True)
    for command, (_, english, _), (_, spanish, _) in told:
        assert "Usage: zoco" in english and "Opciones" not in english
        assert "Uso: zoco" in spanish and "Options" not in spanish, command
        assert not re.search(r"<(bool|int|float|path|str)\b", spanish), command
        for text, form in SPANISH.items():
            if " " in text and text in english and text != form:
                assert text not in spanish, (command, text)


def commands(group: typer.Typer) -> Iterator[list[str]]:
    yield []
    for command in group.registered_commands:
        assert command.callback
        yield [command.name or command.callback.__name__]
    for inner in group.registered_groups:
        assert inner.typer_instance
        yield from ([str(inner.name), *rest] for rest in commands(inner.typer_instance))


WRONG = {
    "lod": "No existe la orden 'lod'. ¿Querías decir 'load'?",
    "kill": "Falta el argumento 'service'.",
    "load --rate 0": "'--rate' no vale: tiene que ser 0.1 o más",
    "load --rate x": "'--rate' no vale: tiene que ser un número",
    "buy 1 2 3": "Sobra: 3",
    "kill --fr 2": "No existe la opción --fr (quizá --for)",
    "queues --data": "La opción '--data' necesita un valor.",
    "queues --data {}": "zoco: nada corre en {}: arráncalo con `make up`, o di su carpeta con --data",
    "drill wip": "zoco: scenario no puede ser wip: es uno de transacciones",
    "audit --data {}": "zoco: {} no tiene ninguna de las carpetas",
}


def test_what_is_typed_wrong_is_said_in_spanish(tmp_path: Path) -> None:
    runs = [typed.format(tmp_path).split() for typed in WRONG]
    for says, (code, _, err) in zip(WRONG.values(), zoco(runs, LC_ALL="es_MX.UTF-8"), strict=True):
        assert code == 2
        assert says.format(tmp_path) in err


@pytest.mark.parametrize(
    ("env", "spanish"),
    [
        ({}, False),
        ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "est_EE"}, False),
        ({"LANG": "es"}, True),
        ({"LANG": "es_ES.UTF-8"}, True),
        ({"LANG": "es_ES", "LC_MESSAGES": "en_GB.UTF-8"}, False),
        ({"LANG": "en_GB", "LC_MESSAGES": "es@euro"}, True),
        ({"LANG": "es_ES", "LC_MESSAGES": "es_ES", "LC_ALL": "C"}, False),
        ({"LANG": "es_ES", "LC_ALL": ""}, True),
    ],
)
def test_the_language_is_the_terminals(env: dict[str, str], spanish: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in words.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    words.in_spanish.cache_clear()
    assert words.in_spanish() is spanish
    words.in_spanish.cache_clear()


def test_a_report_and_the_tables_of_the_bench_are_in_the_readers_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "es_ES.UTF-8")
    words.in_spanish.cache_clear()
    meter = Meter()
    meter.arrives(0)
    meter.accepts("a", 0, 0.1)
    page = html("zoco drill", meter, [], [("lost", "0"), ("money", "exact")])
    findings = Findings()
    findings.note("p50", [20.5], note="500/s for 15 s")
    tables = markdown(findings, words.say)
    words.in_spanish.cache_clear()
    assert "<html lang=es>" in page and "<td>dinero</td><td>exacto</td>" in page
    assert "Peticiones por segundo" in page and "202, mediana" in page
    assert not re.search(r"\b(the|second|due|median|lost)\b", page)
    assert "a un tercio del ritmo máximo, p50 (500/s durante 15 s) |  | ≤ 20 ms | 20.5 ms **no llega**" in tables
    assert not re.search(r"\b(the|of|against|goal|missed)\b", tables)


def test_json_is_the_same_in_every_language(tmp_path: Path) -> None:
    looks = ["doctor", "--data", str(tmp_path)]
    runs = [[*looks, "--json"], looks]
    ((_, english, _), _), ((_, spanish, _), (code, shown, _)) = (zoco(runs, LANG=lang) for lang in ("C", "es_ES"))
    # The room on the disk may be another one by then: others run beside this test.
    english, spanish = (re.sub(r"\d+ GiB", "GiB", said) for said in (english, spanish))
    assert json.loads(english) == json.loads(spanish)
    assert f"MAL  zoco up: nada corre en {tmp_path}" in shown
    assert code == 1
