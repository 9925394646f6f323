"""usuarios over HTTP: who buys, and what they have left. Their money changes by messages only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, TypeAdapter

from broker.messages import Id, Message, Money, Nombre, UsuarioRegistrado
from services.shared.problems import Problem
from services.shared.run import Limite, Runtime, Service, create_app, json_bytes, runtime_of
from services.shared.seed import SEED_FECHA, seed_id
from services.shared.view import RowsView
from services.usuarios.domain import DOMAIN, Usuario


class SeedUsuario(BaseModel):
    """One entry of `usuarios.json`."""

    model_config = ConfigDict(extra="forbid")

    id: Id
    nombre: Nombre
    saldo: Money


def seed(raw: bytes) -> Sequence[Message]:
    """Raises ValidationError."""
    return [
        UsuarioRegistrado(
            alta_id=seed_id(entry.id),
            fecha=SEED_FECHA,
            usuario_id=entry.id,
            nombre=entry.nombre,
            saldo=entry.saldo,
        )
        for entry in TypeAdapter(list[SeedUsuario]).validate_json(raw)
    ]


def public(usuario: Usuario) -> dict[str, Any] | None:
    """A user in the seed's format; None while nobody is registered under the number."""
    if usuario.nombre is None:
        return None
    return {"id": usuario.id, "nombre": usuario.nombre, "saldo": usuario.saldo}


routes = APIRouter()


@routes.get("/usuarios", summary="Every user, as in the seed")
async def usuarios(request: Request, limite: Limite = None) -> Response:
    view = runtime_of(request).view
    return json_bytes(view.body() if limite is None else view.first(limite))


@routes.get("/usuarios/{usuario_id}", summary="One user", responses={404: {}})
async def usuario(request: Request, usuario_id: int) -> Response:
    runtime: Runtime[Usuario] = runtime_of(request)
    row = runtime.store.row(str(usuario_id))
    shown = public(row) if row else None
    if shown is None:
        raise Problem(404, f"there is no user {usuario_id}: GET /usuarios lists them")
    return json_bytes(shown)


app = create_app(
    Service(
        domain=DOMAIN,
        routes=routes,
        seed=seed,
        seed_file=Path(__file__).with_name("usuarios.json"),
        view=lambda store, file: RowsView(store, file, public),
    )
)
