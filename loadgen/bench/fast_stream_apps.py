"""The four services in FastStream: with a ledger, or, where there is a BENCH_STORE, with SQLAlchemy and an outbox.

`uvicorn --factory loadgen.bench.fast_stream_apps:tokens`, with ZOCO_RABBITMQ_URL, ZOCO_DATA or BENCH_STORE, and in
BENCH_TOKENS how many tokens are for sale.
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI

from loadgen.bench.fast_stream import Books, Shelf, front_door, service, stock
from loadgen.bench.outbox import Tables
from services.compras.domain import DOMAIN as COMPRAS
from services.shared.decision import Domain
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS


def compras() -> FastAPI:
    return front_door(_books(COMPRAS))


def tokens() -> FastAPI:
    return service("tokens", _books(TOKENS))


def usuarios() -> FastAPI:
    return service("usuarios", _books(USUARIOS))


def transacciones() -> FastAPI:
    return service("transacciones", _books(TRANSACCIONES))


def _books(domain: Domain[Any]) -> Books:
    if "BENCH_STORE" in os.environ:
        return Tables(domain)
    return Shelf(domain, stock().get(domain.name, ()))
