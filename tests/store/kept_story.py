"""A shop's story, told the same way to whatever code is on the path.

`PYTHONPATH=TREE python -P tests/store/kept_story.py tests/store/kept`, with a tree of commit 6917442, wrote `kept/`;
test_kept.py tells it to today's code.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from broker.messages import (
    CONSUMERS,
    CompraSolicitada,
    Message,
    SaldoRecargado,
    TokenPublicado,
    UsuarioRegistrado,
    compra_id,
)
from services.compras.domain import DOMAIN as COMPRAS
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

# A few segments, each with a snapshot, for each of the services.
SNAPSHOT_BYTES = {"compras": 25_000, "tokens": 9_000, "usuarios": 3_000, "transacciones": 3_000}


class Clock:
    """A millisecond later each time that it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self) -> str:
        self.reads += 1
        return f"2026-01-01T00:{self.reads // 60_000:02}:{self.reads // 1000 % 60:02}.{self.reads % 1000:03}Z"


def entries() -> list[Message]:
    fecha = "2025-12-31T00:00:00.000Z"
    waiting = SaldoRecargado(alta_id="r:early", usuario_id=3, monto=7, fecha=fecha)
    users = [
        UsuarioRegistrado(alta_id=f"semilla:{user}", usuario_id=user, nombre=f"Ñandú {user}", saldo=200, fecha=fecha)
        for user in (1, 2, 3, 2**33)
    ]
    tokens = [
        TokenPublicado(
            alta_id=f"semilla:{token}", token_id=token, nombre="Gato", imagen="g.jpg", precio=50, fecha=fecha
        )
        for token in range(101, 116)
    ]
    return [waiting, *users, *tokens]


def purchase(number: int) -> CompraSolicitada:
    """Most buy; some want what is sold, or wait in its line, some cannot pay, some are nobody, one token is none."""
    user = (1, 2, 3, 2**33, 9)[number % 5]
    return CompraSolicitada(
        compra_id=compra_id(user, f"k{number}"),
        usuario_id=user,
        token_id=101 + number // 2 if number < 30 else 999,
        precio_maximo=49 if number % 7 == 3 else None,
        fecha="2026-01-01T00:00:00.000Z",
    )


async def told(decide: Callable[[str, Sequence[Message]], Awaitable[Sequence[Any]]], now: Clock) -> None:
    """Give each service what the others say of this, in batches of three, and each message twice."""

    async def pass_on(to: str, first: Sequence[Message]) -> None:
        waiting = {to: list(first)}
        while waiting:
            said: defaultdict[str, list[Message]] = defaultdict(list)
            for name, batch in waiting.items():
                for answer in await decide(name, [message.received(now()) for message in (*batch, batch[0])]):
                    assert answer.failure is None, answer.failure
                    for message in () if answer.repeated else answer.messages:
                        for listener in CONSUMERS[type(message)]:
                            said[listener].append(message)
            waiting = said

    for entry in entries():
        # usuarios and tokens hear of it by way of compras.
        await pass_on("compras", [entry])
    for number in range(0, 32, 3):
        await pass_on("compras", [purchase(n) for n in range(number, min(number + 3, 32))])


async def write(folder: Path, disk_kind: Any, store_kind: Any, method: str, **options: Any) -> None:
    clock, stores, disks = Clock(), {}, []
    for domain in (COMPRAS, TOKENS, USUARIOS, TRANSACCIONES):
        disks.append(disk_kind(folder / domain.name))
        size = SNAPSHOT_BYTES[domain.name]
        stores[domain.name] = store_kind(disks[-1], domain, clock, snapshot_bytes=size, **options)
        assert await stores[domain.name].lead()
    await told(lambda name, batch: getattr(stores[name], method)(batch), clock)
    for disk in disks:
        disk.close()


if __name__ == "__main__":
    from services.shared.disk import LocalDisk  # type: ignore[import-not-found]
    from services.shared.store_json import JsonStore  # type: ignore[import-not-found]

    asyncio.run(write(Path(sys.argv[1]), LocalDisk, JsonStore, "once"))
