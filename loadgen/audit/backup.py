"""Reading a backup: docs/backup.md is what this was written from, as nothing here is shared with what makes one."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import weakref
import zlib
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import zstandard

from loadgen.audit.books import PIECE_BYTES, Journal, Piece
from loadgen.audit.headers import SEAL, SEAL_BYTES
from loadgen.audit.model import SERVICES
from loadgen.audit.text import NotAShop, Text, Unreadable

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


def from_backup(file: Path) -> dict[str, Journal]:
    """The four journals in a backup. Raises Unreadable."""
    try:
        with file.open("rb") as opened:
            begins = opened.read(len(MANIFEST))
    except OSError as error:
        raise NotAShop("{file} is no backup ({why}): `zoco backup` makes one", file, error.strerror) from error
    if begins != MANIFEST.encode():
        raise NotAShop("{file} is no backup ({why}): `zoco backup` makes one", file, Text("another kind of file"))
    try:
        with tarfile.open(file, "r:") as tar:
            books = _manifest(file, _member(tar, MANIFEST).read())
            return {name: _journal(file, tar, name, books[name]) for name in SERVICES}
    except (KeyError, TypeError, ValueError, OSError, tarfile.TarError, zstandard.ZstdError) as error:
        raise Unreadable("{file} is cut short, or was altered ({why})", file, error) from error


def _manifest(file: Path, raw: bytes) -> dict[str, Any]:
    if raw[-SEAL_BYTES:] != SEAL % zlib.crc32(raw[:-SEAL_BYTES]):
        raise Unreadable("{file} is cut short, or was altered ({why})", file, MANIFEST)
    manifest = msgspec.json.decode(raw)
    if (version := manifest.get("format")) != FORMAT:
        says = "{file} has format {version}; this audit reads {ours}: use the audit of that version"
        raise Unreadable(says, file, version, FORMAT)
    found: dict[str, Any] = manifest["books"]
    return found


def _journal(file: Path, tar: tarfile.TarFile, name: str, about: dict[str, Any]) -> Journal:
    part, found, records = f"{name}.jsonl.zst", hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(delete=False) as plain:
        pieces: list[Piece] = []
        journal = Journal(name, pieces)
        # It lives as long as the journal.
        weakref.finalize(journal, Path(plain.name).unlink, missing_ok=True)
        reader = zstandard.ZstdDecompressor().stream_reader(_member(tar, part))
        while piece := reader.read(PIECE_BYTES):
            plain.write(piece)
            found.update(piece)
            records += piece.count(b"\n")
        size = plain.tell()
    if (size, records, found.hexdigest()) != (about["bytes"], about["records"], about["sha256"]):
        raise Unreadable("{file} is cut short, or was altered ({why})", file, part)
    pieces.append(Piece(f"{file}:{part}", Path(plain.name), 0, size, 0))
    return journal


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = tar.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found
