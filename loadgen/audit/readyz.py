"""Which book a service has, as it says at /readyz: over HTTP its book is shown without headers."""

from __future__ import annotations

from typing import Any

import aiohttp

from loadgen.audit.headers import HEIGHT


async def identity_at(http: aiohttp.ClientSession, url: str) -> tuple[str, int] | None:
    """Its book and generation; None: it does not say it. Raises aiohttp.ClientError."""
    async with http.get(f"{url}/readyz") as answer:
        try:
            return _identity(await answer.json(content_type=None))
        except ValueError:
            return None


def _identity(state: Any) -> tuple[str, int] | None:
    book = state.get("book") if isinstance(state, dict) else None
    heights = book.get("heights") if isinstance(book, dict) else None
    found = HEIGHT.match(heights) if isinstance(heights, str) else None
    return (found[2], int(found[3])) if found else None
