"""What Zoco says to a person: every sentence of the code is in the catalogue, with its Spanish, and no other is."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from gettext import GNUTranslations
from itertools import chain
from pathlib import Path

import catalogue
import pytest
import typer
from babel.messages.pofile import read_po
from catalogue import AS_THEY_ARE, PO, ROOT, Wrong
from languages import reading

from loadgen.audit import model
from loadgen.audit.text import NotAShop
from loadgen.audit.text import Text as AuditText
from loadgen.bench.figures import Findings
from loadgen.bench.table import markdown
from loadgen.drill.report import html
from loadgen.load.meter import Meter
from loadgen.load.rows import row
from ops.errors import UserError
from ops.i18n import LOCALE, VARIABLES, Text, language, say
from ops.i18n import catalogue as spoken
from zoco.cli import app

SPANISH = {str(message.id): str(message.string) for message in catalogue.written() if message.id}
MAKE = "run `make i18n`"


def test_every_sentence_is_in_the_catalogue_and_no_other() -> None:
    sentences = {text for text, _ in catalogue.sentences()}
    assert sentences - SPANISH.keys() == set(), MAKE
    assert SPANISH.keys() - sentences == set(), MAKE


def test_every_sentence_has_its_spanish() -> None:
    assert catalogue.untranslated(catalogue.written()) == []


def test_a_translation_has_the_same_fields() -> None:
    for english, spanish in SPANISH.items():
        fields = re.findall(r"\{.*?\}", english)
        assert sorted(fields) == sorted(re.findall(r"\{.*?\}", spanish)), english
        # By their names values are found: none is there twice.
        assert len({*fields}) == len(fields), english


def test_the_catalogue_is_as_make_i18n_leaves_it_and_compiled() -> None:
    assert catalogue.as_po(catalogue.updated()) == PO.read_bytes(), MAKE
    assert catalogue.as_mo(catalogue.written()) == PO.with_suffix(".mo").read_bytes(), MAKE
    assert PO.parent.parent.parent == LOCALE


def test_what_is_doubtful_is_asked_for_and_not_said() -> None:
    found = read_po(io.BytesIO(PO.read_bytes().replace(b'\nmsgid "lost"', b'\n#, fuzzy\nmsgid "lost"')))
    assert catalogue.untranslated(found) == ["lost"]
    assert GNUTranslations(io.BytesIO(catalogue.as_mo(found))).gettext("lost") == "lost"


def test_babel_is_for_who_changes_the_catalogue_only() -> None:
    files = chain.from_iterable(
        (ROOT / name).rglob("*.py") for name in ("broker", "services", "ops", "loadgen", "zoco")
    )
    assert [file for file in files if re.search(r"\b(import|from) babel\b", file.read_text(encoding="utf-8"))] == []


def test_what_is_said_as_it_is_is_said_somewhere() -> None:
    code = "".join(
        file.read_text(encoding="utf-8") for name in ("ops", "loadgen") for file in (ROOT / name).rglob("*.py")
    )
    assert [text for text in AS_THEY_ARE if f'"{text}"' not in code] == []


REFUSED = {
    'raise KubeError(f"no pod of {name}")': "an f-string",
    'out.say(f"gone: {data}" if data else "nothing")': "an f-string",
    'self.breach(3, about, f"sold to {buyer}", book)': "an f-string",
    'why = f"sold to {buyer}"': "an f-string",
    'raise LocalError("{data} is gone")': "0 values, and 1 fields",
    'Text("{one} of {other}", one)': "1 values, and 2 fields",
    'says = "{one} of {other}"\nraise LocalError(says, one, other, third)': "3 values, and 2 fields",
    'says = "nothing"\nrow("lost", says, one)': "1 values, and 0 fields",
    "say(sentence, one)": "its template stands elsewhere",
    'Text("{what} was answered", told or "nothing")': "make them a Text",
    'def why(self) -> str:\n    return "no answer" if self.away else ""': "make them a Text",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_could_not_be_translated_is_refused(code: str) -> None:
    with pytest.raises(Wrong, match=REFUSED[code]):
        list(catalogue.said(code, "zoco/cli.py"))


SAID = {
    'fail("one {name}", name)': ["one {name}"],
    'says = "one" if name else "other"': ["one", "other"],
    'drained = "at most {backlog:,}"': ["at most {backlog:,}"],
    'name = "one"': [],
    'typer.Option("--yes", help="Do not ask.")': ["Do not ask."],
    '@app.command()\ndef up() -> None:\n    """Start it."""': ["Start it."],
    'def cli() -> None:\n    """Start it."""': ["Start it."],
    'def other() -> None:\n    """Start it."""': [],
    'row("RabbitMQ", f"{count:,} ({value} s)")': [],
    "say(sentence, *values)": [],
}


@pytest.mark.parametrize("code", SAID)
def test_sentences_are_found_where_they_are_said(code: str) -> None:
    assert list(catalogue.said(code, "zoco/cli.py")) == SAID[code]


def test_a_sentence_is_english_and_can_still_be_said_in_spanish() -> None:
    left = Text("the end of {unseen:,} of {purchases:,} purchases was not seen", 1000, 2000)
    text = Text("not checked: {reason}", left)
    assert text == "not checked: the end of 1,000 of 2,000 purchases was not seen"
    with reading("es_ES.UTF-8"):
        assert say(text) == "sin comprobar: no se vio el final de 1,000 de 2,000 compras"
        assert say("not checked: {reason}", left) == say(text)
        assert say(Text(text)) == say(text) == say(pickle.loads(pickle.dumps(text)))
    assert say(text) == text and json.dumps([text]) == f'["{text}"]'
    # What a reader types, or a service says, is no sentence of ours.
    with reading("es"):
        assert say("not checked: {reason}", "all") == "sin comprobar: all"
        assert [say("all"), say("all of it"), say(""), say("{is} {gone")] == ["todos", "all of it", "", "{is} {gone"]


@pytest.mark.parametrize("copied", [False, True])
def test_an_error_knows_its_sentence(copied: bool) -> None:
    errors: list[Exception] = [
        UserError("{data} is gone", "a{b"),
        NotAShop("{data} is gone", "a{b"),
        UserError(str(UserError("{data} is gone", "a{b"))),
    ]
    if copied:
        errors = [pickle.loads(pickle.dumps(error)) for error in errors]
    assert [str(error) for error in errors] == ["a{b is gone"] * 3
    with reading("es"):
        assert [say(str(error)) for error in errors] == ["a{b ya no está"] * 3
        error = model.Impossible("nobody holds this token")
        why = AuditText("no correct shop acts on this: {error}", error)
        assert say(why) == "ninguna tienda correcta actúa por esto: nadie tiene apartado este token"
        assert say(Text("{data} is gone", OSError("lost or not"))) == "lost or not ya no está"


def test_a_missing_translation_is_english() -> None:
    with reading("es"):
        assert say("{count:,} of {all} said", 1000, Text("lost")) == "1,000 of perdidas said"


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
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
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
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    spoken.cache_clear()
    assert language() == ("es" if spanish else "en")
    assert say("lost") == ("perdidas" if spanish else "lost")
    spoken.cache_clear()


def test_a_report_and_the_tables_of_the_bench_are_in_the_readers_language() -> None:
    meter = Meter()
    meter.arrives(0)
    meter.accepts("a", 0, 0.1)
    findings = Findings()
    findings.note("p50", [20.5], note=Text("{rate:,.0f}/s for {seconds:.0f} s", 500, 15))
    with reading("es_ES.UTF-8"):
        page = html("zoco drill", meter, [], [row("lost", "0"), row("money", "exact")])
        tables = markdown(findings, say)
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
