"""Clients' histories for Porcupine: made from a seed so that they are true, and ways to make one of them false."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from broker.messages import compra_id

OWN_REASONS = ("saldo-insuficiente", "usuario-inexistente", "precio-mayor", "token-disputado", "ya-en-cola")


@dataclass(frozen=True)
class Purchase:
    """A key of a buyer: asked for at `called`, decided later, its end seen at `ended` (None: nobody saw it)."""

    usuario: int
    token: int
    called: float
    ended: float | None
    told: str

    @property
    def key(self) -> str:
        return f"key-{self.usuario}"

    @property
    def id(self) -> str:
        return compra_id(self.usuario, self.key)


def true_history(random: Random, tokens: int, buyers: int, most_seconds: float = 3.0) -> list[Purchase]:
    """So many buyers of each token in 20 seconds, each of whom is told what is true at an instant while they wait."""
    made: list[Purchase] = []
    for token in range(1, tokens + 1):
        instants = sorted(random.uniform(0, 20) for _ in range(buyers))
        winner = random.randrange(buyers + 1)
        published = random.randrange(winner + 1) if random.random() < 0.5 else 0
        for number, instant in enumerate(instants):
            told = "registrada" if number == winner else "token-vendido"
            told = random.choice(OWN_REASONS) if number < winner else told
            told = "token-inexistente" if number < published else told
            called, ended = (instant + sign * random.uniform(0, most_seconds) for sign in (-1, 1))
            seen = random.random() < 0.9
            made.append(Purchase(len(made) + 1, token, called, ended if seen else None, told))
    return made


def write(file: Path, purchases: Sequence[Purchase], random: Random) -> Path:
    """The journal of the client that asked for all of these, with keys sent again and keys used for something else."""
    notes: list[tuple[float, dict[str, Any]]] = []
    for number, one in enumerate(purchases):
        notes += ((when, line) for when, line in _notes(one, 10 * number, random))
    notes.sort(key=lambda note: note[0])
    lines = [{"client": 1, "url": "http://127.0.0.1:1", "started": "2026-11-26T00:00:00Z"}]
    lines += [{**line, "t": 1764115200 + when} for when, line in notes]
    lines.append({"t": 1764115300, "closed": True, "lines": len(lines)})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def _notes(one: Purchase, n: int, random: Random) -> Iterator[tuple[float, dict[str, Any]]]:
    asks = {"usuarioId": one.usuario, "tokenId": one.token}
    end = {"estado": "registrada"} if one.told == "registrada" else {"estado": "rechazada", "motivo": one.told}
    last = one.called + 9 if one.ended is None else one.ended
    again = random.uniform(one.called, last)
    yield one.called, {"n": n, "key": one.key, "asks": asks}
    if random.random() < 0.3:
        yield again, {"n": n, "status": None, "lost": "TimeoutError"}
        yield again, {"n": n + 1, "key": one.key, "asks": asks}
        yield last, {"n": n + 1, "status": 202, "answer": {"id": one.id, "estado": "solicitada"}}
    else:
        yield again, {"n": n, "status": 202, "answer": {"id": one.id, "estado": "reservada"}}
    if random.random() < 0.2:
        yield again, {"n": n + 2, "key": one.key, "asks": {**asks, "tokenId": one.token + 1}}
        yield last, {"n": n + 2, "status": 422, "answer": {"title": "used"}}
    if one.ended is None:
        return
    if random.random() < 0.3:
        yield one.ended, {"n": n + 3, "key": one.key, "asks": asks}
        yield one.ended + 0.5, {"n": n + 3, "status": 200, "answer": {"id": one.id, **end}}
    yield one.ended, {"ended": one.id, **end}


def told(purchases: Sequence[Purchase], told: str) -> Iterator[Purchase]:
    return (one for one in purchases if one.told == told and one.ended is not None)


def altered(purchases: Sequence[Purchase], one: Purchase, **values: Any) -> list[Purchase]:
    return [replace(each, **values) if each is one else each for each in purchases]
