"""The business, broken in every way that mutmut knows and in some more, and whether the audit alone sees it.

.venv/bin/python tests/audit/mutants.py [FILE ...] [--sample N --seed S] [--jobs N] [--match TEXT] [--healthy all]

A mutant is one change of one file: of the four `domain.py`. It runs in a child of its own,
through small stories with the real stores and then, as long as the audit sees nothing, through worlds of the
simulation. Only the audit judges, and it imports nothing of ours. What happens to a mutant that breaks down:
- a decision that raises is a dead letter, as in production: promise 11;
- a decision that never ends is stopped after some seconds, and the books are audited as they are then: what was
  accepted and has no end breaks promise 4;
- a service whose store raises ends, and is down from then on: again promise 4, or a client's 500;
- a service that cannot be imported, or ends at its first message, makes no shop (`no shop`); one that writes what is no
  record has books that the audit refuses to judge (`unreadable`). Of neither it says that it holds.
Each prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import libcst as cst
import structlog
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

from loadgen.audit.text import Unreadable

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
# As a program it finds what pytest finds.
sys.path += [str(HERE.parent), str(HERE.parent / "simulation")]
from books_in_folder import verdict_of  # noqa: E402

FILES: Final = (
    "services/compras/domain.py",
    "services/tokens/domain.py",
    "services/usuarios/domain.py",
    "services/transacciones/domain.py",
)
# Stories and worlds take less than a second of the processor, a crowd ten; a loaded machine takes longer for it.
STORY_SECONDS: Final = 30
WORLDS: Final = 12
MEMORY_BYTES: Final = 3 * 2**30
# Fields and words that one could take for each other.
FIELDS: Final = (
    ("usuario_id", "token_id"),
    ("nombre", "imagen"),
    ("fecha", "received_at"),
    ("precio", "precio_maximo"),
)
WORDS: Final = (
    ("solicitada", "reservada", "pagada", "confirmada", "registrada", "rechazada"),
    ("usuario-inexistente", "saldo-insuficiente"),
    ("token-inexistente", "token-vendido", "token-disputado", "ya-en-cola", "precio-mayor"),
)
COMPARISONS: Final = (
    cst.LessThan, cst.LessThanEqual, cst.GreaterThan, cst.GreaterThanEqual, cst.Equal, cst.NotEqual,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. `function` is empty for what stands outside of all; `line` is the first that changes."""

    file: str
    function: str
    line: int
    text: str
    change: str
    code: str

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What it is called in a list: lines may move."""
        return self.file, self.function, self.text, self.change


# What mutmut does not know


def turned_round(node: cst.If | cst.While | cst.Assert | cst.IfExp) -> Iterator[cst.CSTNode]:
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def other_comparison(node: cst.ComparisonTarget) -> Iterator[cst.CSTNode]:
    if isinstance(node.operator, COMPARISONS):
        for other in COMPARISONS:
            if not isinstance(node.operator, other):
                yield node.with_changes(operator=other())


def one_less(node: cst.Integer) -> Iterator[cst.CSTNode]:
    if node.evaluated_value > 0:
        yield node.with_changes(value=repr(node.evaluated_value - 1))


def other_field(node: cst.Attribute) -> Iterator[cst.CSTNode]:
    for pair in FIELDS:
        if node.attr.value in pair:
            yield node.with_changes(attr=cst.Name(pair[1 - pair.index(node.attr.value)]))


def other_word(node: cst.SimpleString) -> Iterator[cst.CSTNode]:
    for words in WORDS:
        if node.evaluated_value in words:
            other = words[(words.index(str(node.evaluated_value)) + 1) % len(words)]
            yield node.with_changes(value=f'"{other}"')


OURS: Final[list[tuple[type, Callable[[Any], Iterable[cst.CSTNode]]]]] = [
    (cst.If, turned_round),
    (cst.While, turned_round),
    (cst.Assert, turned_round),
    (cst.IfExp, turned_round),
    (cst.ComparisonTarget, other_comparison),
    (cst.Integer, one_less),
    (cst.Attribute, other_field),
    (cst.SimpleString, other_word),
]


def mutants_of(file: str) -> list[Mutant]:
    """Every mutant of a file, none of them twice."""
    source = (ROOT / file).read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = MutationVisitor([*mutation_operators, *OURS], IgnoredCode(set(), set(), set()))
    module = wrapper.visit(visitor)
    pieces = [module.code_for_node(statement) for statement in module.body]
    tail = "".join(module.code_for_node(line) for line in module.footer)
    head = source.removesuffix("".join(pieces) + tail)
    where = {id(node): place for place, statement in enumerate(module.body) for node in _below(statement)}
    found: dict[str, Mutant] = {}
    again: Counter[tuple[str, str, str]] = Counter()
    for mutation in visitor.mutations:
        place = where[id(mutation.original_node)]
        # To replace a node in the whole module takes a hundred times as long.
        mutated = module.body[place].deep_replace(mutation.original_node, mutation.mutated_node)
        assert isinstance(mutated, cst.CSTNode)
        code = "".join((head, *pieces[:place], module.code_for_node(mutated), *pieces[place + 1 :], tail))
        if code != source and code not in found:
            outer = mutation.contained_by_top_level_function
            function = outer.name.value if isinstance(outer, cst.FunctionDef) else ""
            line, text = _first_changed(source, code)
            change = _change(module.code_for_node(mutation.original_node), module.code_for_node(mutation.mutated_node))
            again[function, text, change] += 1
            # The same twice in a line.
            if (number := again[function, text, change]) > 1:
                change += f" ({number})"
            found[code] = Mutant(file, function, line, text, change, code)
    return sorted(found.values(), key=lambda mutant: (mutant.line, mutant.change))


def _below(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    yield node
    for child in node.children:
        yield from _below(child)


def _first_changed(before: str, after: str) -> tuple[int, str]:
    lines, others = before.splitlines(), after.splitlines()
    at = next(n for n, line in enumerate(lines) if n >= len(others) or others[n] != line)
    return at + 1, lines[at].strip()


def _change(before: str, after: str) -> str:
    """The part that differs, in one line."""
    one, other = (re.findall(r"\w+|[^\w\s]| ", " ".join(code.split())) for code in (before, after))
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    gone, come = ("".join(part[start : len(part) - end]).strip(" ,") for part in (one, other))
    return f"{gone or 'nothing'} -> {come or 'nothing'}"


# One mutant's life


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from other source than its file's."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> types.CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, loader: _Loader) -> None:
        self.name, self.loader = name, loader

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self.loader) if fullname == self.name else None


def infect(mutant: Mutant) -> None:
    """Make this process run the mutant. Raises whatever its import raises."""
    name = mutant.file.removesuffix(".py").replace("/", ".")
    loader = _Loader(name, str(ROOT / mutant.file), mutant.code)
    if mutant.function:
        # Whoever has imported the function has the same one: only what it does is replaced.
        twin = types.ModuleType(name)
        exec(loader.get_code(name), vars(twin))
        healthy, ill = getattr(sys.modules[name], mutant.function), getattr(twin, mutant.function)
        healthy.__code__, healthy.__defaults__ = ill.__code__, ill.__defaults__
        healthy.__kwdefaults__ = ill.__kwdefaults__
        return
    for known in [known for known in sys.modules if known.split(".")[0] in OWN_MODULES]:
        del sys.modules[known]
    sys.meta_path.insert(0, _Finder(name, loader))
    _import_ours()


OWN_MODULES: Final = ("services", "mutant_stories", "sim_books", "sim_world", "sim_broker", "sim_disk", "sim_loop")


def _import_ours() -> None:
    """The worlds only where they are needed."""
    importlib.import_module("mutant_stories")


class Down(Exception):
    """A service ends as soon as it is started, and the books of the others are in order: there is no shop to judge."""


def judged(mutant: Mutant | None, folder: Path, *, only_stories: bool = False) -> tuple[str, list[int]]:
    """How the mutant (None: the healthy shop) was seen, and the promises that it broke; ("survived", [])."""
    if mutant is not None:
        try:
            infect(mutant)
        except Exception as error:
            return f"no shop: {type(error).__name__}", []
    for name, live in _lives(mutant):
        if only_stories and not name.startswith("chapter"):
            break
        place = folder / name
        place.mkdir()
        try:
            broken = live(place)
        except Down as error:
            return f"no shop: {error} does not run", []
        except Unreadable as error:
            return f"unreadable: {str(error).replace(str(folder), '')}", []
        if broken:
            return name, broken
        shutil.rmtree(place)
    return "survived", []


def _lives(mutant: Mutant | None) -> Iterator[tuple[str, Callable[[Path], list[int]]]]:
    for chapter in range(len(sys.modules["mutant_stories"].CHAPTERS)):
        yield f"chapter {chapter}", lambda place, chapter=chapter: _story(place, chapter)  # type: ignore[misc]
    importlib.import_module("sim_books")
    for seed in range(WORLDS):
        yield f"world {seed}", lambda place, seed=seed: _world(seed, place)  # type: ignore[misc]
    if mutant is None or "MAX_COLA" in mutant.text:
        yield "a crowd", lambda place: _story(place, None)


def _story(folder: Path, chapter: int | None) -> list[int]:
    """A chapter with a line that is short, or (None) as many as may wait, with the line that the shop really has."""
    stories = sys.modules["mutant_stories"]
    tokens: Any = sys.modules["services.tokens.domain"]
    line, short = tokens.MAX_COLA, chapter is not None
    tokens.MAX_COLA = stories.SHORT_LINE if short else line
    shop = stories.Shop(folder)

    async def tell() -> None:
        try:
            await shop.start()
        except Exception as error:
            raise Down(type(error).__name__) from error
        with _time_limit(stories.Hung):
            await (stories.told(shop, chapter) if short else stories.crowded(shop))

    try:
        asyncio.run(tell())
    except stories.Hung:
        pass
    finally:
        tokens.MAX_COLA = line
    # A service that ends again and again shows nothing.
    live = None if shop.down else shop.live()
    shop.client_journal()
    shop.stop()
    broken = audited(folder, live, shop.dead, line=stories.SHORT_LINE if short else stories.WHOLE_LINE)
    if shop.down and not broken:
        raise Down(", ".join(sorted(shop.down)))
    return broken


def _world(seed: int, folder: Path) -> list[int]:
    sim, books = sys.modules["sim_world"], sys.modules["sim_books"]
    stories = sys.modules["mutant_stories"]
    world = sim.World(seed)
    try:
        try:
            with _time_limit(stories.Hung):
                world.run()
        except (Exception, stories.Hung):
            # Whatever became of it, the books are what they are.
            pass
        books.write_books(world, folder)
        try:
            live = books.live(world)
        except Exception:
            live = None
        dead = books.dead_letters(world)
    finally:
        world.loop.close()
    return audited(folder, live, dead, line=world.max_cola)


class _time_limit:  # noqa: N801 - it reads as a statement
    """Raise `what` in here when it takes too long, by the processor's time."""

    def __init__(self, what: type[BaseException]) -> None:
        self.what = what

    def __enter__(self) -> None:
        def stop(*_: Any) -> None:
            raise self.what

        signal.signal(signal.SIGPROF, stop)
        signal.setitimer(signal.ITIMER_PROF, STORY_SECONDS)

    def __exit__(self, *_: Any) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)


def audited(folder: Path, live: Any, dead: Any, *, line: int) -> list[int]:
    """The promises that these books break."""
    verdict = verdict_of(folder, live, dead, line)
    if live is None:
        assert 8 in verdict.unchecked, "what nobody showed counts as checked"
    if os.environ.get("SHOW"):
        for breach in verdict.breaches:
            print(breach, file=sys.stderr)
    return sorted(verdict.counts)


# Many of them


@dataclass(frozen=True, slots=True)
class Outcome:
    file: str
    function: str
    line: int
    text: str
    change: str
    seen: str
    promises: list[int]


def run(mutants: Sequence[Mutant], jobs: int) -> Iterator[Outcome]:
    """Each in a child of this process, so many at once."""
    running: dict[int, tuple[Mutant, int]] = {}
    waiting = list(mutants)[::-1]
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            reader, writer = os.pipe()
            if (pid := os.fork()) == 0:
                os.close(reader)
                _child(mutant, writer)
            os.close(writer)
            running[pid] = mutant, reader
        pid, status = os.wait()
        mutant, reader = running.pop(pid)
        with os.fdopen(reader) as pipe:
            said = pipe.read()
        seen, promises = json.loads(said) if said else (f"no answer: status {status}", [])
        yield Outcome(mutant.file, mutant.function, mutant.line, mutant.text, mutant.change, seen, promises)


def _child(mutant: Mutant, writer: int) -> None:
    """Never returns."""
    folder = Path(tempfile.mkdtemp(prefix="zoco-mutant-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    if not os.environ.get("SHOW"):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    try:
        result = judged(mutant, folder)
    except BaseException as error:
        # Not the mutant's fault as a rule: what the audit itself does not stand must be seen.
        where = traceback.extract_tb(error.__traceback__)[-1]
        result = f"no verdict: {type(error).__name__}: {error} ({where.filename}:{where.lineno})", []
    shutil.rmtree(folder, ignore_errors=True)
    os.write(writer, json.dumps(result).encode())
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--healthy", choices=("stories", "all"), help="first the shop as it is, which must survive")
    parser.add_argument("--these", type=Path, help="instead of all: a JSON list of mutants, as `mutants_of` made them")
    parser.add_argument("--match", help="only those whose text or change has this")
    options = parser.parse_args()
    # What the services log is not what this prints.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    # All is loaded before anything is broken.
    for name in ("mutant_stories", "sim_books"):
        importlib.import_module(name)
    if options.healthy:
        with tempfile.TemporaryDirectory() as folder:
            healthy = judged(None, Path(folder), only_stories=options.healthy == "stories")
            print(json.dumps({"healthy": healthy}), flush=True)
    if options.these:
        mutants = [Mutant(**one) for one in json.loads(options.these.read_text(encoding="utf-8"))]
    else:
        mutants = [mutant for file in options.files for mutant in mutants_of(file)]
    if options.match:
        mutants = [mutant for mutant in mutants if options.match in f"{mutant.text} {mutant.change}"]
    if options.sample:
        mutants = Random(options.seed).sample(mutants, min(options.sample, len(mutants)))
    for outcome in run(mutants, options.jobs):
        print(json.dumps(asdict(outcome), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
