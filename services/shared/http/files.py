"""Files: the page's parts, pictures, what /docs needs. Who has one already is told so (304), and gets no more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import FileResponse
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

# Of a file that is longer than one piece no more is in hand: who does not read it holds two of these.
PIECE_BYTES: Final = 16 * 1024
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
        """304 for who has it."""
        if not self.is_not_modified(whole.headers, Headers(scope=scope)):
            return whole
        # A browser puts them in the place of those that it has: another policy would be the page's from then on.
        return Response(status_code=304, headers={name: whole.headers[name] for name in KEPT if name in whole.headers})


_ANY = Files(check_dir=False)


async def whole_file(request: Request, path: Path, headers: Mapping[str, str]) -> Response:
    """This file, or 304 for who has it. Raises OSError."""
    found = await run_in_threadpool(path.stat)
    return _ANY.answer(Whole(path, headers=headers, stat_result=found), request.scope)
