"""Who may what: the operator's key is for the front door, the books' for whoever reads or puts a whole book.

A browser shows a session instead of the operator's key: see `sessions.py`.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import Annotated, Any, Final

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from services.shared.http.problems import PROVEN, Problem
from services.shared.http.sessions import session_holds, session_of
from services.shared.logs import shown

log = structlog.get_logger()

# So often at the most it is said that somebody's credential was refused.
REFUSALS_SECONDS: Final = 1.0
READING: Final = ("GET", "HEAD")
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="zoco"'}

# They answer nothing by themselves: they are for /docs, which asks for the token, and for /openapi.json.
_operators: Final = HTTPBearer(auto_error=False, scheme_name="operator", description="The token of ZOCO_OPERATOR_TOKEN")
_books: Final = HTTPBearer(auto_error=False, scheme_name="books", description="The token of ZOCO_BOOKS_TOKEN")
AsOperator = Annotated[HTTPAuthorizationCredentials | None, Depends(_operators)]
AsBookKeeper = Annotated[HTTPAuthorizationCredentials | None, Depends(_books)]


def address(request: Request) -> str:
    """Whose request this is."""
    return request.client.host if request.client else "unknown"


class Refusals:
    """One line for each credential that was refused; of many in a second two, with their number."""

    def __init__(self) -> None:
        self._more = 0
        self._waits: asyncio.TimerHandle | None = None

    def note(self, request: Request) -> None:
        self._last = {"address": address(request), "method": request.method, "path": shown(request.scope["path"])}
        if self._waits is not None:
            self._more += 1
            return
        log.warning("a credential was refused", **self._last)
        self._again()

    def _again(self) -> None:
        self._waits = asyncio.get_running_loop().call_later(REFUSALS_SECONDS, self._tell)

    def _tell(self) -> None:
        self._waits = None
        if self._more:
            log.warning("more credentials were refused", times=self._more, **self._last)
            self._more = 0
            self._again()


refusals: Final = Refusals()


def deed(request: Request, what: str, **more: Any) -> None:
    """A line for what somebody did by a credential. Of what a replica passes on, that one has told already."""
    if not request.scope.get(PROVEN):
        log.info(what, address=address(request), method=request.method, path=shown(request.scope["path"]), **more)


async def keyholder(request: Request, sent: AsOperator) -> None:
    """Let only who has the operator's key through. Answers 401, and 403 where none is configured."""
    if request.scope.get(PROVEN):
        return
    _check(request, sent, request.app.state.runtime.settings.operator_token, "operator")


async def operator(request: Request, sent: AsOperator) -> None:
    """Let the operator through, by the key or by a session of this page. Answers 401, and 403."""
    if request.scope.get(PROVEN):
        # Another replica looked at that before it passed this on.
        return
    token: SecretStr | None = request.app.state.runtime.settings.operator_token
    if sent is None and token is not None and (told := session_of(token, request.scope)):
        if not session_holds(token, told):
            refusals.note(request)
            raise Problem(
                401, "this session has ended: `zoco operator` prints a link that begins another", headers=CHALLENGE
            )
        if not _of_our_page(request):
            refusals.note(request)
            raise Problem(403, "another page sent this with the operator's session: only the shop's own page may")
        return
    _check(request, sent, token, "operator")


async def books(request: Request, sent: AsBookKeeper) -> None:
    """Let only who may read and put whole books through. Answers 401, and 403 where no token is configured."""
    _check(request, sent, request.app.state.runtime.settings.books_token, "books")


def _check(request: Request, sent: HTTPAuthorizationCredentials | None, token: SecretStr | None, whose: str) -> None:
    setting = f"ZOCO_{whose.upper()}_TOKEN"
    if token is None:
        raise Problem(403, f"this is off here: set {setting} and start again")
    if sent is not None and hmac.compare_digest(sent.credentials.encode(), token.get_secret_value().encode()):
        return
    if "authorization" in request.headers:
        # Another scheme's, too.
        refusals.note(request)
    whom = "the operator's" if whose == "operator" else "for who keeps the books"
    raise Problem(
        401,
        f"this is {whom}: send 'Authorization: Bearer TOKEN' with the token of {setting}",
        headers=CHALLENGE,
    )


def _of_our_page(request: Request) -> bool:
    """Whether a browser sent this for a page of this address: another's has the cookie sent along, too, where it is of
    the same site. Browsers say so to https and to localhost; to others only what a request that changes something
    says of its origin."""
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    if (origin := request.headers.get("origin")) is not None:
        return bool(request.app.state.hosts.is_own(origin, request.headers.get("host", "")))
    return request.method in READING


Operator = Annotated[None, Depends(operator)]
Keyholder = Annotated[None, Depends(keyholder)]
BookKeeper = Annotated[None, Depends(books)]
