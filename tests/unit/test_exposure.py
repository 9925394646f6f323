"""What a fault met: purchases that were under way, each counted once, and until when."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from loadgen.audit.verdict import Verdict
from loadgen.drill.drill_report import DrillReport
from loadgen.drill.exposure import by_kind, exposed, meetings
from loadgen.drill.faults import BROKER, NETWORK, Fault, Happened, Kind
from loadgen.drill.footprint import Footprint
from loadgen.load.meter import Meter

REPORT = DrillReport(
    scenario="all",
    mix="normal",
    seed=7,
    rate=250,
    without=None,
    must_break=frozenset(),
    meter=Meter(),
    faults=(),
    verdict=Verdict(),
    left=None,
    footprint=Footprint(),
)


def fault(kind: Kind, victim: str, began: float, over: float | None = None) -> Happened:
    return Happened(Fault(began, kind, victim), began, began if over is None else over)


def meter(**purchases: tuple[float, float, float | None]) -> Meter:
    """Purchases by name: due, accepted, and sold at; a name that begins with `r` is refused."""
    found = Meter()
    for name, (due, accepted, ended) in purchases.items():
        found.arrives(due)
        found.accepts(name, due, accepted)
        if ended is not None:
            found.ends(name, ended, sold=not name.startswith("r"))
    return found


def test_a_fault_meets_what_is_under_way_from_its_beginning_until_the_first_sale_accepted_after_its_end() -> None:
    load = meter(
        before=(1, 2, 9.9),
        ends_in_it=(1, 2, 10.0),
        through_it=(9, 9.5, 14),
        waits_for_its_answer=(9.9, 12, 13),
        refused=(11.5, 12.1, 12.2),
        comes_in_it=(11, 11.2, 12.5),
        first_sale_after_it=(12.1, 12.4, 12.8),
        due_until_then=(12.8, 12.9, 13.1),
        too=(12.3, 12.5, 13.2),
        after=(12.81, 12.9, 13.1),
        never_ended=(5, 6, None),
    )
    (met,) = meetings([fault("freeze", "tokens", 10, 12)], load)
    assert met.back == 12.8
    # Not the sale that shows it: it came after the fault was over.
    assert met.purchases == 8
    assert met.seconds is not None and round(met.seconds, 6) == 2.8


def test_what_ended_while_a_killed_service_was_still_down_does_not_show_that_the_shop_is_back() -> None:
    load = meter(in_it=(10, 10.1, 10.5), after=(13, 13.1, 13.4))
    assert [met.back for met in meetings([fault("kill", "tokens", 10, 12)], load)] == [13.4]


def test_purchases_under_two_faults_are_counted_once_in_all_and_once_by_kind() -> None:
    load = meter(a=(0, 1, 20), b=(4, 5.6, 6), c=(8, 9.1, 9.5), d=(12, 13.1, 13.5), e=(30, 31, 32))
    faults = [
        fault("kill", "tokens", 5),
        fault("kill", "usuarios", 5.5),
        fault("kill", BROKER, 9),
        fault("cut", NETWORK, 13),
        Happened(Fault(31, "kill", "compras"), 31, 31, "there was no compras to kill"),
    ]
    met = meetings(faults, load)
    assert [one.purchases for one in met] == [2, 2, 2, 2]
    assert (exposed(met, load).faults, exposed(met, load).purchases) == (4, 4)
    kinds = {kind: (found.faults, found.purchases) for kind, found in by_kind(met, load).items()}
    assert kinds == {("cut", "the network"): (1, 2), ("kill", "RabbitMQ"): (1, 2), ("kill", "services"): (2, 2)}


def test_the_counts_are_those_of_looking_at_every_purchase_and_every_fault() -> None:
    for seed in range(40):
        random = Random(seed)
        load = Meter()
        for number in range(60):
            due = random.uniform(0, 50)
            accepted = due + random.expovariate(3)
            load.arrives(due)
            load.accepts(str(number), due, accepted)
            if random.random() < 0.95:
                load.ends(str(number), accepted + random.expovariate(1), sold=random.random() < 0.7)
        faults = [fault("kill", "tokens", at, at + random.random()) for at in (random.uniform(0, 60) for _ in range(9))]
        met = meetings(faults, load)

        touched = set()
        for one in met:
            over, began, back = one.happened.over, one.happened.began, one.back
            sales = [p.ended for p in load.purchases.values() if p.sold and p.ended and p.accepted >= over]
            assert back == min(sales, default=None)
            names = {
                name
                for name, p in load.purchases.items()
                if (back is None or p.due <= back)
                and (p.ended is None or p.ended >= began)
                # The sale by which one sees that the shop is back.
                and not (p.sold and p.ended == back and p.due > over)
            }
            assert one.purchases == len(names)
            touched |= names
        assert exposed(met, load).purchases == len(touched)


def test_a_fault_that_met_no_purchase_proved_nothing_and_the_drill_fails() -> None:
    load = meter(a=(0, 1.1, 2), b=(3, 3.1, 3.2), long_after=(50, 50.1, 50.2))
    met, met_none = fault("kill", "tokens", 1), fault("kill", "usuarios", 20)
    fine = replace(REPORT, meter=load, faults=[met])
    assert (fine.reasons, fine.exit_code) == ([], 0)
    found = replace(REPORT, meter=load, faults=[met, met_none])
    assert [one.purchases for one in found.met] == [1, 0]
    assert found.reasons == ["20.0 s: kill usuarios: it met no purchase, and proved nothing"]
    assert dict(found.rows())["proved nothing"] == "1 faults met no purchase"
    assert found.exit_code == 1
    assert found.as_json()["faults"][1]["underWay"] == 0


def test_a_kill_with_no_later_sale_fails_and_in_a_mix_with_nothing_left_to_sell_one_with_no_later_end() -> None:
    load = meter(a=(0, 1, 9), refused=(10, 10.1, 10.3))
    found = replace(REPORT, meter=load, faults=[fault("kill", "tokens", 5)])
    assert found.reasons == ["5.0 s: kill tokens: nothing was sold after it"]
    assert dict(found.rows())["not back"] == "1 faults: nothing was sold after it"
    assert found.as_json()["faults"][0]["back"] is False
    assert replace(found, mix="flood").holds
    assert replace(found, mix="flood", faults=[fault("kill", "tokens", 10.2)]).reasons == [
        "10.2 s: kill tokens: no purchase ended after it"
    ]


def test_what_0_means_is_said_of_the_purchases_that_met_a_fault_and_of_nothing_else() -> None:
    load = meter(**{f"p{number}": (number, number + 0.05, number + 1.2) for number in range(1000)})
    found = replace(REPORT, meter=load, faults=[fault("kill", "tokens", 500.15), fault("kill", BROKER, 700.15)])
    rows = found.rows()
    assert dict(rows)["accepted"] == "1,000: sold 1,000, refused 0"
    assert dict(rows)["what 0 means"].startswith("none of 6 purchases under way")
    assert ("of these", "kill, RabbitMQ, 1 times: 3 purchases under way, so at most 100.000%") in rows
    as_json = found.as_json()
    assert as_json["atMost"] == 0.5
    assert as_json["purchases"] == {"accepted": 1000, "sold": 1000, "refused": 0, "exposed": 6}
    assert as_json["kinds"]["kill services"] == {"faults": 1, "purchases": 3, "atMost": 1.0}
    broken = Verdict()
    broken.breach(3, "token 1", "sold twice")
    assert replace(found, verdict=broken).as_json()["atMost"] is None
    assert "what 0 means" not in dict(replace(found, verdict=broken).rows())


def test_only_this_loads_purchases_count() -> None:
    """Ends of others' purchases come by the same journal: older loads', and those of the page's buyers beside it."""
    load = meter(a=(0, 1, 2))
    for number in range(24):
        load.ends(f"somebody else's {number}", 1.5, sold=True)
    assert (load.sold, load.refused, len(load.purchases)) == (1, 0, 1)
    found = replace(REPORT, meter=load, faults=[fault("kill", "tokens", 0.5)])
    assert found.exposed.purchases == 1
    assert dict(found.rows())["accepted"] == "1: sold 1, refused 0"
