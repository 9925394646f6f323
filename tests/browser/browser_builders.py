"""A page in front of a shop, and what the tests do with it. pytest puts this folder on the path."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_FILE_PATH
from playwright.async_api import Page, Route, expect
from shop_builders import ZOCO, purchases

CHROMIUM = os.environ.get("ZOCO_CHROMIUM", "/usr/bin/chromium")
AXE = Path(AXE_FILE_PATH).read_text(encoding="utf-8")
# A machine that does much else at the same time.
PATIENCE_MS = 90_000
RICH, POOR = 3, 4

expect.set_options(timeout=PATIENCE_MS)


def operators_link(shop: Any, url: str | None = None) -> str:
    """As the command prints it; of another replica, if that is asked for."""
    words = (str(ZOCO), "operator", "--json", "--data", str(shop.data))
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    link: str = json.loads(done.stdout)["link"]
    return link.replace(shop.front, url) if url else link


class Opened:
    """A page, and what the tests do with it again and again."""

    def __init__(self, page: Page, shop: Any) -> None:
        self.page, self.shop = page, shop

    async def choose(self, user: int) -> None:
        await self.page.locator(f"label[for=buyer-{user}]").click()

    def button(self, token: int) -> Any:
        return self.page.locator(f".card[data-id='{token}'] button")

    async def buy(self, user: int, token: int) -> None:
        await self.choose(user)
        await self.button(token).click()

    def life(self, token: int) -> Any:
        """The newest purchase on the page of this token."""
        return self.page.locator(".life", has_text=f" {token},").first

    async def reaches(self, token: int, step: str) -> None:
        await expect(self.life(token).locator(f"li[data-step='{step}'][data-done]")).to_be_visible()

    async def purchases(self, token: int) -> list[Any]:
        """As the front door has them."""
        async with self.shop.client() as client:
            return [row async for row in purchases(client) if row["tokenId"] == token]

    async def axe(self) -> None:
        """Nothing in the way of a screen reader, a keyboard or weak eyes, in both themes."""
        for theme in ("light", "dark"):
            await self.page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            await self.page.evaluate(AXE)
            found = await self.page.evaluate("() => axe.run()")
            says = [(one["id"], one["help"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
            assert not says, (theme, json.dumps(says, indent=1)[:3000])


def answered(status: int, detail: str) -> Callable[[Route], Awaitable[None]]:
    """What answers a request with this problem."""
    return lambda route: route.fulfill(status=status, json={"detail": detail})


@asynccontextmanager
async def lost_answers(page: Page, path: str) -> AsyncIterator[None]:
    """The requests arrive, and their answers do not."""

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await page.route(path, lose)
    yield
    await page.unroute(path)
