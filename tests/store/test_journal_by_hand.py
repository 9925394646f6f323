"""What docs/journal.md lets a person do with a folder, by jq and the shell."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from store_builders import all_records, publicado, reader, writer

from services.shared.heights import BookHeights
from services.tokens.domain import DOMAIN

TEXT = (Path(__file__).parents[2] / "docs" / "journal.md").read_text(encoding="utf-8")
COMMANDS = [block.replace("\n    ", "\n").strip() for block in re.findall(r"(?:^    .*\n)+", TEXT, re.MULTILINE)]
(FUNCTIONS,) = (block for block in COMMANDS if block.startswith("chain()"))


def by_hand(folder: Path, begins: str) -> str:
    """What the one command says that begins so, of a shop in this folder."""
    (command,) = (line for block in COMMANDS for line in block.splitlines() if line.startswith(begins))
    script = f"{FUNCTIONS}\n{command}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


async def test_after_a_restore_by_hand_only_the_journal_is_read_and_what_is_none_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / ".zoco" / "tokens"
    for token in (1, 2):
        # Each segment but the last is packed, and two starts make three of them.
        async with writer(folder, DOMAIN, snapshot_bytes=1) as store:
            await store.process_batch([publicado(token)])
            await store.process_batch([publicado(token + 10)])
            await store.packer.pack()
    missing = by_hand(tmp_path, "journal .zoco/tokens | jq -n '[inputs | select(.batch)")
    before = {path.name for path in folder.glob("journal-*.jsonl*")}
    assert (missing, by_hand(tmp_path, "ls .zoco/tokens")) == ("true\n", "")
    assert any(name.endswith(".zst") for name in before)
    async with writer(folder, DOMAIN) as store:

        async def records() -> AsyncIterator[list[bytes]]:
            yield list(all_records(store))[:3]

        last = {path.name for path in folder.glob("journal-*.jsonl*")}
        await store.put_back(BookHeights("tokens", store.heights.book, 2), records())
    async with writer(folder, DOMAIN) as store:
        await store.process_batch([publicado(99)])
    assert by_hand(tmp_path, "journal .zoco/tokens | jq -n '[inputs | select(.batch)") == "true\n"
    assert set(by_hand(tmp_path, "ls .zoco/tokens").split()) == before | last
    for name in before | last:
        (folder / name.removesuffix(".zst")).with_suffix(".mark").unlink(missing_ok=True)
        (folder / name).unlink()
    with reader(folder, DOMAIN) as store:
        assert set(store.rows) == {"1", "11", "2", "99"}
