"""The page in a real browser, in front of the real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from typing import Any

import pytest
from browser_builders import CHROMIUM, PATIENCE_MS, POOR, RICH, Opened, operators_link
from playwright.async_api import Browser, ConsoleMessage, async_playwright, expect
from shop_builders import processes_of, start


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One shop for all tests here; each puts its own token up for sale."""
    shop = start(tmp_path_factory.mktemp("page"), ZOCO_NUDGE_SECONDS="2")
    yield shop
    shop.stop()
    assert processes_of(shop.data.parent) == {}


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
        await page.goto(operators_link(front, url) if operator else (url or front.front) + "/")
        await expect(page.locator("#link")).to_have_attribute("data-state", "live")
        await expect(page.locator(".card").first).to_be_visible()
        return Opened(page, front)

    yield open_page
    assert complaints == []
