"""The page in a real browser, in front of the real processes."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

# The same shop as the system's tests have; pytest gives every folder a `conftest` of its own.
_spec = importlib.util.spec_from_file_location("shops", Path(__file__).parents[1] / "system" / "conftest.py")
assert _spec and _spec.loader
shops = importlib.util.module_from_spec(_spec)
sys.modules["shops"] = shops
_spec.loader.exec_module(shops)

CHROMIUM = os.environ.get("ZOCO_CHROMIUM", "/usr/bin/chromium")
AXE = Path(AXE_FILE_PATH).read_text(encoding="utf-8")
# A machine that does much else at the same time.
PATIENCE_MS = 20_000
RICH, POOR = 3, 4

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One shop for all tests here; each puts its own token up for sale."""
    shop = shops.start(tmp_path_factory.mktemp("page"), ZOCO_NUDGE_SECONDS="2")
    yield shop
    shop.stop()
    assert shops.processes_of(shop.data.parent) == []


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return count(201)


@pytest.fixture
async def entered(shop: Any, numbers: Iterator[int]) -> Callable[..., Any]:
    """Puts a token up for sale, with a buyer who can pay and one who cannot; the token's id."""

    async def enter(nombre: str = "Prueba", precio: int = 10) -> int:
        token = next(numbers)
        async with shop.client() as client:
            await client.enter("PUT", f"/usuarios/{RICH}", {"nombre": "Marta", "saldo": 10**6})
            await client.enter("PUT", f"/usuarios/{POOR}", {"nombre": "Paco", "saldo": 0})
            await client.enter(
                "PUT", f"/tokens/{token}", {"nombre": f"{nombre} {token}", "imagen": "zorro.jpg", "precio": precio}
            )
            await client.quiet()
        return token

    return enter


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


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
            return [row for row in await client.get("/compras?limite=1000") if row["tokenId"] == token]

    async def axe(self) -> None:
        """Nothing in the way of a screen reader, a keyboard or weak eyes, in both themes."""
        for theme in ("light", "dark"):
            await self.page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            await self.page.evaluate(AXE)
            found = await self.page.evaluate("() => axe.run()")
            says = [(one["id"], one["help"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
            assert not says, (theme, json.dumps(says, indent=1)[:3000])


@pytest.fixture
async def opened(browser: Browser, shop: Any) -> AsyncIterator[Callable[..., Any]]:
    """Opens the page in a browser of its own. What the page complains of in its console fails the test."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    async def open_page(*, of: Any = None, url: str | None = None, operator: bool = False, **options: Any) -> Opened:
        front = of or shop
        options = {"viewport": {"width": 1280, "height": 900}, "locale": "es-ES", "reduced_motion": "reduce", **options}
        context = await browser.new_context(**options)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        key = f"#operador={front.running.operator_token}" if operator else ""
        await page.goto((url or front.front) + "/" + key)
        await expect(page.locator("#link")).to_have_attribute("data-state", "live")
        await expect(page.locator(".card").first).to_be_visible()
        return Opened(page, front)

    yield open_page
    assert complaints == []


@asynccontextmanager
async def lost_answers(page: Page, path: str) -> AsyncIterator[None]:
    """The requests arrive, and their answers do not."""

    async def lose(route: Any) -> None:
        await route.fetch()
        await route.abort()

    await page.route(path, lose)
    yield
    await page.unroute(path)
