"""The books of a simulated world on a disk, what its clients were told and its services show, and the audit of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from books_in_folder import verdict_of
from sim_world import DOMAINS, EPOCH, World

from loadgen.audit.verdict import Verdict
from services.compras.domain import public as vista
from services.transacciones.domain import public


def write_books(world: World, folder: Path) -> None:
    """Each service's folder, and `client.jsonl`: what the world's clients were told."""
    for service, kept in world.folders.items():
        (folder / service).mkdir(parents=True)
        for name, file in kept.files.items():
            (folder / service / name).write_bytes(file.data)
    lines = [*_notes(world)]
    lines.append({"t": EPOCH.timestamp() + world.loop.now, "closed": True, "lines": len(lines)})
    (folder / "client.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _notes(world: World) -> Iterator[dict[str, Any]]:
    yield {"client": 1, "url": "http://127.0.0.1:8000", "started": "2025-09-10T17:00:00Z"}
    store = _store(world, "compras")
    if store is not None and (first := next(iter(store.some_records(0, 1)), None)) is not None:
        record = json.loads(first)
        yield {"shop": {**{name: record[name] for name in ("seq", "time", "crc")}, "book": store.heights.book}}
    told = {one.number: one for one in world.told}
    for note in world.notes:
        if "asks" in note:
            yield {**note, "t": EPOCH.timestamp()}
        elif (one := told.get(note["n"])) is not None:
            yield {**note, "t": EPOCH.timestamp(), "status": one.status, "answer": one.answer}


def _store(world: World, service: str) -> Any:
    pod = world.writer(service)
    return pod.store if pod else None


def dead_letters(world: World) -> Mapping[str, int]:
    """Without the poison that the world put into its queues itself."""
    return {f"{name}.muertos": sum(what != "poison" for what, _ in world.broker.letters[name]) for name in DOMAINS}


def live(world: World) -> dict[str, list[dict[str, Any]]] | None:
    """What GET of each list shows; None when a service has no writer that could be asked."""
    stores = {service: _store(world, service) for service in DOMAINS}
    if None in stores.values():
        return None
    book, sales = stores["compras"], stores["transacciones"]
    return {
        "usuarios": json.loads(stores["usuarios"].public_rows.body()),
        "tokens": json.loads(stores["tokens"].public_rows.body()),
        "transacciones": [public(sales.word(sales.list_index.place(n))) for n in sales.list_index.lines()],
        "compras": [vista(book.find(book.word(book.list_index.place(n))["compraId"])) for n in book.list_index.lines()],
    }


def audited(world: World, folder: Path) -> Verdict:
    """What the audit finds in a world that came to rest. Raises Unreadable."""
    write_books(world, folder)
    return verdict_of(folder, live(world), dead_letters(world), world.max_cola)
