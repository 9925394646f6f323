"""What `zoco audit` says of what it cannot judge: one sentence and an exit code, and never that the promises hold."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from audit_shop import CLIENT
from audit_stories import STORIES
from edited_books import SERVICES

ZOCO = Path(sys.executable).with_name("zoco")
SEEDS = Path(__file__).parents[2] / "services"
NOT_A_SHOP, UNREADABLE = 2, 3
# To root everything can be read: it becomes somebody else.
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two that nobody may change."""
    folder = tmp_path_factory.mktemp("shops")
    for seed in (1, 2):
        STORIES["ordinary"].write(folder / str(seed), seed)
    return folder / "1", folder / "2"


@pytest.fixture
def shop(shops: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(shops[0], tmp_path / "shop")
    return tmp_path / "shop"


def zoco(*words: object, user: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*user, str(ZOCO), "audit", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused(code: int, *words: object, user: tuple[str, ...] = ()) -> str:
    """The sentence, of which there is one, on stderr."""
    answer = zoco(*words, user=user)
    assert (answer.returncode, answer.stdout) == (code, ""), answer
    (sentence,) = answer.stderr.splitlines()
    assert sentence.startswith("zoco: ")
    return sentence


def journal(shop: Path, service: str) -> Path:
    return min((shop / service).glob("journal-*.jsonl"))


def test_this_shop_holds(shop: Path) -> None:
    answer = zoco("--data", shop, "--client", shop / CLIENT)
    assert answer.returncode == 0, answer
    assert "lost 0, doubled 0, oversold 0" in answer.stdout


@pytest.mark.parametrize("what", ["nosuch", "empty", "file", "full of other things"])
def test_a_folder_that_is_no_shop(tmp_path: Path, what: str) -> None:
    data = tmp_path / what
    match what:
        case "empty":
            data.mkdir()
        case "file":
            data.write_text("[]")
        case "full of other things":
            (data / "photos").mkdir(parents=True)
            (data / "tokens.json").write_text("[]")
    assert f"{data} has none of the folders compras, tokens, usuarios, transacciones" in refused(
        NOT_A_SHOP, "--data", data
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_journal_of_a_newer_format(shop: Path, service: str) -> None:
    file = journal(shop, service)
    file.write_bytes(file.read_bytes().replace(b'{"format":1,', b'{"format":2,', 1))
    assert f"{file} has format 2; this audit reads 1: use the audit of that version" in refused(
        UNREADABLE, "--data", shop
    )


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a file"])
def test_a_missing_book(shop: Path, service: str, left: str) -> None:
    shutil.rmtree(shop / service)
    match left:
        case "an empty folder":
            (shop / service).mkdir()
        case "a file":
            (shop / service).touch()
    assert f"there is no journal in {shop / service}: the book is missing" in refused(UNREADABLE, "--data", shop)


def test_a_segment_that_is_missing_from_a_book(shop: Path) -> None:
    file = journal(shop, "tokens")
    file.unlink()
    assert str(file) in refused(UNREADABLE, "--data", shop)


def test_a_mark_of_what_was_never_a_segment_is_no_loss(shop: Path) -> None:
    """As of a book that was being written again when its process was killed."""
    (shop / "tokens" / "rebuilt-00000002-000001.mark").touch()
    assert zoco("--data", shop, "--client", shop / CLIENT).returncode == 0


def books(shop: Path) -> Path:
    return shop / "tokens"


def a_journal(shop: Path) -> Path:
    return journal(shop, "usuarios")


def a_mark(shop: Path) -> Path:
    return max((shop / "compras").glob("*.mark"))


def clients(shop: Path) -> Path:
    return shop / CLIENT


def a_seed(shop: Path) -> Path:
    return shop / "seeds" / "tokens.json"


@pytest.mark.parametrize("what", [books, a_journal, a_mark, clients, a_seed, lambda shop: shop])
def test_what_one_has_no_right_to_read(shop: Path, what: Callable[[Path], Path]) -> None:
    """As who has no rights: root reads everything, and becomes nobody for this."""
    (shop / "seeds").mkdir()
    for name in ("usuarios", "tokens"):
        shutil.copy(SEEDS / name / f"{name}.json", shop / "seeds")
    user = ()
    if os.geteuid() == 0:
        if shutil.which(NOBODY[0]) is None:
            pytest.skip("NOT TESTED: root has every right, and there is no setpriv to become somebody else")
        user = NOBODY
        # pytest's own folders are its user's alone.
        for above in shop.parents:
            if above.stat().st_mode & 0o005 != 0o005:
                above.chmod(above.stat().st_mode | 0o005)
        for path in shop.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
    words = ("--data", shop, "--client", shop / CLIENT, "--seed", shop / "seeds")
    assert zoco(*words, user=user).returncode == 0
    what(shop).chmod(0)
    sentence = refused(UNREADABLE, *words, user=user)
    what(shop).chmod(0o755)
    assert "cannot be read (Permission denied): read it as who" in sentence
    assert str(what(shop)) in sentence


def test_a_clients_journal_of_another_shop(shop: Path, shops: tuple[Path, Path]) -> None:
    sentence = refused(NOT_A_SHOP, "--data", shop, "--client", shops[1] / CLIENT)
    assert f"{shops[1] / CLIENT} is of another shop" in sentence


def test_one_of_several_clients_journals_is_of_another_shop(shop: Path, shops: tuple[Path, Path]) -> None:
    words = ("--client", shop / CLIENT, "--client", shops[1] / CLIENT)
    assert f"{shops[1] / CLIENT} is of another shop" in refused(NOT_A_SHOP, "--data", shop, *words)


@pytest.mark.parametrize(
    ("says", "code", "sentence"),
    [
        ('{"client":2}\n', UNREADABLE, "has format 2; this audit reads 1"),
        ('{"client":1}\n{"n":1,"as', UNREADABLE, "line 2 is cut off"),
        ("# Zoco\n", UNREADABLE, "line 1 cannot be read"),
        ("[]\n", UNREADABLE, "line 1 cannot be read: it is no note of a client"),
        ('{"nombre":"Ana"}\n', UNREADABLE, "line 1 cannot be read: it is no note of a client"),
        (None, NOT_A_SHOP, "cannot be read (No such file or directory): name it with --client"),
    ],
)
def test_what_is_no_clients_journal(shop: Path, says: str | None, code: int, sentence: str) -> None:
    file = shop / "other.jsonl"
    if says is not None:
        file.write_text(says, encoding="utf-8")
    found = refused(code, "--data", shop, "--client", file)
    assert str(file) in found
    assert sentence in found


def test_two_clients_journals_in_one_file(shop: Path) -> None:
    """Whose lines come first says nothing of who came first."""
    file = shop / "all.jsonl"
    file.write_bytes((shop / CLIENT).read_bytes() * 2)
    begins = file.read_bytes().count(b"\n") // 2 + 1
    sentence = refused(NOT_A_SHOP, "--data", shop, "--client", file)
    assert f"{file}, line {begins}: another journal begins there; name each with a --client of its own" in sentence


@pytest.mark.parametrize("says", [None, "not JSON", "{}", "[3]", '[{"nombre": "Ana"}]'])
def test_what_is_no_seed(shop: Path, says: str | None) -> None:
    seeds = shop / "seeds"
    seeds.mkdir()
    if says is not None:
        (seeds / "usuarios.json").write_text(says, encoding="utf-8")
        shutil.copy(SEEDS / "tokens" / "tokens.json", seeds)
    assert "name the folder of the seed's files" in refused(NOT_A_SHOP, "--data", shop, "--seed", seeds)
