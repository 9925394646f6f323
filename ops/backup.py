"""The four books in one file, as of one moment that none of them had to wait for: docs/backup.md says how it looks."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import signal
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import msgspec
import zstandard

from broker.heights import Height, heard, sender, written
from broker.services import SERVICES, Service
from ops.copies import SEAL, BackupFailed, Copy, Identity, cut, sealed
from ops.process import sync_folder

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
PIECE_BYTES: Final = 1024 * 1024
# It is made once, and kept.
SMALL: Final = 9
# Who makes a backup writes more often than that.
LEFT_SECONDS: Final = 3600


class Member(msgspec.Struct, frozen=True):
    """One of the four: which book, how many records, and what those are as JSON lines: bytes, and their SHA-256."""

    book: str
    generation: int
    formerly: tuple[str, ...]
    records: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What the file says of itself. `time`: when its making began."""

    format: int
    time: str
    books: dict[Service, Member]


@contextlib.contextmanager
def made(
    file: Path,
    identities: Callable[[], Mapping[Service, Identity]],
    pieces: Callable[[Service], Iterable[bytes]],
    progress: Callable[[str, Mapping[Service, int]], None],
) -> Iterator[tuple[Path, Manifest]]:
    """A backup that is not `file` yet: it gets that name when the body has ended well. Raises BackupFailed.

    `identities`: which books there are now. `pieces`: the records of one, from the first on.
    """
    if file.exists():
        raise BackupFailed("{file} is there already: name another one", file)
    began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        with (
            _ended_by_sigterm(),
            tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=f".{file.name}.") as folder,
        ):
            before = identities()
            copies = {name: Copy(name, before[name], Path(folder) / name) for name in SERVICES}
            for name, copy in copies.items():
                copy.write(pieces(name))
                progress("read", {name: copy.records})
            if identities() != before:
                raise BackupFailed("a book was written again meanwhile: try again")
            ends = cut(copies)
            progress("cut", ends)
            if short := [name for name, copy in copies.items() if ends[name] < copy.again]:
                says = "{service} was written again, and the others have not heard all of that yet: try again later"
                raise BackupFailed(says, short[0])
            whole = Path(folder) / file.name
            yield whole, _pack(whole, began, copies, ends)
            whole.rename(file)
            # Who keeps so many deletes an older one next.
            sync_folder(file.absolute().parent)
    except OSError as error:
        raise BackupFailed("{file} cannot be written ({why})", file, error.strerror) from error


def sweep(folder: Path) -> None:
    """Delete what backups left here that were killed an hour ago, or earlier: books as they were read, unpacked."""
    for left in folder.glob(".zoco-*Z.tar.*"):
        with contextlib.suppress(OSError):
            wrote = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if left.lstat().st_uid == os.getuid() and wrote < time.time() - LEFT_SECONDS:
                shutil.rmtree(left)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """As by Ctrl-C: what was written of it is deleted first. As a pod's first process it would not be ended at all."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _pack(file: Path, began: str, copies: Mapping[Service, Copy], ends: Mapping[Service, int]) -> Manifest:
    books: dict[Service, Member] = {}
    for name, copy in copies.items():
        found, size = hashlib.sha256(), 0
        small = zstandard.ZstdCompressor(SMALL, write_checksum=True)
        with zstandard.open(copy.file.with_suffix(".zst"), "wb", cctx=small) as packed:
            for raw, _ in zip(copy.lines(), range(ends[name]), strict=False):
                packed.write(raw)
                found.update(raw)
                size += len(raw)
        copy.file.unlink()
        which = copy.identity
        books[name] = Member(which.book, which.generation, which.formerly, ends[name], size, found.hexdigest())
    about_all = Manifest(FORMAT, began, books)
    body = msgspec.json.encode(about_all)[:-1]
    manifest = body + SEAL % zlib.crc32(body)
    with open(file, "wb", opener=_private) as raw_file, tarfile.open(fileobj=raw_file, mode="w") as tar:
        about = tarfile.TarInfo(MANIFEST)
        about.size = len(manifest)
        tar.addfile(about, io.BytesIO(manifest))
        for name, copy in copies.items():
            with copy.file.with_suffix(".zst").open("rb") as packed_file:
                member = tarfile.TarInfo(f"{name}.jsonl.zst")
                member.size = os.fstat(packed_file.fileno()).st_size
                tar.addfile(member, packed_file)
        tar.close()
        raw_file.flush()
        os.fsync(raw_file.fileno())
    return about_all


class GoesOn(msgspec.Struct, frozen=True):
    """How a book that is put back goes on: its own height first, with what it is to have heard of the others."""

    heights: str
    formerly: tuple[str, ...]

    @property
    def line(self) -> bytes:
        """As it stands before the records."""
        return msgspec.json.encode(self) + b"\n"


def going_on(
    books: Mapping[Service, Member], now: Mapping[Service, tuple[str, Sequence[str]]]
) -> dict[Service, GoesOn]:
    """As a later generation than anybody has heard of, and in the place of any other book that somebody knows.

    `now`: the heights of each service as it is, and which books it took the place of.
    """
    latest = {(name, about.book): about.generation for name, about in books.items()}
    formerly = {name: {*about.formerly} for name, about in books.items()}
    for service, (heights, replaced) in now.items():
        own = sender(heights)
        formerly[service] |= {*replaced}
        for name, at in [*([own] if own else []), *heard(heights).items()]:
            latest[name, at.book] = max(latest.get((name, at.book), 0), at.generation)
            formerly[name].add(at.book)
    after = {name: Height(about.book, latest[name, about.book] + 1, about.records) for name, about in books.items()}
    return {
        name: GoesOn(
            written([(name, after[name]), *((other, at) for other, at in after.items() if other != name)]),
            tuple(sorted(formerly[name] - {about.book})),
        )
        for name, about in books.items()
    }


def read(file: Path) -> Manifest:
    """Look at all of a backup. Raises BackupFailed when it is not whole, as it was made."""
    try:
        with tarfile.open(file, "r:") as tar:
            raw = _member(tar, MANIFEST).read()
            if not sealed(raw):
                raise _altered(file, MANIFEST)
            manifest = _manifest(file, raw)
            for name in SERVICES:
                about = manifest.books[name]
                found, size = hashlib.sha256(), 0
                for piece in _pieces(_member(tar, f"{name}.jsonl.zst")):
                    found.update(piece)
                    size += len(piece)
                if (size, found.hexdigest()) != (about.bytes, about.sha256):
                    raise _altered(file, f"{name}.jsonl.zst")
            return manifest
    except (OSError, tarfile.TarError, zstandard.ZstdError, KeyError) as error:
        raise BackupFailed("{file} is no backup that can be read ({why})", file, error) from error


def pieces_of(file: Path, name: Service) -> Iterator[bytes]:
    """The records of one book, as JSON lines, in pieces of any size."""
    with tarfile.open(file, "r:") as tar:
        yield from _pieces(_member(tar, f"{name}.jsonl.zst"))


def _altered(file: Path, part: str) -> BackupFailed:
    return BackupFailed("{file} is cut short, or was altered: {part} is not as it was written", file, part)


def _manifest(file: Path, raw: bytes) -> Manifest:
    version = msgspec.json.decode(raw).get("format")
    if version != FORMAT:
        says = "{file} has format {version}, and this version reads {ours}: use the version that made it"
        raise BackupFailed(says, file, version, FORMAT)
    return msgspec.json.decode(raw, type=Manifest)


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = tar.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found


def _pieces(packed: IO[bytes]) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor().stream_reader(packed)
    while piece := reader.read(PIECE_BYTES):
        yield piece


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
