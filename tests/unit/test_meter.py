"""What a load measures, and what a drill says about it."""

from __future__ import annotations

import mmap
import os
import pickle
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import psutil
import pytest

from loadgen.audit.verdict import Verdict
from loadgen.drill.drill_report import DrillReport, Judged, meaning, upper_bound
from loadgen.drill.explain import block
from loadgen.drill.faults import Fault, Happened
from loadgen.drill.footprint import Footprint, Sample, held
from loadgen.drill.report import html
from loadgen.load.latency import Latency, quantiles
from loadgen.load.meter import Meter
from loadgen.load.rows import measured


def bought(meter: Meter, about: str, due: float, accepted: float, ended: float, *, sold: bool = True) -> None:
    meter.arrives(due)
    meter.accepts(about, due, accepted)
    meter.ends(about, ended, sold=sold)


def drill_report(meter: Meter, verdict: Verdict, *faults: Happened, left: str | None = None) -> DrillReport:
    return DrillReport(
        scenario="transacciones",
        mix="normal",
        seed=7,
        rate=250,
        without=None,
        must_break=frozenset(),
        meter=meter,
        faults=faults,
        verdict=verdict,
        left=left,
        footprint=Footprint(),
    )


def test_percentiles_are_those_of_a_known_distribution_to_two_digits() -> None:
    latency = Latency()
    for milliseconds in range(1, 1001):
        latency.record(milliseconds / 1000)
    found = latency.summary()
    for name, seconds in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)):
        assert abs(found[name] / seconds - 1) < 0.01, name


def test_latency_counts_from_the_instant_at_which_a_request_was_due() -> None:
    meter = Meter()
    # Due during an outage of three seconds, and answered after it.
    bought(meter, "a", due=100.0, accepted=103.0, ended=103.5)
    assert abs(meter.accept.summary()["max"] - 3.0) < 0.05
    assert abs(meter.end.summary()["max"] - 3.5) < 0.05


def test_the_backlog_is_what_is_due_and_has_not_ended() -> None:
    meter = Meter()
    for number in range(4):
        meter.arrives(number)
    meter.accepts("a", 0, 1)
    meter.accepts("b", 1, 2)
    assert (meter.backlog, meter.unfinished) == (4, 2)
    meter.ends("a", 3, sold=True)
    meter.ends("a", 4, sold=True)
    meter.rejects(4)
    meter.abandons(4)
    assert (meter.backlog, meter.unfinished, meter.backlog_peak) == (1, 1, 4)
    meter.ends("b", 5, sold=False)
    assert (meter.backlog, meter.unfinished, meter.sold, meter.refused) == (0, 0, 1, 1)


def test_an_end_that_is_seen_before_its_answer_counts_once() -> None:
    meter = Meter()
    meter.arrives(0)
    meter.ends("a", 1, sold=True)
    meter.accepts("a", 0, 2)
    assert (meter.backlog, meter.unfinished, meter.sold) == (0, 0, 1)
    assert meter.end.summary()["max"] > 1.9


def test_a_request_sent_twice_under_one_key_ends_with_its_purchase() -> None:
    meter = Meter()
    for due in (0, 1):
        meter.arrives(due)
        meter.accepts("a", due, due + 0.5)
    meter.ends("a", 2, sold=True)
    assert (meter.backlog, meter.sold, meter.accepted) == (0, 1, 2)


def test_recovery_is_the_end_of_the_first_sale_that_was_accepted_after_the_kill() -> None:
    meter = Meter()
    bought(meter, "before", 0, 0.5, 12)
    bought(meter, "refused", 10.1, 10.2, 10.3, sold=False)
    bought(meter, "slow", 10.2, 10.5, 13)
    bought(meter, "quick", 10.4, 11, 11.5)
    quick, refused = meter.purchases["quick"], meter.purchases["refused"]
    assert meter.recoveries([10, 11.1]) == [quick, None]
    assert meter.recoveries([10, 11.1], by_sales=False) == [refused, None]


def test_the_longest_pause_is_between_the_ends_of_two_sales() -> None:
    meter = Meter()
    bought(meter, "only", 0, 0.5, 1)
    assert meter.longest_pause_seconds is None
    bought(meter, "refused", 0, 0.5, 3, sold=False)
    bought(meter, "late", 0, 0.5, 4.5)
    bought(meter, "between", 2, 2.5, 2.5)
    assert meter.longest_pause_seconds == 2


def test_a_request_belongs_to_the_second_in_which_it_was_due_whenever_it_was_answered() -> None:
    meter = Meter()
    bought(meter, "a", due=100, accepted=100.2, ended=100.5)
    # The client was busy, and saw the answers of these much later.
    bought(meter, "b", due=100.9, accepted=103.4, ended=103.5)
    bought(meter, "c", due=101, accepted=103.4, ended=103.6)
    meter.answers(None, 102.5)
    first, second, third, fourth = meter.points
    assert [point.at_seconds for point in meter.points] == [0, 1, 2, 3]
    assert [point.arrived for point in meter.points] == [2, 1, 0, 0]
    assert [point.accepted for point in meter.points] == [1, 0, 0, 2]
    assert [point.finished for point in meter.points] == [1, 0, 0, 2]
    assert [point.unanswered for point in meter.points] == [0, 0, 1, 0]
    assert [point.backlog for point in meter.points] == [1, 2, 2, 0]
    assert first.accept == pytest.approx((0.2, 2.5))
    assert second.end == pytest.approx((2.6, 2.6))
    assert (third.accept, fourth.accept) == (None, None)


def sending(rate: float, lags: Sequence[float]) -> Meter:
    """A load at this rate, each request sent so many seconds late, and answered and sold at once."""
    meter = Meter()
    meter.asked_rate = rate
    for number, lag in enumerate(lags):
        due = 100 + number / rate
        meter.arrives(due)
        meter.sends(due, due + lag)
        meter.accepts(str(number), due, due + lag + 0.01)
        meter.ends(str(number), due + lag + 0.02, sold=True)
    return meter


def test_a_client_that_sends_when_it_should_claims_its_latencies() -> None:
    meter = sending(100, [0.002] * 300)
    assert meter.limits == []
    assert meter.rate == pytest.approx(100, rel=0.01)
    assert meter.as_json()["client"]["lagSeconds"]["max"] == pytest.approx(0.002, rel=0.02)
    assert meter.as_json()["acceptSeconds"]["max"] == pytest.approx(0.012, rel=0.02)
    assert dict(measured(meter))["POST to 202"].startswith("p50 12 ms")
    # Six hundredths of a second are much of a load of three requests, and nothing to judge its rate by.
    assert sending(100, [0.001, 0.001, 0.006]).limits == []


@pytest.mark.parametrize(
    ("lags", "says"),
    [
        # Further behind with each request, as a client is that is asked for more than it can do.
        ([number * 0.0006 for number in range(300)], "it reached 94.4 of 100.0 requests a second"),
        # On time but for two in a hundred.
        ([0.2 if number % 50 == 25 else 0.001 for number in range(300)], "it sent 20"),
    ],
)
def test_a_client_that_was_too_slow_says_so_and_claims_no_latency_anywhere(lags: list[float], says: str) -> None:
    meter = sending(100, lags)
    assert any(limit.startswith("the client was too slow") and says in limit for limit in meter.limits)
    as_json = drill_report(meter, Verdict(), killed(101, 101.5)).as_json()
    load = as_json["load"]
    assert load["client"]["limits"] == meter.limits
    for name in ("acceptSeconds", "endSeconds", "longestPauseSeconds", "drainSeconds"):
        assert load[name] is None, name
    assert all(second["accept"] is None and second["end"] is None for second in load["seconds"])
    assert as_json["recoverySeconds"] == [{"victim": "tokens", "back": True, "seconds": None}]
    assert as_json["faults"][0]["backSeconds"] is None
    rows = drill_report(meter, Verdict(), killed(101, 101.5)).rows()
    assert [value for name, value in rows if name == "NO LATENCY"] == meter.limits
    assert not {"POST to 202", "POST to end", "services back", "longest pause"} & dict(rows).keys()
    page = html("drill", meter, [], rows)
    assert "Latency" not in page and page.count("<svg") == 2


def test_what_the_client_ran_out_of_is_no_answer_of_the_shop() -> None:
    meter = sending(100, [0.001] * 200)
    meter.ran_out["the client ran out of descriptors"] += 3
    assert meter.limits == ["the client ran out of descriptors (3 times)"]
    assert meter.as_json()["acceptSeconds"] is None
    assert meter.as_json()["statuses"] == {}


def test_the_meters_of_several_processes_come_to_what_one_would_have_counted() -> None:
    whole, parts = Meter(), [Meter(), Meter()]
    whole.asked_rate = parts[0].asked_rate = 100
    for number in range(200):
        due = 50 + number / 100
        for meter in (whole, parts[number % 2]):
            meter.arrives(due)
            meter.sends(due, due + (0.03 if number % 2 else 0.001))
            meter.answers(202, due + 0.1)
            meter.accepts(f"purchase {number // 3}", due, due + 0.1 + number / 1000)
        for meter in (whole, parts[0]):
            meter.ends(f"purchase {number // 3}", due + 0.5, sold=number % 2 == 0)
    parts[0].add(pickle.loads(pickle.dumps(parts[1])))
    assert parts[0].as_json() == whole.as_json()
    assert parts[0].purchases == whole.purchases
    with pytest.raises(ValueError, match="twice"):
        parts[1].add(whole)


def test_none_in_so_many_means_at_most_three_in_so_many() -> None:
    assert upper_bound(10_000) == 0.0003
    assert upper_bound(0) is None
    assert "0.030%" in meaning(10_000)
    assert meaning(0) == "nothing: no purchase was under way during a fault"


def test_the_quantiles_of_few_values_are_among_them() -> None:
    assert quantiles([3.0]) == {"p50": 3.0, "p99": 3.0, "max": 3.0}
    assert quantiles([4.0, 1.0, 2.0, 3.0]) == {"p50": 2.0, "p99": 4.0, "max": 4.0}


def test_a_drill_report_holds_only_if_something_was_sold_and_nothing_is_wrong() -> None:
    meter = Meter()
    assert drill_report(meter, Verdict()).reasons == ["nothing was sold, so nothing was proved"]
    bought(meter, "a", 0, 1, 2)
    assert drill_report(meter, Verdict()).holds
    broken = Verdict()
    broken.breach(3, "token 1", "sold twice")
    assert drill_report(meter, broken).reasons == ["promise 3 is broken: a token has at most one buyer"]
    unchecked = Verdict(unchecked={8: "the services were not asked"})
    assert not drill_report(meter, unchecked).holds
    missed = Happened(Fault(1, "kill", "tokens"), 0, 0, "there was no tokens to kill")
    assert not drill_report(meter, Verdict(), missed).holds
    assert drill_report(meter, Verdict(), left="not quiet after 1 s").reasons == ["not quiet after 1 s"]
    unread = replace(drill_report(meter, Verdict()), unread="the books cannot be read: no")
    assert unread.reasons == ["the books cannot be read: no"]
    assert not {"lost", "doubled", "oversold", "money"} & dict(unread.rows()).keys()
    judged = replace(drill_report(meter, Verdict()), judged=[Judged("judge", [("judge", "no")], ["it says no"], 7)])
    assert judged.reasons == ["it says no"]
    assert dict(judged.rows())["judge"] == "no"
    assert judged.as_json()["judge"] == 7
    meter.wrong.append("no JSON was answered 500")
    assert drill_report(meter, Verdict()).reasons == ["no JSON was answered 500 (1 times)"]


def test_what_a_drill_without_a_guarantee_shows_is_one_of_three_and_never_that_all_is_well() -> None:
    meter = Meter()
    bought(meter, "a", 0, 1, 2)
    broken = Verdict()
    without = replace(drill_report(meter, broken), without="dedupe", must_break=frozenset({9}))
    assert (without.missed, without.exit_code, without.holds) == (False, 3, False)
    assert without.reasons == [f"without dedupe: {without.outcome}"]
    assert "IT WAS NOT MISSED: the audit is blind" in dict(without.rows())["without"]
    assert "what 0 means" not in dict(without.rows())
    # Nothing sold, a fault that could not be carried out, books that nobody can read, another promise.
    for other in (
        replace(without, meter=Meter()),
        replace(without, faults=[Happened(Fault(1, "cut", "the network"), 0, 0, "there is no proxy")]),
        replace(without, unread="the books cannot be read: no"),
    ):
        assert (other.missed, other.exit_code) == (False, 3)
        assert "NOT MISSED BY ITS OWN PROMISE" in str(other.as_json()["outcome"])
    broken.breach(4, "a", "another promise")
    assert (without.missed, without.exit_code) == (False, 3)
    assert "NOT MISSED BY ITS OWN PROMISE" in dict(without.rows())["without"]
    broken.breach(9, "a", "acted twice")
    assert (without.missed, without.exit_code, without.holds) == (True, 1, False)
    assert without.outcome == "it was missed by its own promise: the drill fails, as it should"
    assert drill_report(meter, broken).missed is None
    assert drill_report(meter, broken).exit_code == 1


def test_a_guarantee_is_not_missed_by_what_a_slow_shop_has_not_ended_yet() -> None:
    meter = Meter()
    bought(meter, "a", 0, 1, 2)
    broken = Verdict(lost=17)
    broken.breach(4, "b", "it was accepted, and has no end")
    left = (
        "not quiet after 8 s: 17 purchases and entries on their way; messages waiting: {'tokens': 17}; not ready: none"
    )
    without = replace(drill_report(meter, broken, left=left), without="confirm", must_break=frozenset({4}))
    assert (without.missed, without.exit_code) == (True, 1)
    broken.proven = Counter()
    assert (without.missed, without.exit_code, without.holds) == (False, 3, False)
    assert without.outcome == "IT WAS NOT MISSED: the shop did not come to rest, which shows nothing"
    # What is lost whether the others come to rest or not.
    broken.proven[4] += 1
    assert (without.missed, without.exit_code) == (True, 1)


def killed(began: float, over: float, victim: str = "tokens") -> Happened:
    return Happened(Fault(began - 100, "kill", victim), began, over)


def test_requests_that_were_given_up_are_a_row_and_a_reason_to_fail() -> None:
    meter = Meter()
    bought(meter, "a", 0, 1, 2)
    for _ in range(197):
        meter.arrives(0)
        meter.abandons(120)
    found = drill_report(meter, Verdict())
    assert (found.holds, found.exit_code) == (False, 1)
    assert found.reasons == ["197 requests were given up: not accepted in 120 s"]
    assert dict(found.rows())["given up"] == "197"


def test_a_drill_report_tells_recovery_of_services_and_of_the_broker_apart() -> None:
    meter = Meter()
    for second in range(20):
        bought(meter, str(second), second, second + 0.1, second + 0.2)
    kills = [killed(5.0, 5.0), killed(9.15, 9.15, "rabbitmq")]
    found = drill_report(meter, Verdict(), *kills)
    assert [round(item["seconds"], 2) for item in found.as_json()["recoverySeconds"]] == [0.2, 1.05]
    rows = dict(found.rows())
    assert "200 ms" in rows["services back"]
    assert "1.05 s" in rows["RabbitMQ back"]
    assert rows["faults"] == "kill rabbitmq, kill tokens"


def test_a_report_needs_nothing_but_itself_and_shows_every_fault() -> None:
    meter = Meter()
    bought(meter, "a", 100, 100.2, 100.5)
    page = html("a <drill>", meter, [killed(100.5, 100.5)], [("lost", "0 & none")])
    assert page.count("<svg") == 3
    assert page.count("<title>0.5 s: kill tokens</title>") == 3
    assert "a &lt;drill&gt;" in page
    assert "0 &amp; none" in page
    assert "Red lines: the faults" in page
    for outside in ("http:", "https:", "src=", "url(", "import"):
        assert outside not in page


def test_a_report_says_when_by_which_version_and_on_which_machine_and_of_no_faults_where_there_are_none() -> None:
    meter = Meter()
    bought(meter, "a", 100, 100.2, 100.5)
    page = html("load", meter, [], [])
    assert re.search(r"<p>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z · zoco \d+\.\d+\.\d+ · .*CPU", page)
    assert "Red lines" not in page


@pytest.mark.parametrize("seconds", [1, 5, 7, 61, 1000])
def test_the_numbers_under_a_plot_stand_at_the_seconds_that_they_say(seconds: int) -> None:
    meter = Meter()
    for second in range(seconds):
        bought(meter, str(second), second, second + 0.1, second + 0.2)
    page = html("load", meter, [], [])
    ticks = re.findall(r'<text x="([\d.]+)" y="204" text-anchor="middle">([\d.]+) s</text>', page)
    assert 2 <= len({second for _, second in ticks}) <= 11
    for x, second in ticks:
        assert float(x) == pytest.approx(60 + 840 * float(second) / seconds - 8 * (float(second) == seconds), abs=0.1)
    sides = re.findall(r'text-anchor="end">([\d.]+)</text>', page)
    assert sides[:5] == ["0", "1", "2", "3", "4"]


def test_the_report_explains_the_audit_as_the_command_does() -> None:
    verdict = Verdict()
    verdict.work.fields = 12_345
    verdict.breach(6, "token 7", "it is sold", book="tokens", where="a.jsonl:3", field="<precio>", stands=1, rules=50)
    page = html("zoco drill", Meter(), [], [], verdict)
    assert "<h2>What the audit looked at</h2>" in page
    assert "<td>fields compared</td><td>12,345</td>" in page
    for name, value in block(verdict.breaches[0]):
        assert f"<td>{name}</td><td>{escape(value)}</td>" in page


def test_a_footprint_tells_its_first_quarter_from_its_last() -> None:
    footprint = Footprint([Sample(megabytes * 1_000_000, megabytes) for megabytes in range(100, 140)])
    assert footprint.quarters() == (Sample(104_500_000, 104), Sample(134_500_000, 134))
    assert ("open files", "104 in the first quarter, 134 in the last") in footprint.rows()
    assert Footprint(footprint.samples[:7]).rows() == []


def test_what_a_process_holds_is_what_the_kernel_says(tmp_path: Path) -> None:
    before = held([os.getpid()])
    # Not of what the heap has left over.
    with mmap.mmap(-1, 20_000_000) as block, (tmp_path / "open").open("w"):
        block.write(os.urandom(len(block)))
        size, after = len(block), held([os.getpid()])
    assert after.files == before.files + 1
    assert after.memory_bytes - before.memory_bytes > size / 2


def test_what_a_dead_process_holds_that_nobody_waited_for_is_an_error() -> None:
    with subprocess.Popen(["true"]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(psutil.Error):
            held([os.getpid(), dead.pid])
