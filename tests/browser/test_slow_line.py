"""The page on a slow line, and what must not move on it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from browser_builders import RICH, Opened
from patience import PATIENCE_SECONDS, POLL_SECONDS
from playwright.async_api import Browser, Page, expect

Open = Callable[..., Any]
WEB = Path(__file__).parents[2] / "services" / "compras" / "web"
# A telephone on the edge of its network.
SLOW = {"offline": False, "latency": 800, "downloadThroughput": 20_000, "uploadThroughput": 20_000}
READABLE_MS = 3_000
MAX_BYTES = 54_000
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


async def page_at(browser: Browser, url: str, line: dict[str, Any] | None = None) -> tuple[Page, list[str], list[int]]:
    """A page that is being opened; what it asks for, and the bytes that come of all but its pictures."""
    page = await browser.new_page()
    asked: list[str] = []
    came: list[int] = []
    paths: dict[str, str] = {}

    def note(event: Any) -> None:
        paths[event["requestId"]] = path = "/" + event["request"]["url"].split("/", 3)[3]
        asked.append(path)

    def count(event: Any) -> None:
        if not paths[event["requestId"]].startswith("/imagenes"):
            came.append(event["encodedDataLength"])

    session = await page.context.new_cdp_session(page)
    session.on("Network.requestWillBeSent", note)
    session.on("Network.loadingFinished", count)
    await session.send("Network.enable")
    if line:
        await session.send("Network.emulateNetworkConditions", line)
    await page.goto(url, wait_until="commit")
    return page, asked, came


async def first_paint_ms(page: Page) -> float:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := float(await page.evaluate(FIRST_PAINT))):
            await asyncio.sleep(POLL_SECONDS)
    return found


async def test_on_a_slow_line_there_is_something_to_read_within_three_seconds(shop: Any, browser: Browser) -> None:
    # How long this machine takes for what the line does not.
    near, _, _ = await page_at(browser, shop.front)
    far, _, _ = await page_at(browser, shop.front, SLOW)
    took_ms = await first_paint_ms(far)
    # It does not wait for the scripts.
    assert not await far.evaluate("'ready' in document.documentElement.dataset")
    took_ms -= await first_paint_ms(near)
    assert took_ms < READABLE_MS
    await expect(far.locator(".brand")).to_contain_text("A shop that loses nothing")
    await expect(far.locator(".brand")).to_be_visible()
    await expect(far.locator(".card").first).to_be_visible()
    await expect(far.locator("html")).to_have_attribute("data-ready", "")


async def test_all_that_the_page_needs_first_is_asked_for_at_once_once_and_small(shop: Any, browser: Browser) -> None:
    page, asked, came = await page_at(browser, shop.front)
    await expect(page.locator("#link")).to_have_attribute("data-state", "live")
    await expect(page.locator(".card").first).to_be_visible()
    first = [path for path in asked if not path.startswith("/imagenes")]
    # Nothing waits for another script to be read: what the document names is all there is.
    document = (WEB / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:href|src)="(/[^"#]+)', document))
    assert {f"/web/{module.name}" for module in WEB.glob("*.js")} < named
    # The last records come later, and so do the names that the badges need.
    later = re.compile(r"/transacciones\?desde|/(tokens|usuarios)/\d+")
    others = {path for path in first if path not in named and not later.match(path)}
    assert others <= {"/", "/estado", "/eventos"}
    for path in ("/tokens?limite=49", "/usuarios?limite=49"):
        assert first.count(path) == 1, asked
    assert MAX_BYTES / 2 < sum(came) < MAX_BYTES


async def places(here: Opened) -> Any:
    return await here.page.eval_on_selector_all(
        ".card, .person", "all => all.map((one) => [one.getBoundingClientRect().x, one.getBoundingClientRect().y])"
    )


async def test_whatever_is_said_no_card_moves_under_the_pointer(entered: Open, opened: Open) -> None:
    await entered()
    for viewport in ({"width": 1280, "height": 900}, {"width": 390, "height": 844}):
        here: Opened = await opened(viewport=viewport, operator=True)
        before = await places(here)
        with here.shop.down("tokens"):
            await expect(here.page.locator("#shop-trouble")).to_have_text(re.compile("tokens no contesta"))
            assert await places(here) == before
            await here.axe()
            await here.page.locator(f".person[data-id='{RICH}'] button").click()
            await expect(here.page.locator("#shop-says")).to_be_visible()
            assert await places(here) == before
        await expect(here.page.locator("#shop-trouble")).to_be_hidden()
        with here.shop.down("compras"):
            await expect(here.page.locator("#away")).to_be_visible()
            assert await places(here) == before
            await expect(here.page.locator(".service[data-name=compras]")).to_have_attribute("data-state", "down")
            # It is needed most while nobody is there to name it.
            assert await here.page.locator("#links a", has_text="RabbitMQ").is_visible()
            await here.axe()
        await expect(here.page.locator("#away")).to_be_hidden()


async def test_what_a_reset_took_is_gone_and_so_is_the_word_that_there_is_more(shop: Any, opened: Open) -> None:
    here: Opened = await opened()
    many = [{"id": 600 + n, "nombre": f"T {n}", "imagen": "gato.jpg", "precio": 1, "vendido": False} for n in range(60)]
    await here.page.route("**/tokens?limite=49", lambda route: route.fulfill(json=many[:49]))
    more, cards = here.page.locator("#more"), here.page.locator(".card")
    await expect(more).to_be_visible()
    await here.page.unroute("**/tokens?limite=49")
    await here.page.route("**/tokens?limite=49", lambda route: route.fulfill(json=many[:2]))
    await expect(more).to_be_hidden()
    await expect(cards).to_have_count(2)
    await here.page.unroute_all()
    await expect(here.page.locator(".card[data-id='101']")).to_be_visible()


async def test_the_last_records_call_every_buyer_by_their_name(shop: Any, opened: Open, numbers: Any) -> None:
    tester, stranger = 900_000, 1_000_123
    # There is no room for the other in the shop.
    token, other = next(numbers), 1_000_124
    async with shop.client() as client:
        for user, name in ((tester, "Prueba 1"), (stranger, "Zoé de lejos")):
            await client.enter("PUT", f"/usuarios/{user}", {"nombre": name, "saldo": 100})
        for one in (token, other):
            await client.enter("PUT", f"/tokens/{one}", {"nombre": f"Uno {one}", "imagen": "zorro.jpg", "precio": 1})
        await client.quiet()
        here: Opened = await opened()
        await client.buy(tester, token)
        await client.buy(stranger, other)
        await client.quiet()
    for one, name in ((token, "Prueba 1"), (other, "Zoé de lejos")):
        await expect(here.page.locator("#records tr", has_text=f"Uno {one}").locator("td").nth(1)).to_have_text(name)
