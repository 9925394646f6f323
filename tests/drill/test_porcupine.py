"""Porcupine as the second judge: true histories pass, one answer altered does not, and not judged is never ok."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from generated_books import generate
from histories import Purchase, altered, told, true_history, write

from loadgen.audit.text import Unreadable
from loadgen.drill import porcupine
from loadgen.drill.porcupine import Judgement, judged

# A flood as the drill makes it.
FLOOD = 10_000
ZOCO = Path(sys.executable).with_name("zoco")


def seen(purchases: list[Purchase]) -> list[Purchase]:
    """Those whose end somebody saw: with them all is judged."""
    return [one for one in purchases if one.ended is not None]


def judge(folder: Path, purchases: list[Purchase], *, alone: bool = True, seed: int = 0) -> Judgement:
    return judged([write(folder / "client.jsonl", purchases, Random(seed))], alone=alone)


@pytest.mark.parametrize("seed", range(10))
def test_a_true_history_passes(tmp_path: Path, seed: int) -> None:
    purchases = true_history(Random(seed), tokens=50, buyers=6)
    for alone in (True, False):
        found = judge(tmp_path, purchases, alone=alone, seed=seed)
        assert not found.broken
        assert (found.tokens, found.purchases) == (50, 300)
        assert found.unchecked == f"the end of {300 - len(seen(purchases))} of 300 purchases was not seen"
    # What nobody saw the end of may be left out only where it cannot have bought.
    known = [one for one in purchases if one.ended is not None or one.told != "registrada"]
    assert judge(tmp_path, seen(known), alone=False).holds


def sold_is_told_to_be_late(purchases: list[Purchase]) -> tuple[Purchase, list[Purchase]]:
    """Nobody is left who can have bought, and somebody was told that it is sold."""
    one = next(told(purchases, "registrada"))
    return one, altered(purchases, one, told="token-vendido")


def late_before_anybody_asked(purchases: list[Purchase]) -> tuple[Purchase, list[Purchase]]:
    one = next(told(purchases, "token-vendido"))
    return one, altered(purchases, one, called=-9.0, ended=-8.0)


def two_are_sold(purchases: list[Purchase]) -> tuple[Purchase, list[Purchase]]:
    winners = {one.token for one in told(purchases, "registrada")}
    one = next(one for one in told(purchases, "token-vendido") if one.token in winners)
    return one, altered(purchases, one, told="registrada")


def refused_for_money_when_it_was_sold_long_ago(purchases: list[Purchase]) -> tuple[Purchase, list[Purchase]]:
    winners = {one.token for one in told(purchases, "registrada")}
    one = next(one for one in told(purchases, "token-vendido") if one.token in winners)
    return one, altered(purchases, one, told="saldo-insuficiente", called=40.0, ended=41.0)


def a_reason_that_the_shop_does_not_have(purchases: list[Purchase]) -> tuple[Purchase, list[Purchase]]:
    one = next(told(purchases, "saldo-insuficiente"))
    return one, altered(purchases, one, told="no-me-gusta")


def nobody_knows_the_token_that_was_there_long_ago(purchases: list[Purchase]) -> tuple[Purchase, list[Purchase]]:
    one = next(told(purchases, "registrada"))
    return one, altered(purchases, one, told="token-inexistente", called=40.0, ended=41.0)


ALTERATIONS = (
    nobody_knows_the_token_that_was_there_long_ago,
    sold_is_told_to_be_late,
    late_before_anybody_asked,
    two_are_sold,
    refused_for_money_when_it_was_sold_long_ago,
    a_reason_that_the_shop_does_not_have,
)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("alter", ALTERATIONS)
def test_one_answer_altered_is_found_and_its_token_named(
    tmp_path: Path, alter: Callable[[list[Purchase]], tuple[Purchase, list[Purchase]]], seed: int
) -> None:
    whole = seen(true_history(Random(seed), tokens=30, buyers=6))
    assert judge(tmp_path, [one for one in whole if sold(whole, one.token)]).holds
    one, changed = alter([one for one in whole if sold(whole, one.token)])
    found = judge(tmp_path, changed, seed=seed)
    (sentence,) = found.broken
    assert sentence.startswith(f"token {one.token}: ")
    assert found.reasons == [sentence] and not found.holds and "cannot be true" in found.rows()


def sold(purchases: list[Purchase], token: int) -> bool:
    return any(one.token == token for one in told(purchases, "registrada"))


def test_somebody_whose_journal_is_not_here_may_have_bought(tmp_path: Path) -> None:
    late = [Purchase(1, 7, 0.0, 1.0, "token-vendido")]
    assert judge(tmp_path, late, alone=False).holds
    assert judge(tmp_path, late, alone=True).broken
    # They can have bought once, as everybody else.
    assert judge(tmp_path, [*late, Purchase(2, 7, 2.0, 3.0, "saldo-insuficiente")], alone=False).broken


def test_a_purchase_whose_end_nobody_saw_may_have_bought_and_is_told_of(tmp_path: Path) -> None:
    unseen = Purchase(1, 7, 2.0, None, "registrada")
    found = judge(tmp_path, [unseen, Purchase(2, 7, 2.0, 3.0, "token-vendido")])
    assert found.reasons == ["not checked by Porcupine: the end of 1 of 2 purchases was not seen"]
    assert judge(tmp_path, [unseen, Purchase(2, 7, 0.0, 1.0, "token-vendido")]).broken


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def rewrite(file: Path, notes: list[dict[str, Any]]) -> None:
    """These lines, and the closing one behind them."""
    notes = [note for note in notes if "closed" not in note]
    notes.append({"t": 1764115300, "closed": True, "lines": len(notes)})
    file.write_text("".join(json.dumps(note) + "\n" for note in notes), encoding="utf-8")


def test_two_ends_of_one_purchase_cannot_be_true(tmp_path: Path) -> None:
    file = write(tmp_path / "client.jsonl", [Purchase(1, 7, 0.0, 1.0, "registrada")], Random(0))
    rewrite(file, [*lines(file), {"t": 1764115201.5, "ended": Purchase(1, 7, 0, 0, "").id, "estado": "rechazada"}])
    (sentence,) = judged([file], alone=True).broken
    assert sentence.endswith("was told two ends: registrada, rechazada")


def test_the_journals_of_several_clients_are_one_history(tmp_path: Path) -> None:
    purchases = [Purchase(1, 7, 0.0, 1.0, "registrada"), Purchase(2, 7, 2.0, 3.0, "token-vendido")]
    files = [write(tmp_path / f"{one.usuario}.jsonl", [one], Random(0)) for one in purchases]
    assert judged(files, alone=True).holds
    assert judged(files[1:], alone=True).broken


def test_an_end_before_the_purchase_cannot_be_true(tmp_path: Path) -> None:
    file = write(tmp_path / "client.jsonl", [Purchase(1, 7, 0.0, 1.0, "registrada")], Random(0))
    rewrite(file, [{**note, "t": 1} if "ended" in note else note for note in lines(file)])
    (sentence,) = judged([file], alone=True).broken
    assert sentence.endswith("was told its end before it was asked for")


def test_a_journal_that_ends_early_is_told_of_and_what_it_lacks_may_have_bought(tmp_path: Path) -> None:
    purchases = [Purchase(1, 7, 0.0, 1.0, "registrada"), Purchase(2, 7, 2.0, 3.0, "token-vendido")]
    first, second = (write(tmp_path / f"{one.usuario}.jsonl", [one], Random(0)) for one in purchases)
    raw = first.read_bytes()
    without_its_last_line = raw[: raw.rindex(b"\n", 0, -1) + 1]
    header_only = raw[: raw.index(b"\n") + 1]
    lines_lost = raw.replace(raw.splitlines(keepends=True)[1], b"")
    for cut in (raw[:-1], without_its_last_line, header_only, lines_lost, b"", header_only[:-5]):
        first.write_bytes(cut)
        found = judged([first, second], alone=True)
        assert not found.broken
        assert found.unchecked and found.unchecked.startswith(f"{first} ends early, at line ")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda notes: [{**notes[0], "client": 2}, *notes[1:]], "has a newer format"),
        (lambda notes: [notes[0], {"asks": 7}, *notes[1:]], "line 2 is no whole line"),
        (lambda notes: [notes[0], {"shop": {"crc": "a"}}, {"shop": {"crc": "b"}}, *notes[1:]], "is of another shop"),
    ],
)
def test_what_is_no_journal_of_this_shop_is_refused(
    tmp_path: Path, spoil: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], sentence: str
) -> None:
    file = write(tmp_path / "client.jsonl", [Purchase(1, 7, 0.0, 1.0, "registrada")], Random(0))
    rewrite(file, spoil(lines(file)))
    with pytest.raises(Unreadable, match=sentence):
        judged([file], alone=True)
    with pytest.raises(Unreadable, match="cannot be opened"):
        judged([tmp_path / "none"], alone=True)


@pytest.mark.parametrize("batch", [1, 10])
async def test_what_the_real_services_decide_can_be_true_and_not_with_one_answer_altered(
    tmp_path: Path, batch: int
) -> None:
    await generate(tmp_path, 300, batch=batch)
    file = tmp_path / "client.jsonl"
    notes = [note for note in lines(file) if "n" in note]
    # The purchases of a batch are decided together, one batch after the other.
    for note in notes:
        note["t"] = (note["n"] - 1) // batch + (0.5 if "status" in note else 0)
    rewrite(file, notes)
    found = judged([file], alone=True)
    assert found.holds, found.reasons
    assert found.purchases == 300
    last = max(
        (note for note in notes if note.get("answer", {}).get("motivo") == "token-vendido"), key=lambda n: n["n"]
    )
    last["answer"] = {**last["answer"], "estado": "registrada", "motivo": None}
    rewrite(file, notes)
    (sentence,) = judged([file], alone=True).broken
    assert f"token {last['answer']['tokenId']}: " in sentence


@pytest.mark.long
def test_a_drill_on_real_processes_is_judged_and_one_answer_altered_is_found(tmp_path: Path) -> None:
    words = ("drill", "--porcupine", "--rate", "100", "--purchases", "400", "--json", "--out", str(tmp_path))
    done = subprocess.run([ZOCO, *words], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    second = found["porcupine"]
    assert second["holds"] and second["purchases"] >= 400, second
    assert [reason for reason in found["reasons"] if "Porcupine" in reason] == []
    client = tmp_path / "client.jsonl"
    assert standalone("--alone", str(client)).returncode == 0
    # The last who was refused as too late is told that it is theirs.
    notes = lines(client)
    *_, late = (note for note in notes if "ended" in note and note.get("motivo") == "token-vendido")
    kept = [note for note in notes if note.get("ended") != late["ended"]]
    kept = [note for note in kept if (note.get("answer") or {}).get("id") != late["ended"]]
    rewrite(client, [*kept, {"t": late["t"], "ended": late["ended"], "estado": "registrada"}])
    false = standalone("--alone", str(client))
    assert false.returncode == 1 and "token " in false.stdout, false


def standalone(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadgen.drill.porcupine", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def flood(random: Random, own_reasons: int) -> list[Purchase]:
    """All at once want one token; so many are refused for a reason of their own before it is sold."""
    made = []
    for number in range(1, FLOOD + 1):
        told = "registrada" if number == own_reasons + 1 else "token-vendido"
        told = "saldo-insuficiente" if number <= own_reasons else told
        made.append(Purchase(number, 7, random.uniform(0, 10), random.uniform(11, 20), told))
    return made


@pytest.mark.parametrize("own_reasons", [0, FLOOD // 2, FLOOD - 1])
def test_ten_thousand_at_once_on_one_token_are_judged(tmp_path: Path, own_reasons: int) -> None:
    whole = flood(Random(7), own_reasons)
    assert judge(tmp_path, whole).holds
    one = whole[own_reasons]
    if own_reasons < FLOOD - 1:
        false = altered(whole, one, called=19.0, ended=20.5)
    else:
        false = altered(whole, one, called=25.0, ended=26.0, told="token-vendido")
    assert judge(tmp_path, false).broken


def test_what_takes_too_long_was_not_checked(tmp_path: Path) -> None:
    file = write(tmp_path / "client.jsonl", flood(Random(7), FLOOD // 2), Random(0))
    found = judged([file], alone=True, seconds=1e-6)
    assert found.unchecked == "1 tokens, which was too much for it, as token 7 with 10,000 purchases"
    assert not found.holds and not found.broken


def test_the_programs_own_tests_hold() -> None:
    done = subprocess.run(["go", "test", "./..."], cwd=porcupine.SOURCE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((porcupine.SOURCE / "model.go").read_text(encoding="utf-8").splitlines()) <= 60


def test_without_go_it_says_so_and_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "client.jsonl", [Purchase(1, 7, 0.0, 1.0, "registrada")], Random(0))
    monkeypatch.setattr(porcupine, "BUILT", tmp_path / "built")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = judged([file], alone=True)
    assert found.reasons == ["not checked by Porcupine: Go is missing: install it (https://go.dev/dl)"]
    assert not found.holds and found.rows() == found.reasons[0]
    done = subprocess.run(
        [sys.executable, "-c", NO_GO, str(tmp_path / "built"), str(file)],
        env={**os.environ, "LC_ALL": "es_ES.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout == "Porcupine no lo comprobó: falta Go: instálalo (https://go.dev/dl)\n"


NO_GO = """
import sys
from pathlib import Path
from loadgen.drill import porcupine
porcupine.BUILT = Path(sys.argv.pop(1))
sys.exit(porcupine.main())
"""


def test_what_cannot_be_built_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "source"
    shutil.copytree(porcupine.SOURCE, broken)
    (broken / "main.go").write_text("package main\n\nfunc main() { nothing() }\n", encoding="utf-8")
    monkeypatch.setattr(porcupine, "SOURCE", broken)
    monkeypatch.setattr(porcupine, "BUILT", tmp_path / "built")
    file = write(tmp_path / "client.jsonl", [Purchase(1, 7, 0.0, 1.0, "registrada")], Random(0))
    found = judged([file], alone=True)
    assert found.unchecked and found.unchecked.startswith("it cannot be built: ")
    assert not found.holds
