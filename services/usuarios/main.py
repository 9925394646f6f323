"""usuarios over HTTP: who buys, and what they have left. Their money changes by messages only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, TypeAdapter

from broker.messages import Id, Message, Money, Nombre, UsuarioRegistrado
from services.shared.http.app import create_app
from services.shared.http.bodies import Desde, Limite, PathId, json_bytes, public_page, runtime_of
from services.shared.http.openapi import LINK, problems
from services.shared.http.problems import Problem
from services.shared.runtime import Runtime, Service
from services.shared.seed import SEED_FECHA, each_once, seed_id
from services.shared.store import MAX_LINES
from services.shared.views import UsuarioVisto
from services.usuarios.domain import DOMAIN, Usuario, public


class SeedUsuario(BaseModel):
    """One entry of `usuarios.json`."""

    model_config = ConfigDict(extra="forbid")

    id: Id
    nombre: Nombre
    saldo: Money


def seed(raw: bytes) -> Sequence[Message]:
    """Raises ValidationError, ValueError."""
    entries = TypeAdapter(list[SeedUsuario]).validate_json(raw)
    each_once(entry.id for entry in entries)
    return [
        UsuarioRegistrado(
            alta_id=seed_id(entry.id),
            fecha=SEED_FECHA,
            usuario_id=entry.id,
            nombre=entry.nombre,
            saldo=entry.saldo,
        )
        for entry in entries
    ]


routes = APIRouter()


@routes.get(
    "/usuarios",
    summary="Users; Link: rel=next where there are more than are shown",
    responses={200: {"model": list[UsuarioVisto], "headers": LINK}, **problems(422)},
)
async def usuarios(request: Request, desde: Desde = 0, limite: Limite = MAX_LINES) -> Response:
    return await public_page(request, desde, limite)


@routes.get(
    "/usuarios/{usuario_id}", summary="One user", responses={200: {"model": UsuarioVisto}, **problems(404, 422)}
)
async def usuario(request: Request, usuario_id: PathId) -> Response:
    runtime: Runtime[Usuario] = runtime_of(request)
    row = await runtime.store.row(str(usuario_id))
    shown = public(row) if row else None
    if shown is None:
        raise Problem(404, f"there is no user {usuario_id}: GET /usuarios lists them")
    return json_bytes(shown)


SERVICE = Service(
    domain=DOMAIN,
    routes=routes,
    seed=seed,
    seed_file=Path(__file__).with_name("usuarios.json"),
)
app = create_app(SERVICE)
