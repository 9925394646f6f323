"""The page at `/`: its files, what curl gets instead, and the button that knocks a service down."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse

from services.compras.answers import door_of
from services.compras.chaos import MAX_SECONDS, able, knock_down
from services.compras.chaos_local import DEFAULT_SECONDS
from services.shared.http.bodies import Decimal, unconditional
from services.shared.http.credentials import Operator, deed
from services.shared.http.files import whole_file
from services.shared.http.gzipped import told, weights
from services.shared.http.openapi import OPERATORS, Vista, problems
from services.shared.http.problems import Problem

WEB: Final = Path(__file__).with_name("web")
SHOWN: Final = {".css", ".js", ".svg"}
# Only what this server sends, and nothing inline: a name with markup in it stays a name.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    # Asked for again each time, and answered 304: a new version is seen at once.
    "Cache-Control": "no-cache",
}

# For /docs: what kinds of text the page and its parts are.
PAGE: Final = {"content": {kind: {"schema": {"type": "string"}} for kind in ("text/html", "text/plain")}}
PART: Final = {
    "content": {kind: {"schema": {"type": "string"}} for kind in ("text/css", "text/javascript", "image/svg+xml")}
}

routes = APIRouter()


class Derribo(Vista):
    """What was killed, which process or pod that was, and the command that does the same."""

    derribado: str
    quien: str
    orden: str


@routes.get(
    "/",
    summary="The page; plain text for who does not ask for HTML",
    response_class=Response,
    responses={200: PAGE, **problems(412)},
)
async def page(request: Request) -> Response:
    headers = {**HEADERS, "Vary": "Accept, Accept-Language"}
    if wants_html(told(request.headers, "accept")):
        return await whole_file(request, WEB / "index.html", headers)
    text = (WEB / f"page.{language(request)}.txt").read_text(encoding="utf-8")
    return PlainTextResponse(text.replace("{url}", str(request.base_url).rstrip("/")), headers=headers)


def language(request: Request) -> str:
    """Spanish for who would rather have it, else English (RFC 9110, section 12.5.4)."""
    asked = weights(told(request.headers, "accept-language"))
    spoken = {name: weight for name, weight in asked.items() if name.partition("-")[0] in ("es", "en") and weight > 0}
    return max(spoken, key=spoken.__getitem__, default="en")[:2]


def wants_html(accepted: str) -> bool:
    """Whether that is named, and not as less welcome than plain text (RFC 9110, section 12.5.1)."""
    asked = weights(accepted)
    html, plain = asked.get("text/html", 0.0), asked.get("text/plain", asked.get("text/*", asked.get("*/*", 0.0)))
    return html > 0 and html >= plain


@routes.get(
    "/web/{file}",
    summary="A part of the page",
    response_class=FileResponse,
    responses={200: PART, **problems(404, 412)},
)
async def part(request: Request, file: str) -> Response:
    path = WEB / file
    if not re.fullmatch(r"[a-z]+\.[a-z]+", file) or path.suffix not in SHOWN or not path.is_file():
        raise Problem(404, f"there is no {file!r} in the page")
    return await whole_file(request, path, HEADERS)


@routes.post(
    "/operador/derribos/{servicio}",
    summary="Kill a service, for real; it is started again by itself (operator)",
    responses={200: {"model": Derribo}, **OPERATORS, **problems(404, 412, 422, 503)},
)
async def derribo(
    request: Request,
    servicio: str,
    _: Operator,
    segundos: Annotated[
        float, Query(ge=0, le=MAX_SECONDS, description="How long it stays down, where that can be chosen"), Decimal
    ] = DEFAULT_SECONDS,
) -> dict[str, Any]:
    """Off unless ZOCO_KNOCK_DOWN says where: `zoco up` switches it on."""
    unconditional(request.scope["headers"])
    chaos = able(door_of(request).chaos, servicio)
    # Before it is done: it may be this process that ends.
    deed(request, "the operator knocks a service down")
    return await knock_down(chaos, servicio, segundos)
