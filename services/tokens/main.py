"""tokens over HTTP: what is for sale, and its pictures. Buying goes through compras."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, TypeAdapter

from broker.messages import Id, Imagen, Message, Money, Nombre, TokenPublicado
from services.shared.http.app import create_app
from services.shared.http.bodies import Desde, Limite, PathId, json_bytes, public_page, runtime_of
from services.shared.http.files import whole_file
from services.shared.http.openapi import LINK, problems
from services.shared.http.problems import Problem
from services.shared.runtime import Runtime, Service
from services.shared.seed import SEED_FECHA, each_once, seed_id
from services.shared.store import MAX_LINES
from services.shared.views import PICTURE, TokenEntero, TokenVisto
from services.tokens.domain import DOMAIN, Token, public

IMAGENES: Final = Path(__file__).with_name("imagenes")


class SeedToken(BaseModel):
    """One entry of `tokens.json`."""

    model_config = ConfigDict(extra="forbid")

    id: Id
    nombre: Nombre
    imagen: Imagen
    precio: Money
    vendido: Literal[False]


def seed(raw: bytes) -> Sequence[Message]:
    """Raises ValidationError, ValueError."""
    entries = TypeAdapter(list[SeedToken]).validate_json(raw)
    each_once(entry.id for entry in entries)
    return [
        TokenPublicado(
            alta_id=seed_id(entry.id),
            fecha=SEED_FECHA,
            token_id=entry.id,
            nombre=entry.nombre,
            imagen=entry.imagen,
            precio=entry.precio,
        )
        for entry in entries
    ]


routes = APIRouter()


@routes.get(
    "/tokens",
    summary="Tokens; Link: rel=next where there are more than are shown",
    responses={200: {"model": list[TokenVisto], "headers": LINK}, **problems(422)},
)
async def tokens(request: Request, desde: Desde = 0, limite: Limite = MAX_LINES) -> Response:
    return await public_page(request, desde, limite)


@routes.get(
    "/tokens/{token_id}",
    summary="One token: who holds it and who waits, too",
    responses={200: {"model": TokenEntero}, **problems(404, 422)},
)
async def token(request: Request, token_id: PathId) -> Response:
    runtime: Runtime[Token] = runtime_of(request)
    row = await runtime.store.row(str(token_id))
    if row is None:
        raise Problem(404, f"there is no token {token_id}: GET /tokens lists them")
    reserva = row.reserva
    holder = (
        {"compraId": reserva.compra_id, "usuarioId": reserva.usuario_id, "precio": reserva.precio} if reserva else None
    )
    return json_bytes({**public(row), "reserva": holder, "cola": [espera.compra_id for espera in row.cola]})


@routes.get(
    "/imagenes/{file}",
    summary="A picture",
    response_class=FileResponse,
    responses={200: PICTURE, **problems(404, 412)},
)
async def imagen(request: Request, file: str) -> Response:
    path = IMAGENES / file
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", file) or not path.is_file():
        raise Problem(404, f"there is no picture {file!r}")
    return await whole_file(request, path, {"Cache-Control": "public, max-age=86400"})


SERVICE = Service(
    domain=DOMAIN,
    routes=routes,
    seed=seed,
    seed_file=Path(__file__).with_name("tokens.json"),
    straight={("GET", "/tokens"): tokens},
)
app = create_app(SERVICE)
