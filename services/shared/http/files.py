"""Files: the page's parts, pictures, what /docs needs. Who has one already is told so (304), and gets no more."""

from __future__ import annotations

import os
from calendar import timegm
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import strptime
from typing import Any, Final

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import FileResponse
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from services.shared.http.gzipped import told
from services.shared.http.problems import Problem

# Of a file that is longer than one piece no more is in hand: who does not read it holds two of these.
PIECE_BYTES: Final = 16 * 1024
# As one is written now, and as they were once.
DATES: Final = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
KEPT: Final = (*NotModifiedResponse.NOT_MODIFIED_HEADERS, "content-security-policy")


class Whole(FileResponse):
    """A file that is never sent in parts. It is small: Range is ignored, as a server may (RFC 9110, section 14.2)."""

    def __init__(self, path: Any, *, headers: Mapping[str, str], stat_result: os.stat_result) -> None:
        super().__init__(path, headers={**headers, "Accept-Ranges": "none"}, stat_result=stat_result)
        if stat_result.st_size >= self.chunk_size:
            self.chunk_size = PIECE_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


class Files(StaticFiles):
    """A folder of them."""

    def file_response(
        self, full_path: Any, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        return self.answer(Whole(full_path, headers={}, stat_result=stat_result), scope)

    def answer(self, whole: Whole, scope: Scope) -> Response:
        """304 for who has it. Raises Problem (412) for who wants it as it is not (RFC 9110, section 13.2.2)."""
        asked, tag = Headers(scope=scope), whole.headers["etag"]
        if "if-match" in asked:
            fails = not _tags(asked, "if-match") & {tag, "*"}
        else:
            fails = (since := _time(asked, "if-unmodified-since")) is not None and _modified(whole) > since
        if fails:
            raise Problem(
                412, "this is not as you want it (If-Match, If-Unmodified-Since): ask without, and see how it is"
            )
        if "if-none-match" in asked:
            has = bool(_tags(asked, "if-none-match") & {tag, f"W/{tag}", "*"})
        else:
            has = (since := _time(asked, "if-modified-since")) is not None and _modified(whole) <= since
        if not has:
            return whole
        # A browser puts them in the place of those that it has: another policy would be the page's from then on.
        return Response(status_code=304, headers={name: whole.headers[name] for name in KEPT if name in whole.headers})


def _tags(headers: Headers, name: str) -> set[str]:
    """Those that it names. Ours has no comma in it."""
    return {one.strip() for one in told(headers, name).split(",")}


def _modified(whole: Whole) -> float:
    return _time(whole.headers, "last-modified") or 0.0


def _time(headers: Headers, name: str) -> float | None:
    """What a header dates, as RFC 9110 has it (section 5.6.7); what is no date is none."""
    for form in DATES:
        with suppress(ValueError, OverflowError):
            return float(timegm(strptime(headers.get(name, ""), form)))
    return None


_ANY = Files(check_dir=False)


async def whole_file(request: Request, path: Path, headers: Mapping[str, str]) -> Response:
    """This file, or 304 for who has it. Raises OSError."""
    found = await run_in_threadpool(path.stat)
    return _ANY.answer(Whole(path, headers=headers, stat_result=found), request.scope)
