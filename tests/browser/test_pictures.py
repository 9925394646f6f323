"""The README's pictures: what the page looks like, taken from the real one. PICTURES=1 keeps them in docs/images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_builders import Opened
from playwright.async_api import expect
from shop_builders import start

FOLDER = Path(__file__).parents[2] / "docs" / "images"
PICTURES = ("page.jpg", "phone.jpg")
MAX_BYTES = 150_000


@pytest.mark.long
async def test_the_pictures_show_a_purchase_that_waits_for_a_service_that_is_down(
    tmp_path_factory: Any, opened: Callable[..., Any]
) -> None:
    shop = start(tmp_path_factory.mktemp("pictures"))
    folder = FOLDER if os.environ.get("PICTURES") else shop.data.parent
    try:
        size = {"width": 1280, "height": 1040}
        here: Opened = await opened(of=shop, operator=True, locale="en-GB", color_scheme="light", viewport=size)
        await here.page.click("#collection button")
        await expect(here.page.locator(".card[data-id='114']")).to_be_visible()
        await here.buy(1, 101)
        await expect(here.page.locator(".life").first.locator("li[data-step='registrada'][data-done]")).to_be_visible()
        await expect(here.page.locator("#short")).to_have_text("0 lost · 0 doubled")
        row = here.page.locator(".service[data-name=transacciones]")
        await row.locator("button").click()
        await expect(row).to_have_attribute("data-state", "down")
        # On a busy machine all of this takes longer than the page's ten seconds.
        shop.hold("transacciones", 120)
        await here.buy(2, 110)
        await expect(here.page.locator(".life").first.locator("li[data-step='confirmada'][data-done]")).to_be_visible()
        await here.buy(1, 112)
        await expect(here.page.locator(".life").first.locator("[data-refused]")).to_be_visible()
        await expect(here.page.locator(".life").nth(1).locator(".why")).to_contain_text("its record waits in the queue")
        await expect(row.locator(".chart span")).to_have_text("1 queued")
        await expect(row).to_have_attribute("data-state", "down")
        await here.page.mouse.move(0, 0)
        await here.page.evaluate("scrollTo(0, 0)")
        await here.page.screenshot(path=folder / PICTURES[0], type="jpeg", quality=65)
        await here.page.emulate_media(color_scheme="dark")
        await here.page.set_viewport_size({"width": 390, "height": 844})
        await here.page.evaluate("scrollTo(0, 0)")
        await here.page.screenshot(path=folder / PICTURES[1], type="jpeg", quality=65)
    finally:
        shop.stop()
    for name in PICTURES:
        assert 20_000 < (folder / name).stat().st_size < MAX_BYTES
        assert 20_000 < (FOLDER / name).stat().st_size < MAX_BYTES, f"PICTURES=1 makes {name} anew"
