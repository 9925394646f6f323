"""Takes what Zoco says to a person from the code into `ops/locale/`, and compiles it: `make i18n`.

A sentence is what stands at certain places of the code, below. Whoever has something to fill in there gives a template
and its values: an f-string could be translated only when it is finished, and is refused.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from typer import rich_utils

ROOT: Final = Path(__file__).parents[1]
PO: Final = ROOT / "ops/locale/es/LC_MESSAGES/zoco.po"

ERRORS: Final = (
    *("UserError", "LocalError", "NodeError", "KubeError", "NoAnswer", "Unusable", "NotQuiet", "WorkerDied"),
    *("BackupFailed", "DatabaseError", "NoPostgres"),
    *("Unreadable", "NotAShop", "Impossible", "FaultFailed", "NotBuilt"),
)
# Whoever calls one of these says what stands in these places.
SAYING: Final[dict[str, tuple[int, ...]]] = {
    **dict.fromkeys((*ERRORS, "Text", "say", "print", "tell", "fail", "refuse", "Scenario", "Workload", "Line"), (0,)),
    "Row": (0, 1),
    "row": (0, 1),
    "Finding": (0, 2),
    "_well": (0, 1),
    "_bad": (0, 1),
    "Figure": (0, 3),
    "breach": (2,),
    "_breach": (2,),
    "in_part": (1,),
    "table": (0, 1, 2, 3, 4),
}
# Of these the template stands in that place, and as many values behind it as it has fields.
FILLING: Final = dict.fromkeys((*ERRORS, "Text", "say", "fail", "refuse"), 0) | {"row": 1, "_well": 1, "_bad": 1}
# What is put into one of these is a sentence. In another name it is one if it has fields.
NAMES: Final = {"says", "why"}
FIELD: Final = re.compile(r"\{\w+(?::[^{}]*)?\}")
WORD: Final = re.compile("[A-Za-z]{2}")
# Said as they are.
AS_THEY_ARE: Final = {"RabbitMQ", "PostgreSQL", "Porcupine", "zoco up"}
# What Typer says, and has no name for.
TYPER: Final = (
    *("[OPTIONS]", "COMMAND [ARGS]...", "<int>", "<int range>", "<float>", "<float range>", "<path>", "<str>"),
    *("Show this message and exit.", "Missing command.", "Install completion for the current shell."),
    "Show completion for the current shell, to copy it or customize the installation.",
    "Input should be a valid number, unable to parse string as a number",
    "Input should be a valid integer, unable to parse string as an integer",
)


class Wrong(Exception):
    """The code says something that cannot be translated. One sentence: where, and what to do."""


def sentences() -> Iterator[tuple[str, str]]:
    """Each sentence, and the file in which it is said. Raises Wrong."""
    for folder in ("ops", "zoco", "loadgen"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            file = str(path.relative_to(ROOT))
            yield from ((text, file) for text in said(path.read_text(encoding="utf-8"), file))
    yield from foreign()


def foreign() -> Iterator[tuple[str, str]]:
    """What is said where no sentence of ours stands: Typer's words, and the promises, which the audit has as data."""
    sys.path.insert(0, str(ROOT))
    from loadgen.audit.verdict import PROMISES  # noqa: PLC0415
    from zoco.translated import SENTENCES, TITLES  # noqa: PLC0415

    yield from ((text, "loadgen/audit/verdict.py") for text in PROMISES.values())
    titles = [str(getattr(rich_utils, name)) for name in TITLES]
    yield from ((text, "zoco/translated.py") for text in (*titles, *SENTENCES, *TYPER))


def said(source: str, file: str) -> Iterator[str]:
    """The sentences of a file. Raises Wrong."""
    tree = ast.parse(source)
    for text in _said(tree, file):
        if WORD.search(FIELD.sub("", text)) and text not in AS_THEY_ARE:
            yield text
    check_values(tree, file)


def _said(tree: ast.AST, file: str) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args) if name in SAYING:
                for place in SAYING[name]:
                    yield from literals(args[place], file) if place < len(args) else ()
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in NAMES:
                yield from literals(value, file)
            case ast.Assign(targets=[ast.Name()], value=ast.Constant(value=str(text))) if FIELD.search(text):
                yield text
            case ast.keyword(arg="help", value=value):
                yield from literals(value, file)
            case ast.FunctionDef(name=name, decorator_list=decorators) if file.startswith("zoco/"):
                if name == Path(file).stem or any(".command(" in ast.unparse(one) for one in decorators):
                    yield ast.get_docstring(node) or ""


def literals(node: ast.AST, file: str) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from (*literals(one, file), *literals(other, file))
        case ast.JoinedStr(values=parts, lineno=line):
            if WORD.search("".join(str(part.value) for part in parts if isinstance(part, ast.Constant))):
                raise Wrong(f"{file}:{line} says an f-string: give the template and its values, as a Text or to say()")


def check_values(tree: ast.AST, file: str) -> None:
    """A template has as many values as fields: whoever says it would fail otherwise, and seldom. Raises Wrong."""
    named = [(node.lineno, node.targets[0], node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args) if name in FILLING:
                template, *values = args[FILLING[name] :] or [ast.Constant(None)]
                if isinstance(template, ast.Name):
                    before = [
                        (line, value)
                        for line, target, value in named
                        if isinstance(target, ast.Name) and target.id == template.id and line < node.lineno
                    ]
                    template = max(before, key=lambda one: one[0], default=(0, template))[1]
                if any(isinstance(one, ast.Starred) for one in values):
                    continue
                if values and not isinstance(template, ast.Constant):
                    raise Wrong(f"{file}:{node.lineno} has values, and its template stands elsewhere")
                fields = FIELD.findall(str(template.value)) if isinstance(template, ast.Constant) else []
                if len(fields) != len(values):
                    raise Wrong(f"{file}:{node.lineno} has {len(values)} values, and {len(fields)} fields")
                check_words(values, file)
            # A function that gives a sentence gives a Text: who uses it for a value cannot know.
            case ast.Return(value=ast.expr() as value):
                check_words([value], file, " ")


def check_words(values: list[ast.expr], file: str, like: str = "") -> None:
    """Words in a value are a Text: a string there is a name, and stays as it is. Raises Wrong."""
    for value in values:
        match value:
            case ast.BoolOp(values=inner):
                check_words(inner, file, like)
            case ast.IfExp(body=one, orelse=other):
                check_words([one, other], file, like)
            case ast.Constant(value=str(text)) if WORD.search(text) and like in text:
                raise Wrong(f"{file}:{value.lineno} fills in words, or gives them: make them a Text")


def updated() -> Catalog:
    """The catalogue, with the sentences of the code: new ones have no translation, changed ones a doubtful one."""
    template = Catalog()
    for text, file in sentences():
        template.add(text, locations=[(file, 0)])
    catalogue = written()
    catalogue.update(template, update_creation_date=False)
    for message in catalogue:
        # A per cent sign is no format of ours.
        message.flags.discard("python-format")
    return catalogue


def written() -> Catalog:
    with PO.open("rb") as file:
        return read_po(file)


def as_po(catalogue: Catalog) -> bytes:
    file = io.BytesIO()
    write_po(file, catalogue, width=120, include_lineno=False, ignore_obsolete=True)
    return file.getvalue()


def as_mo(catalogue: Catalog) -> bytes:
    """Without what is doubtful."""
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def untranslated(catalogue: Catalog) -> list[str]:
    return [str(message.id) for message in catalogue if message.id and (message.fuzzy or not message.string)]


def main() -> int:
    try:
        catalogue = updated()
    except Wrong as wrong:
        sys.exit(str(wrong))
    PO.write_bytes(as_po(catalogue))
    PO.with_suffix(".mo").write_bytes(as_mo(catalogue))
    for text in untranslated(catalogue):
        print(f"{PO.relative_to(ROOT)} needs a translation of: {text}")
    return bool(untranslated(catalogue))


if __name__ == "__main__":
    sys.exit(main())
