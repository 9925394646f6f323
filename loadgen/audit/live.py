"""What each service shows over HTTP, against what its journal comes to: every row, every field, once, in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadgen.audit import model
from loadgen.audit.compare import same
from loadgen.audit.selling import Selling
from loadgen.audit.showing import Showing
from loadgen.audit.text import Text
from loadgen.audit.verdict import UNSET, Verdict

Row = dict[str, Any]
# What every shop shows; `altas` and `eventos` are looked at where they are given.
NAMES: Final = ("usuarios", "tokens", "transacciones", "compras")
Live = Mapping[str, list[Any]]


def selling_is_shown(verdict: Verdict, live: Live | None, selling: Selling) -> None:
    """Promise 8, of usuarios, tokens and transacciones. `live` has a list for each, and may lack some."""
    sides = {"usuarios": _users, "tokens": _tokens, "transacciones": _sales}
    if live is None:
        verdict.unchecked[8] = Text("the services were not asked")
        return
    missing = [name for name in NAMES if name not in live]
    if missing:
        verdict.in_part(8, Text("nobody was asked for {missing}", ", ".join(missing)))
    for name, rows in sides.items():
        if name in live:
            _compare(verdict, name, live[name], list(rows(selling)), ordered=name == "transacciones")


def purchases_are_shown(verdict: Verdict, live: Live | None, showing: Showing) -> None:
    """Promise 8, of compras."""
    if live is None:
        return
    if "compras" in live:
        _compare(verdict, "compras", live["compras"], list(_purchases(showing)), ordered=True)
    if "altas" in live:
        _compare(verdict, "altas", live["altas"], list(_entries(showing)), ordered=False)
    if "eventos" in live:
        _events(verdict, live["eventos"], showing)


def _users(selling: Selling) -> Iterator[Row]:
    for row in selling.users.values():
        if row.get("nombre") is not None:
            yield {name: row[name] for name in ("id", "nombre", "saldo")}


def _tokens(selling: Selling) -> Iterator[Row]:
    rows = {key: selling.sold_token(key) for key in selling.sold if key not in selling.tokens} | selling.tokens
    for row in rows.values():
        if row.get("nombre") is not None:
            yield {name: row.get(name) for name in ("id", "nombre", "imagen", "precio", "vendido")}


def _sales(selling: Selling) -> Iterator[Row]:
    for _, record in selling.journals["transacciones"].records():
        for word in record.words:
            names = ("usuarioId", "tokenId", "fecha")
            yield {"id": word.get("transaccionId"), **{name: word.get(name) for name in names}}


def _purchases(showing: Showing) -> Iterator[Row]:
    for _, record in showing.journals["compras"].records():
        about, _, kind = record.id.rpartition(":")
        if kind == "compra.solicitada" and (found := showing.purchase(about)) is not None:
            yield model.shown(found[0])


def _entries(showing: Showing) -> Iterator[Row]:
    rows: dict[str, Row] = {}
    for _, record in showing.journals["compras"].records():
        change = record.change or {}
        if "tipo" in change or record.row in rows:
            rows[record.row] = {**rows.get(record.row, {}), **change}
    yield from (model.entry_shown(row) for row in rows.values())


def _compare(verdict: Verdict, name: str, shown: list[Any], rows: list[Row], *, ordered: bool) -> None:
    due = {row["id"]: row for row in rows}
    seen: set[Any] = set()
    verdict.work.shown += len(shown)
    for row in shown:
        number = row.get("id") if isinstance(row, dict) else None
        number = number if isinstance(number, (int, str)) else None
        about = f"{name} {number}"
        if number in seen:
            verdict.breach(8, about, "it is shown twice", book=name)
        elif number not in due:
            verdict.breach(8, about, "it is shown, and is not in the journal", book=name, field="row", stands=row)
        else:
            for field in sorted(row.keys() | due[number].keys()):
                stands, rules = row.get(field, UNSET), due[number].get(field, UNSET)
                if not same(stands, rules):
                    why = "another value is shown than the journal has"
                    verdict.breach(8, about, why, book=name, field=field, stands=stands, rules=rules)
        seen.add(number)
    for number in due.keys() - seen:
        verdict.breach(8, f"{name} {number}", "it is in the journal, and is not shown", book=name)
    if ordered and [row.get("id") for row in shown if isinstance(row, dict)] != list(due) and seen == due.keys():
        verdict.breach(8, name, "they are not shown in their order", book=name)


def _events(verdict: Verdict, shown: list[Any], showing: Showing) -> None:
    """What `/eventos` showed, from the first record on: its number, the kind of event, and what it says."""
    due: dict[int, Row] = {}
    heard: dict[str, int] = {}
    kinds: dict[str, str] = {}
    for _, record in showing.journals["compras"].records():
        change = record.change or {}
        about = record.row
        heard[about] = heard.get(about, 0) + 1
        kinds.setdefault(about, str(change.get("tipo", "")))
        found = showing.purchase(about)
        if found is None and "estado" in change:
            due[record.seq] = {"evento": "alta", "tipo": kinds[about], "estado": change["estado"]}
        elif found is not None and "historia" in change:
            due[record.seq] = {"evento": "compra", **model.version(found[0], found[1][: heard[about]])}
    for event in shown:
        verdict.work.shown += 1
        says = {name: value for name, value in event.items() if name != "seq"}
        if not same(says, due.get(event["seq"])):
            why = "another event is shown than the journal has"
            verdict.breach(8, Text("event {seq}", event["seq"]), why, book="compras", field="event", stands=says,
                           rules=due.get(event["seq"], UNSET))  # fmt: skip
    for seq in due.keys() - {event["seq"] for event in shown}:
        verdict.breach(8, Text("event {seq}", seq), "it is in the journal, and is not shown", book="compras",
                       field="event", rules=due[seq])  # fmt: skip
