"""Books of many purchases without a broker: the four real stores, given each other's real words in batches.

python tests/generated_books.py FOLDER PURCHASES, and then zoco audit --data FOLDER --client FOLDER/client.jsonl
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker.messages import CONSUMERS, CompraSolicitada, Message, TokenPublicado, UsuarioRegistrado, compra_id
from loadgen.load.workloads import WORKLOADS, Fixture, requests
from services.compras.domain import DOMAIN as COMPRAS
from services.compras.domain import public as vista
from services.shared.clock import utc_now
from services.shared.journal.disk import LocalDisk
from services.shared.journal.store import JsonStore
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

BATCH = 500


async def generate(folder: Path, purchases: int, *, batch: int = BATCH, seed: int = 0) -> None:
    """Write the four journals of so many purchases, and `client.jsonl`, into this folder."""
    disks = {domain.name: LocalDisk(folder / domain.name) for domain in (COMPRAS, TOKENS, USUARIOS, TRANSACCIONES)}
    stores = {
        domain.name: JsonStore(disks[domain.name], domain, utc_now)
        for domain in (COMPRAS, TOKENS, USUARIOS, TRANSACCIONES)
    }
    for store in stores.values():
        assert await store.lead()
    fixture = WORKLOADS["normal"].fixture(purchases)
    await _all(stores, "compras", _entries(fixture))
    with (folder / "client.jsonl").open("w", encoding="utf-8") as client:
        wanted = list(requests("normal", fixture, seed, purchases))
        for first in range(0, purchases, batch):
            some = wanted[first : first + batch]
            solicitadas = [
                CompraSolicitada(
                    compra_id=compra_id(ask.usuario, ask.key),
                    usuario_id=ask.usuario,
                    token_id=ask.token,
                    precio_maximo=ask.precio_maximo,
                    fecha=utc_now(),
                )
                for ask in some
            ]
            for number, ask in enumerate(some, first + 1):
                body = {"usuarioId": ask.usuario, "tokenId": ask.token}
                if ask.precio_maximo is not None:
                    body["precioMaximo"] = ask.precio_maximo
                client.write(json.dumps({"n": number, "t": 0, "key": ask.key, "asks": body}) + "\n")
            await _all(stores, "compras", solicitadas)
            for number, solicitada in enumerate(solicitadas, first + 1):
                row = stores["compras"].find(solicitada.compra_id)
                assert row is not None
                client.write(json.dumps({"n": number, "t": 0, "status": 200, "answer": vista(row)}) + "\n")
    for disk in disks.values():
        disk.close()


def _entries(fixture: Fixture) -> list[Message]:
    users = [
        UsuarioRegistrado(alta_id=f"u{user}", fecha=utc_now(), usuario_id=user, nombre="A", saldo=fixture.saldo)
        for user in fixture.buyers
    ]
    tokens = [
        TokenPublicado(
            alta_id=f"t{token}", fecha=utc_now(), token_id=token, nombre="T", imagen="t.jpg", precio=fixture.precio
        )
        for token in fixture.tokens
    ]
    return [*users, *tokens]


async def _all(stores: dict[str, JsonStore[Any]], to: str, messages: Sequence[Message]) -> None:
    """Give these messages to this service, and everybody what is said because of them, until nobody says more."""
    for first in range(0, len(messages), BATCH):
        waiting = {to: list(messages[first : first + BATCH])}
        while waiting:
            said: defaultdict[str, list[Message]] = defaultdict(list)
            for name, batch in waiting.items():
                for answer in await stores[name].process_batch([message.received(utc_now()) for message in batch]):
                    assert answer.failure is None, answer.failure
                    for message in answer.messages:
                        for listener in CONSUMERS[type(message)]:
                            said[listener].append(message)
            waiting = said


if __name__ == "__main__":
    asyncio.run(generate(Path(sys.argv[1]), int(sys.argv[2])))
