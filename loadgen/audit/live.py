"""What each service shows over HTTP, against what its journal comes to: every row, every field, once, in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from loadgen.audit import model
from loadgen.audit.compare import same
from loadgen.audit.findings import NONSENSE, subject
from loadgen.audit.selling import Selling
from loadgen.audit.showing import Showing
from loadgen.audit.text import Text
from loadgen.audit.verdict import UNSET, Verdict

Row = dict[str, Any]
# What every shop shows; `altas` and `eventos` are looked at where they are given. `single` are rows that were asked for
# one by one, each of a process (`by`), `lists` what others show, or of whom `only`, `streams` are purchases' events,
# `resumed` those behind the one of a number, `behind` the processes that do not read on, `unasked` those that were not
# asked; of services that are `unknown` nobody named them.
NAMES: Final = ("usuarios", "tokens", "transacciones", "compras")
Live = Mapping[str, list[Any]]
# So many of those who did not answer are named.
NAMED: Final = 3


def selling_is_shown(verdict: Verdict, live: Live | None, selling: Selling) -> None:
    """Promise 8, of usuarios, tokens and transacciones. `live` has a list for each, and may lack some."""
    sides = {"usuarios": _users, "tokens": _tokens, "transacciones": _sales}
    if live is None:
        verdict.unchecked[8] = Text("the services were not asked")
        return
    missing = [name for name in NAMES if name not in live]
    if missing:
        verdict.in_part(8, Text("nobody was asked for {missing}", ", ".join(missing)))
    count = asked = 0
    for name, rows in sides.items():
        if name in live:
            due = list(rows(selling))
            ordered = name == "transacciones"
            _compare(verdict, name, live[name], due, ordered=ordered)
            _by_others(verdict, name, live, due, ordered=ordered)
            whole = {row["id"]: _whole_token(row, selling) if name == "tokens" else row for row in due}
            count, asked = count + len(due), asked + _one_by_one(verdict, name, live, whole)
    if asked < count:
        says = "of {count:,} users, tokens and records {asked:,} were asked for one by one"
        verdict.in_part(8, Text(says, count, asked))
    if live.get("unasked"):
        verdict.in_part(8, Text("nobody answered at {places}", ", ".join(map(str, live["unasked"][:NAMED]))))
    if live.get("unknown"):
        says = "of {services} nobody says which processes there are: others than the one at its address were not asked"
        verdict.in_part(8, Text(says, ", ".join(live["unknown"])))
    for one in live.get("behind", ()):
        why = "it says that it is ready, and reads no further, though there is more"
        verdict.breach(8, one["of"], why, book=one["of"], where=one["by"], field="records", stands=one["records"],
                       rules=one["upto"])  # fmt: skip


def purchases_are_shown(verdict: Verdict, live: Live | None, showing: Showing) -> None:
    """Promise 8, of compras."""
    if live is None:
        return
    if "compras" in live:
        due = list(_purchases(showing))
        _compare(verdict, "compras", live["compras"], due, ordered=True)
        _by_others(verdict, "compras", live, due, ordered=True)
        asked = _one_by_one(verdict, "compras", live, {row["id"]: row for row in due})
        _resumed(verdict, live.get("resumed", ()), showing)
        heard = _streams(verdict, live.get("streams", ()), showing)
        if min(asked, heard) < len(due):
            says = "of {count:,} purchases {asked:,} were asked for one by one, and {heard:,} for their events"
            verdict.in_part(8, Text(says, len(due), asked, heard))
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


def _by_others(verdict: Verdict, name: str, live: Live, rows: list[Row], *, ordered: bool) -> None:
    """What a service's other processes show, and the front door to who asks for all, or for what is of one."""
    for one in live.get("lists", ()):
        if one["of"] != name:
            continue
        if (status := one.get("status")) is not None:
            why = "who asks for the list is answered with an error"
            verdict.breach(8, name, why, book=name, where=one["by"], field="status", stands=status, rules=200)
        else:
            only = one.get("only", {}).items()
            due = [row for row in rows if all(row.get(field) == whose for field, whose in only)]
            _compare(verdict, name, one["rows"], due, ordered=ordered, where=one["by"])


def _compare(verdict: Verdict, name: str, shown: list[Any], rows: list[Row], *, ordered: bool, where: str = "") -> None:
    """`where`: at the one process that shows it."""
    due = {row["id"]: row for row in rows}
    seen: set[Any] = set()
    verdict.work.shown += len(shown)
    for row in shown:
        number = row.get("id") if isinstance(row, dict) else None
        number = number if isinstance(number, (int, str)) else None
        about = f"{name} {number}"
        if number in seen:
            verdict.breach(8, about, "it is shown twice", book=name, where=where)
        elif number not in due:
            why = "it is shown, and is not in the journal"
            verdict.breach(8, about, why, book=name, where=where, field="row", stands=row)
        else:
            for field in sorted(row.keys() | due[number].keys()):
                stands, rules = row.get(field, UNSET), due[number].get(field, UNSET)
                if not same(stands, rules):
                    why = "another value is shown than the journal has"
                    verdict.breach(8, about, why, book=name, where=where, field=field, stands=stands, rules=rules)
        seen.add(number)
    for number in due.keys() - seen:
        verdict.breach(8, f"{name} {number}", "it is in the journal, and is not shown", book=name, where=where)
    if ordered and [row.get("id") for row in shown if isinstance(row, dict)] != list(due) and seen == due.keys():
        verdict.breach(8, name, "they are not shown in their order", book=name, where=where)


def _whole_token(row: Row, selling: Selling) -> Row:
    """Asked for alone, it says who has it and who waits."""
    key = str(row["id"])
    token = selling.tokens.get(key) or selling.sold_token(key)
    held = token.get("reserva") and {
        name: token["reserva"][field]
        for name, field in (("compraId", "compra_id"), ("usuarioId", "usuario_id"), ("precio", "precio"))
    }
    return {**row, "reserva": held, "cola": [waits["compra_id"] for waits in token.get("cola", ())]}


def _one_by_one(verdict: Verdict, name: str, live: Live, due: Mapping[Any, Row]) -> int:
    """How many of these rows somebody asked for. What is in no journal the lists say."""
    asked = [one for one in live.get("single", ()) if one["of"] == name and one["id"] in due]
    for one in asked:
        verdict.work.shown += 1
        row, rules, about = one["row"], due[one["id"]], f"{name} {one['id']}"
        if (status := one.get("status")) is not None:
            why = "it is in the journal, and who asks for it is answered with an error"
            verdict.breach(8, about, why, book=name, where=one["by"], field="status", stands=status, rules=200)
        elif not isinstance(row, dict):
            why = "it is in the journal, and is not shown to who asks for it"
            verdict.breach(8, about, why, book=name, where=one["by"], field="row", stands=row)
        elif not same(row, rules):
            for field in sorted(row.keys() | rules.keys()):
                if not same(stands := row.get(field, UNSET), is_so := rules.get(field, UNSET)):
                    why = "another value is shown to who asks for it than the journal has"
                    verdict.breach(8, about, why, book=name, where=one["by"], field=field, stands=stands, rules=is_so)
    return len({one["id"] for one in asked})


def _streams(verdict: Verdict, streams: Sequence[Any], showing: Showing) -> int:
    """How many purchases' events were listened to, from the first or, where that is long ago, from how it stands."""
    count = 0
    for stream in streams:
        about, shown = stream["id"], stream["shown"]
        if (found := showing.purchase(about)) is None:
            continue
        count += 1
        verdict.work.shown += len(shown)
        try:
            ways = [found[1][:number] for number, kind in enumerate(found[1], 1) if kind in model.STATES]
            due = [model.version(found[0], way) for way in ways]
        except NONSENSE:
            continue
        # In which order a book was written again nobody knows.
        if not same(shown[-1:], due[-1:]) or not (len(shown) == 1 or showing.rewritten(about) or same(shown, due)):
            why = "other events are told than the journal has"
            verdict.breach(8, f"compras {about}", why, book="compras", where=stream["by"], field="events",
                           stands=shown, rules=due)  # fmt: skip
    return count


def _resumed(verdict: Verdict, resumed: Sequence[Any], showing: Showing) -> None:
    """Who was away is told what happened since, all of it, and nothing else."""
    places: dict[str, list[int]] = {one["id"]: [] for one in resumed}
    for _, saying in showing.journals["compras"].sayings(silent=True) if places else ():
        if (about := subject(saying.id)) in places:
            places[about].append(saying.seq)
    for one in resumed:
        about, shown = one["id"], one["shown"]
        found = showing.purchase(about)
        # In which order a book was written again nobody knows.
        if found is None or len(found[1]) != len(places[about]) or showing.rewritten(about):
            continue
        verdict.work.shown += len(shown)
        since = [number for number, seq in enumerate(places[about], 1) if seq > one["behind"]]
        try:
            due = [
                model.version(found[0], found[1][:number]) for number in since if found[1][number - 1] in model.STATES
            ]
        except NONSENSE:
            continue
        if not same(shown, due):
            why = "other events are told behind one that was heard than the journal has"
            verdict.breach(8, f"compras {about}", why, book="compras", where=one["by"], field="events", stands=shown,
                           rules=due)  # fmt: skip


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
