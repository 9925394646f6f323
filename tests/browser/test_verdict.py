"""What the page's verdict claims, since when it knows, and what it costs to know."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browser_builders import RICH, Opened
from playwright.async_api import Route, expect
from shop_builders import processes_of, start

Open = Callable[..., Any]
# What a whole shop of 20,000 may cost; and one of a few hundred here, beside its users.
MAX_BYTES = 300_000
# Past so many records of the front door's journal a shop is large (verdict.js).
LARGE = 2_000


async def test_nothing_is_claimed_while_purchases_are_under_way_or_the_door_is_away(
    entered: Open, opened: Open
) -> None:
    token = await entered()
    here: Opened = await opened()
    checked, short = here.page.locator("#checked"), here.page.locator("#short")
    good, unknown = here.page.locator("#promises li[data-holds=yes]"), re.compile("^$")
    await expect(good).to_have_count(5)
    await expect(checked).to_contain_text("Comprobado a las")
    with here.shop.down("transacciones"):
        await here.buy(RICH, token)
        await expect(checked).to_have_text(re.compile(r"^1 en camino: .* Lo último comprobado: a las \d+:\d\d:\d\d"))
        await expect(short).to_have_attribute("data-unknown", unknown)
        await expect(here.page.locator("#sum")).to_have_attribute("data-unknown", unknown)
        await expect(good).to_have_count(0)
        await here.axe()
    await here.reaches(token, "registrada")
    await expect(good).to_have_count(5)
    with here.shop.down("compras"):
        await expect(checked).to_contain_text("Ahora no se sabe: la tienda no contesta. Lo último comprobado: a las")
        await expect(short).to_have_attribute("data-unknown", unknown)
        await expect(good).to_have_count(0)
        await here.axe()
    await expect(good).to_have_count(5)


@pytest.fixture
def own(tmp_path_factory: Any) -> Any:
    shop = start(tmp_path_factory.mktemp("own"), ZOCO_NUDGE_SECONDS="2")
    yield shop
    shop.stop()
    assert processes_of(shop.data.parent) == {}


async def told_otherwise(here: Opened, path: str, change: Callable[[list[Any]], object]) -> None:
    """From now on what is read there is another."""

    async def lie(route: Route) -> None:
        answer = await route.fetch()
        rows = await answer.json()
        change(rows)
        await route.fulfill(response=answer, json=rows)

    await here.page.route(path, lie)


async def test_a_breach_is_seen_whichever_it_is(own: Any, opened: Open) -> None:
    tokens = range(301, 307)
    async with own.client() as client:
        await client.prepare(users=[RICH], tokens=tokens, saldo=100, precio=1)
        await client.quiet()
    here: Opened = await opened(of=own)
    await expect(here.page.locator("#promises li[data-holds=yes]")).to_have_count(5)
    lies: list[tuple[str, Callable[[list[Any]], object], set[int]]] = [
        ("**/usuarios?limite=10000", lambda rows: rows[0].update(saldo=rows[0]["saldo"] + 1), {1}),
        ("**/usuarios?limite=10000", lambda rows: rows[0].update(saldo=-1), {1, 2}),
        ("**/tokens?limite=1000", lambda rows: next(row for row in rows if row["vendido"]).update(vendido=False), {3}),
        (
            "**/transacciones?desde=*&limite=1000",
            lambda rows: rows.append({**rows[-1], "id": rows[-1]["id"] + 1}),
            {3, 5},
        ),
        ("**/transacciones?desde=*&limite=1000", lambda rows: rows[-1].update(tokenId=1), {5}),
        ("**/transacciones?desde=*&limite=1000", lambda rows: rows.pop(), {5}),
    ]
    for token, (path, change, broken) in zip(tokens, lies, strict=True):
        # All is known from here on; what comes is told otherwise.
        await here.page.reload()
        await expect(here.page.locator("#promises li[data-holds=yes]")).to_have_count(5)
        await told_otherwise(here, path, change)
        await here.buy(RICH, token)
        await here.reaches(token, "registrada")
        holds = ["no" if promise in broken else "yes" for promise in range(1, 6)]
        for promise, wanted in enumerate(holds):
            await expect(here.page.locator("#promises li").nth(promise)).to_have_attribute("data-holds", wanted)
        await expect(here.page.locator("#short")).to_have_attribute("data-broken", re.compile("^$"))
        await here.page.unroute_all()


@pytest.mark.long
async def test_a_large_shop_is_known_from_when_the_page_is_opened_and_costs_what_is_new(own: Any, opened: Open) -> None:
    async with own.client() as client:
        stock = range(1_000, 1_000 + LARGE // 5)
        await client.prepare(users=[RICH], tokens=[*stock, *range(5_000, 5_003)], saldo=10**6, precio=1)
        for token in stock:
            await client.ask(RICH, token)
        await client.quiet()
        assert (await client.get("/estado"))["servicios"]["compras"]["records"] > LARGE
        here: Opened = await opened(of=own)
        sizes = await measured(here)
        checked = here.page.locator("#checked")
        await expect(checked).to_have_text(
            re.compile(r"^Comprobado a las \S+: 0 compras, las de desde las \S+\. Las de")
        )
        for token in range(5_000, 5_003):
            await client.ask(RICH, token)
        await expect(checked).to_have_text(re.compile(r"^Comprobado a las \S+: 3 compras, las de desde las"))
        await expect(here.page.locator("#promises li[data-holds=yes]")).to_have_count(5)
    # Neither all of the purchases nor all of the tokens; what the shop and the room ask for is not its own.
    own = {path: size for path, size in sizes.items() if re.search("limite=10", path)}
    assert {path.split("?")[0] for path in own} == {"/usuarios", "/transacciones"}
    assert sum(own.values()) < MAX_BYTES / 100, own


async def measured(here: Opened) -> dict[str, int]:
    """The bytes that each address of the API costs from now on."""
    sizes: dict[str, int] = {}
    paths: dict[str, str] = {}
    browser = await here.page.context.new_cdp_session(here.page)

    def asked(event: Any) -> None:
        path = "/" + event["request"]["url"].split("/", 3)[3]
        if not path.startswith(("/imagenes", "/web")):
            paths[event["requestId"]] = path

    def got(event: Any) -> None:
        if path := paths.get(event["requestId"]):
            sizes[path] = sizes.get(path, 0) + int(event["encodedDataLength"])

    browser.on("Network.requestWillBeSent", asked)
    browser.on("Network.loadingFinished", got)
    await browser.send("Network.enable")
    return sizes
