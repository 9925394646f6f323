"""What a service answers who asks for one row, or listens to one purchase, against what its journal comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from audit_shop import LIVE, Ask, Shop
from audit_stories import ANA, GATO, LUIS, LUNA
from edited_books import Edited, Record, copied
from small_shops import told, verdict_of

from loadgen.audit.verdict import Verdict

FIRST: Final = "http://first"
Live = dict[str, list[Any]]


async def bought(shop: Shop) -> None:
    """Luis holds 101, which Ana waits for, and 102 is sold to him; then all is quiet."""
    await shop.seed("usuarios", ANA, LUIS)
    await shop.seed("tokens", GATO, LUNA)
    await shop.buy(Ask(2, 102, "sold"), Ask(1, 101, "first"), Ask(2, 101, "late"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return told(tmp_path / "shop", bought)


def live_of(folder: Path) -> Live:
    """All of it, each row by itself, too, and each purchase's events."""
    live: Live = json.loads((folder / LIVE).read_text(encoding="utf-8"))
    single = [
        {"of": name, "id": row["id"], "by": FIRST, "row": _whole(name, row, live)}
        for name, rows in live.items()
        for row in rows
    ]
    steps = {row["id"]: _events(row) for row in live["compras"]}
    streams = [{"id": about, "by": FIRST, "shown": shown} for about, shown in steps.items()]
    records = [record for record in Edited(folder).compras.records if "historia" in (record["change"] or {})]
    resumed = []
    for about, shown in steps.items():
        places = [record["seq"] for record in records if record["row"] == about]
        resumed += [
            {"id": about, "by": FIRST, "behind": place, "shown": copied(shown[number:])}
            for number, place in enumerate(places, 1)
        ]
    lists = [
        {"of": name, "by": f"{FIRST}/{name}", "only": {"usuarioId": 2}, "rows": [copied(row) for row in of_luis]}
        for name in ("compras", "transacciones")
        if (of_luis := [row for row in live[name] if row["usuarioId"] == 2])
    ]
    return {**live, "single": single, "lists": lists, "streams": streams, "resumed": resumed, "unasked": []}


def _whole(name: str, row: Record, live: Live) -> Record:
    if name != "tokens":
        return copied(row)
    buyer = next(one for one in live["compras"] if one["tokenId"] == row["id"] and one["estado"] == "registrada")
    held = {"compraId": buyer["id"], "usuarioId": buyer["usuarioId"], "precio": buyer["precio"]}
    return {**copied(row), "reserva": held, "cola": []}


def _events(row: Record) -> list[Record]:
    """One for each step of its history."""
    found = []
    for count in range(1, len(row["historia"]) + 1):
        steps = row["historia"][:count]
        event = {**copied(row), "estado": steps[-1]["estado"], "historia": steps}
        for name, since in (("precio", "reservada"), ("transaccionId", "registrada"), ("motivo", "rechazada")):
            if since not in [step["estado"] for step in steps]:
                event.pop(name, None)
        found.append(event)
    return found


def judged(folder: Path, live: Live) -> Verdict:
    return verdict_of(folder, live=live)


def test_what_is_shown_one_by_one_as_in_the_journals_holds_and_all_was_asked_for(shop: Path) -> None:
    verdict = judged(shop, live_of(shop))
    assert verdict.holds, verdict.breaches
    assert 8 not in verdict.partly


def test_of_a_purchase_that_began_long_ago_only_how_it_stands_is_told(shop: Path) -> None:
    live = live_of(shop)
    for stream in live["streams"]:
        del stream["shown"][:-1]
    assert judged(shop, live).holds


def single(live: Live, name: str) -> Record:
    found: Record = next(one for one in live["single"] if one["of"] == name)
    return found


def stale(live: Live) -> None:
    """A purchase as it stood before."""
    one = single(live, "compras")
    one["row"] = next(stream for stream in live["streams"] if stream["id"] == one["id"])["shown"][1]


def of_a_second_process(live: Live) -> None:
    one = copied(single(live, "usuarios"))
    one["by"], one["row"]["saldo"] = "http://second", one["row"]["saldo"] + 1
    live["single"].append(one)


def held_by_nobody(live: Live) -> None:
    single(live, "tokens")["row"]["reserva"] = None


def waited_for(live: Live) -> None:
    single(live, "tokens")["row"]["cola"] = [live["compras"][0]["id"]]


def not_there(live: Live) -> None:
    single(live, "transacciones")["row"] = None


def an_error(live: Live) -> None:
    single(live, "transacciones").update(row=None, status=500)


def no_row(live: Live) -> None:
    single(live, "transacciones")["row"] = "<html>"


def a_field_more(live: Live) -> None:
    single(live, "usuarios")["row"]["clave"] = 1


def another_list(live: Live) -> Record:
    live["lists"] = [{"of": "usuarios", "by": "http://second", "rows": copied(live["usuarios"])}]
    found: Record = live["lists"][0]
    return found


def a_list_of_a_second_process(live: Live) -> None:
    another_list(live)["rows"][0]["saldo"] += 1


def a_row_of_its_list_missing(live: Live) -> None:
    del another_list(live)["rows"][0]


def a_list_that_fails(live: Live) -> None:
    another_list(live).update(rows=[], status=500)


def everybodys(live: Live) -> None:
    live["lists"][0]["rows"] = copied(live["compras"])


def not_all_of_one(live: Live) -> None:
    del live["lists"][0]["rows"][-1]


def heard_again(live: Live) -> None:
    live["resumed"][-1]["shown"].append(copied(live["streams"][-1]["shown"][-1]))


def never_heard(live: Live) -> None:
    live["resumed"][0]["shown"].pop()


def that_never_reads_on(live: Live) -> None:
    live["behind"] = [{"of": "usuarios", "by": "http://second", "records": 1, "upto": 9}]


def another_event(live: Live) -> None:
    live["streams"][0]["shown"][1]["precio"] += 1


def an_event_missing(live: Live) -> None:
    del live["streams"][0]["shown"][1]


def an_event_twice(live: Live) -> None:
    live["streams"][0]["shown"].insert(1, copied(live["streams"][0]["shown"][1]))


def no_end(live: Live) -> None:
    live["streams"][0]["shown"].pop()


def silent(live: Live) -> None:
    live["streams"][0]["shown"].clear()


@pytest.mark.parametrize(
    "lie",
    [
        stale,
        of_a_second_process,
        held_by_nobody,
        waited_for,
        not_there,
        an_error,
        no_row,
        a_field_more,
        a_list_of_a_second_process,
        a_row_of_its_list_missing,
        a_list_that_fails,
        everybodys,
        not_all_of_one,
        heard_again,
        never_heard,
        that_never_reads_on,
        another_event,
        an_event_missing,
        an_event_twice,
        no_end,
        silent,
    ],
    ids=lambda lie: lie.__name__,
)
def test_who_asks_for_one_is_shown_what_the_journal_has(shop: Path, lie: Callable[[Live], None]) -> None:
    live = live_of(shop)
    lie(live)
    verdict = judged(shop, live)
    assert verdict.counts.keys() == {8}, verdict.breaches
    assert verdict.breaches[0].where in (FIRST, f"{FIRST}/compras", "http://second")


def test_what_a_second_process_shows_as_in_the_journal_holds(shop: Path) -> None:
    live = live_of(shop)
    another_list(live)
    assert judged(shop, live).holds


def test_what_was_not_asked_for_is_said(shop: Path) -> None:
    live = live_of(shop)
    live["unknown"] = ["tokens", "usuarios"]
    live["unasked"] = ["http://second"]
    live["single"] = [one for one in live["single"] if one is single(live, "tokens")]
    del live["streams"][0]
    assert judged(shop, live).partly[8] == [
        "of 6 users, tokens and records 1 were asked for one by one",
        "nobody answered at http://second",
        "of tokens, usuarios nobody says which processes there are: others than the one at its address were not asked",
        "of 3 purchases 0 were asked for one by one, and 2 for their events",
    ]
