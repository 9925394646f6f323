"""How a browser becomes the operator's, without a key in its address or its storage: a code that works once, soon.

`zoco operator` asks for the code and prints the page's address with it; the page exchanges it for a cookie.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field, SecretStr

from services.compras.answers import Body, door_of
from services.compras.codes import CODE_SECONDS, LONGEST, maker_of, with_maker
from services.shared.http.bodies import json_bytes, read_body, runtime_of, unconditional
from services.shared.http.credentials import CHALLENGE, AsOperator, Keyholder, Operator, deed, keyholder, refusals
from services.shared.http.openapi import OPERATORS, Vista, documented, problems
from services.shared.http.problems import PROVEN, Problem
from services.shared.http.sessions import SESSION_SECONDS, cookie_name, new_session

routes = APIRouter()
GONE: Final = (
    "this code was used already, is older than a minute, or the process that made it is gone: `zoco operator` prints "
    "another"
)
NOT_KEPT: Final = {"Cache-Control": "no-store"}


class EsOperador(Vista):
    operador: Literal[True]


class CodigoVisto(Vista):
    """For the page's address, behind `#codigo=`: once, and for so many seconds."""

    codigo: str
    segundos: int


class Entrada(Body):
    """What `POST /operador/codigos` gave."""

    codigo: Annotated[str, Field(min_length=1, max_length=LONGEST)]


class SesionVista(Vista):
    """For so many seconds this browser is the operator's."""

    segundos: int


@routes.get(
    "/operador",
    summary="Whether this is the operator's token, or session (operator)",
    responses={200: {"model": EsOperador}, **OPERATORS},
)
async def operador(_: Operator) -> Response:
    return json_bytes({"operador": True}, headers=NOT_KEPT)


@routes.post(
    "/operador/codigos",
    summary="A code that lets one browser in as the operator, once, within a minute (operator)",
    responses={200: {"model": CodigoVisto}, **OPERATORS, **problems(412, 503)},
)
async def codigo(request: Request, _: Keyholder) -> Response:
    """By the key alone: a session begins no other."""
    unconditional(request.scope["headers"])
    if (answer := await door_of(request).forwarding.at_the_leader(request)) is not None:
        return answer
    deed(request, "a code for a browser was made")
    made, runtime = door_of(request).codes.make(), runtime_of(request)
    if runtime.store.lags and (token := runtime.settings.operator_token) is not None:
        # Others that write do not know it.
        made = with_maker(made, runtime.settings.public_url, token)
    return json_bytes({"codigo": made, "segundos": CODE_SECONDS}, headers=NOT_KEPT)


@routes.post(
    "/operador/sesion",
    summary="Exchange a code, or the operator's token, for a cookie (operator)",
    openapi_extra=documented(Entrada),
    responses={200: {"model": SesionVista}, **OPERATORS, **problems(412, 413, 415, 422, 503)},
)
async def entrar(request: Request, sent: AsOperator) -> Response:
    """Without a body the token is asked for, as a bearer. The cookie is for this address alone; no script sees it."""
    token: SecretStr | None = runtime_of(request).settings.operator_token
    if token is None or not await request.body():
        await keyholder(request, sent)
        unconditional(request.scope["headers"])
        assert token is not None
    else:
        # The codes are with the process that made them; the cookie can be made, and is known, by each.
        entrada = await read_body(request, Entrada)
        code, maker = maker_of(entrada.codigo, token)
        answer = await _elsewhere(request, maker)
        if answer is not None and answer.status_code != 200:
            return answer
        if answer is None and not door_of(request).codes.take(code):
            refusals.note(request)
            raise Problem(401, GONE, headers=CHALLENGE)
    deed(request, "a browser is the operator's now")
    cookie = _cookie(request, cookie_name(token), new_session(token), SESSION_SECONDS)
    return json_bytes({"segundos": SESSION_SECONDS}, headers={"Set-Cookie": cookie, **NOT_KEPT})


async def _elsewhere(request: Request, maker: str | None) -> Response | None:
    """What is answered by the process that has the code. None if that is this one. Raises Problem (401, 503)."""
    forwarding = door_of(request).forwarding
    if (answer := await forwarding.at_the_leader(request)) is not None or maker is None:
        return answer
    if maker == runtime_of(request).settings.public_url or request.scope.get(PROVEN):
        return None
    told = await forwarding.leader.ask_at(maker, request)
    if isinstance(told, str):
        # It ended with its codes, or somebody else has its address.
        raise Problem(401, GONE, headers=CHALLENGE)
    return told


@routes.delete(
    "/operador/sesion",
    summary="Let this browser forget its session",
    responses={200: {"model": SesionVista}, **problems(412)},
)
async def salir(request: Request) -> Response:
    unconditional(request.scope["headers"])
    token: SecretStr | None = runtime_of(request).settings.operator_token
    headers = {"Set-Cookie": _cookie(request, cookie_name(token), "", 0)} if token else {}
    return json_bytes({"segundos": 0}, headers=headers)


def _cookie(request: Request, name: str, value: str, seconds: int) -> str:
    # What a browser says of its page is true behind a proxy, too.
    origin = request.headers.get("origin") or str(request.base_url)
    secure = "; Secure" if origin.startswith("https:") else ""
    return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
