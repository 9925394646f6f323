"""What the operator may enter: users, top-ups, tokens. Each entry is an `alta`, which can be asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Final
from uuid import uuid5

from fastapi import APIRouter, Request, Response
from pydantic import Field, RootModel

from broker.messages import (
    NAMESPACE,
    AltaMessage,
    Amount,
    Id,
    Imagen,
    Money,
    Nombre,
    SaldoRecargado,
    TokenPublicado,
    UsuarioRegistrado,
)
from services.compras.answers import (
    ASKED,
    Body,
    Stands,
    accepted,
    door_of,
    elsewhere,
    found,
    idempotency_key,
    keeping,
    kept,
)
from services.compras.domain import Alta
from services.compras.operator_session import NOT_KEPT
from services.compras.schemas import AltaVista
from services.shared.http.bodies import PathId, json_bytes, read_body
from services.shared.http.credentials import Operator, deed
from services.shared.http.openapi import OPERATORS, documented, problems
from services.shared.http.problems import Problem

# So many tokens are put up for sale by one request; as text they fill most of what a body may be.
MAX_CATALOGO: Final = 100

routes = APIRouter()


class AltaUsuario(Body):
    nombre: Nombre
    saldo: Money | None = None


class AltaRecarga(Body):
    monto: Amount


class AltaToken(Body):
    nombre: Nombre
    imagen: Imagen
    precio: Money


class TokenDeCatalogo(AltaToken):
    id: Id


class Catalogo(RootModel[Annotated[list[TokenDeCatalogo], Field(min_length=1, max_length=MAX_CATALOGO)]]):
    """Tokens to be put up for sale together."""


@routes.get(
    "/altas/{alta_id}",
    summary="Whether an operator's entry is in force (operator)",
    responses={200: {"model": AltaVista}, **OPERATORS, **problems(404, 503)},
)
async def alta(request: Request, alta_id: str, _: Operator) -> Response:
    answer = await found(request, alta_id, Alta, "entry")
    if answer.status_code == 200:
        # The one that follows has it of the one that writes.
        answer.headers.update(NOT_KEPT)
    return answer


@routes.put(
    "/usuarios/{usuario_id}",
    status_code=202,
    summary="Register or rename a user (operator)",
    openapi_extra={**documented(AltaUsuario), **ASKED},
    responses={**kept(AltaVista), **OPERATORS},
)
async def alta_usuario(request: Request, usuario_id: PathId, _: Operator) -> Response:
    """`saldo` counts only for a user who is new."""
    body = await read_body(request, AltaUsuario)
    return await _alta(request, UsuarioRegistrado, usuario_id=usuario_id, nombre=body.nombre, saldo=body.saldo)


@routes.post(
    "/usuarios/{usuario_id}/recargas",
    status_code=202,
    summary="Add to a user's money (operator)",
    openapi_extra={**documented(AltaRecarga), **ASKED},
    responses={**kept(AltaVista), **OPERATORS},
)
async def alta_recarga(request: Request, usuario_id: PathId, _: Operator) -> Response:
    """Counts once per Idempotency-Key; waits for a user who is not registered yet."""
    body = await read_body(request, AltaRecarga)
    return await _alta(request, SaldoRecargado, usuario_id=usuario_id, monto=body.monto)


@routes.put(
    "/tokens/{token_id}",
    status_code=202,
    summary="Put a token up for sale, or change what is shown of it (operator)",
    openapi_extra={**documented(AltaToken), **ASKED},
    responses={**kept(AltaVista), **OPERATORS},
)
async def alta_token(request: Request, token_id: PathId, _: Operator) -> Response:
    """Whoever holds the token keeps it at the price it had."""
    body = await read_body(request, AltaToken)
    return await _alta(
        request, TokenPublicado, token_id=token_id, nombre=body.nombre, imagen=body.imagen, precio=body.precio
    )


@routes.post(
    "/tokens",
    status_code=202,
    summary="Put up to 100 tokens up for sale, or change what is shown of them (operator)",
    openapi_extra={**documented(Catalogo), **ASKED},
    responses={**kept(list[AltaVista], place=False), **OPERATORS},
)
async def alta_catalogo(request: Request, _: Operator) -> Response:
    """As many PUTs, answered once all of them are on the disk. After a 503 some may be: send the same again.

    One key is one list: another one under it is refused whole.
    """
    catalogo = await read_body(request, Catalogo)
    ((token_id, times),) = Counter(token.id for token in catalogo.root).most_common(1)
    if times > 1:
        raise Problem(422, f"token {token_id} is in the list twice: say once what is to be shown of it")
    key = idempotency_key(request)
    with keeping(request, key):
        return await _catalogo(request, key, catalogo)


async def _catalogo(request: Request, key: str, catalogo: Catalogo) -> Response:
    entered = _told(request, f"{len(catalogo.root)} tokens")
    if (answer := await elsewhere(request, key, entered)) is not None:
        return answer
    # The first holds the key for all of this, and for nothing else: only then the others are entered.
    digest = sha256(catalogo.model_dump_json(by_alias=True).encode()).hexdigest()
    first, *others = catalogo.root
    entries = await _tokens(request, {f"operador:{key}": first}, catalogo=digest)
    await door_of(request).acceptance.accept(entries[0])
    entered()
    entries += await _tokens(request, {f"catalogo:{key}:{digest}:{token.id}": token for token in others})
    altas = await asyncio.gather(*(accepted(request, entry, "altas", key) for entry in entries))
    last = max(altas, key=lambda alta: alta.status_code)
    headers = {name: last.headers[name] for name in ("retry-after", "preference-applied") if name in last.headers}
    body = b"[" + b",".join(bytes(alta.body) for alta in altas) + b"]"
    return json_bytes(body, last.status_code, {"Idempotency-Key": key, **headers})


async def _alta(request: Request, model: type[AltaMessage], **fields: Any) -> Response:
    key = idempotency_key(request)
    name, whose = f"operador:{key}", request.scope["path"].removesuffix("/recargas")
    with keeping(request, key, place := f"/altas/{_id(name)}"):
        entered = _told(request, place)
        if (answer := await elsewhere(request, key, entered)) is not None:
            return answer
        (entry,) = await _entries(request, {name: whose}, model, [fields])
        return await accepted(request, entry, "altas", key, entered)


def _told(request: Request, entry: str) -> Stands:
    """What says in the log which entry was made, and from where it came."""
    return lambda: deed(request, "an operator's entry", entry=entry)


async def _tokens(request: Request, named: Mapping[str, TokenDeCatalogo], **fields: Any) -> list[AltaMessage]:
    shown = [
        {"token_id": token.id, "nombre": token.nombre, "imagen": token.imagen, "precio": token.precio, **fields}
        for token in named.values()
    ]
    places = {name: f"/tokens/{token.id}" for name, token in named.items()}
    return await _entries(request, places, TokenPublicado, shown)


async def _entries(
    request: Request, named: Mapping[str, str], model: type[AltaMessage], shown: Sequence[Mapping[str, Any]]
) -> list[AltaMessage]:
    """Entries that have their ids by these names, each about the user or token with its path."""
    acceptance = door_of(request).acceptance
    dates = await acceptance.fecha_alta(*named.values())
    ours = {} if model is SaldoRecargado else {"orden": await acceptance.orden()}
    return [
        model(alta_id=_id(name), fecha=fecha, **ours, **fields)
        for name, fecha, fields in zip(named, dates, shown, strict=True)
    ]


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE, name))
