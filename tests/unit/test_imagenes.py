"""The tokens' pictures: what the seed names is there, small, and really JPEG."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "services" / "tokens" / "imagenes"


def test_every_picture_that_the_seed_names_is_there() -> None:
    seed = json.loads((ROOT / "services" / "tokens" / "tokens.json").read_text(encoding="utf-8"))
    assert all((FOLDER / entry["imagen"]).is_file() for entry in seed)


def test_every_picture_is_a_small_jpeg_and_has_its_drawing() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "imagenes.py"))
    files = {file.name: file.read_bytes() for file in FOLDER.iterdir()}
    assert files.keys() == {f"{name}.jpg" for name in script["DRAWINGS"]}
    for name, raw in files.items():
        assert raw.startswith(b"\xff\xd8\xff") and raw.endswith(b"\xff\xd9"), name
        assert len(raw) <= script["MAX_BYTES"], name
