"""What a load measures, and what a drill says about it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.audit.verdict import Verdict
from loadgen.drill.certificate import Certificate, meaning, quantiles, upper_bound
from loadgen.drill.faults import Fault, Happened
from loadgen.drill.footprint import Footprint, Sample, held
from loadgen.drill.report import html
from loadgen.load.meter import Latency, Meter


def bought(meter: Meter, about: str, due: float, accepted: float, ended: float, *, sold: bool = True) -> None:
    meter.arrives(due)
    meter.accepts(about, due, accepted)
    meter.ends(about, ended, sold=sold)


def certificate(meter: Meter, verdict: Verdict, *faults: Happened, left: str | None = None) -> Certificate:
    return Certificate(
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


def test_what_is_recent_is_forgotten_once_it_is_told_and_the_whole_is_not() -> None:
    latency = Latency()
    latency.record(0.1)
    assert latency.recent() is not None
    assert latency.recent() is None
    assert latency.summary()["max"] > 0.09


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
    meter.rejects()
    meter.abandons()
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
    assert meter.recoveries([10, 11.1]) == [1.5, None]


def test_the_longest_pause_is_between_the_ends_of_two_sales() -> None:
    meter = Meter()
    bought(meter, "only", 0, 0.5, 1)
    assert meter.longest_pause_seconds is None
    bought(meter, "refused", 0, 0.5, 3, sold=False)
    bought(meter, "late", 0, 0.5, 4.5)
    bought(meter, "between", 2, 2.5, 2.5)
    assert meter.longest_pause_seconds == 2


def test_a_second_has_what_came_in_it() -> None:
    meter = Meter()
    bought(meter, "a", 100, 100.2, 100.5)
    first = meter.second(101)
    meter.arrives(101)
    second = meter.second(102)
    assert (first.at_seconds, first.arrived, first.accepted, first.finished, first.backlog) == (1, 1, 1, 1, 0)
    assert (second.arrived, second.accepted, second.backlog, second.accept) == (1, 0, 1, None)


def test_none_in_so_many_means_at_most_three_in_so_many() -> None:
    assert upper_bound(10_000) == 0.0003
    assert upper_bound(0) is None
    assert "0.030%" in meaning(10_000)
    assert meaning(0) == "nothing: no purchase was accepted"


def test_the_quantiles_of_few_values_are_among_them() -> None:
    assert quantiles([3.0]) == {"p50": 3.0, "p99": 3.0, "max": 3.0}
    assert quantiles([4.0, 1.0, 2.0, 3.0]) == {"p50": 2.0, "p99": 4.0, "max": 4.0}


def test_a_certificate_holds_only_if_something_was_sold_and_nothing_is_wrong() -> None:
    meter = Meter()
    assert certificate(meter, Verdict()).reasons == ["nothing was sold, so nothing was proved"]
    bought(meter, "a", 0, 1, 2)
    assert certificate(meter, Verdict()).holds
    broken = Verdict()
    broken.breach(3, "token 1", "sold twice")
    assert certificate(meter, broken).reasons == ["promise 3 is broken: a token has at most one buyer"]
    unchecked = Verdict(unchecked={8: "the services were not asked"})
    assert not certificate(meter, unchecked).holds
    missed = Happened(Fault(1, "kill", "tokens"), 0, "there was no tokens to kill")
    assert not certificate(meter, Verdict(), missed).holds
    assert certificate(meter, Verdict(), left="not quiet after 1 s").reasons == ["not quiet after 1 s"]
    meter.wrong.append("no JSON was answered 500")
    assert certificate(meter, Verdict()).reasons == ["no JSON was answered 500 (1 times)"]


def test_a_guarantee_is_missed_when_a_promise_that_rests_on_it_is_broken() -> None:
    meter = Meter()
    bought(meter, "a", 0, 1, 2)
    broken = Verdict()
    without = replace(certificate(meter, broken), without="dedupe", must_break=frozenset({9}))
    assert without.missed is False
    assert "IT WAS NOT MISSED" in dict(without.rows())["without"]
    broken.breach(4, "a", "another promise")
    assert without.missed is False
    broken.breach(9, "a", "acted twice")
    assert without.missed is True
    assert certificate(meter, broken).missed is None


def test_a_certificate_tells_recovery_of_services_and_of_the_broker_apart() -> None:
    meter = Meter()
    for second in range(20):
        bought(meter, str(second), second, second + 0.1, second + 0.2)
    kills = [Happened(Fault(5, "kill", "tokens"), 5.0), Happened(Fault(9, "kill", "rabbitmq"), 9.15)]
    found = certificate(meter, Verdict(), *kills)
    assert [round(item["seconds"], 2) for item in found.as_json()["recoverySeconds"]] == [0.2, 1.05]
    rows = dict(found.rows())
    assert "200 ms" in rows["services back"]
    assert "1.05 s" in rows["RabbitMQ back"]
    assert rows["faults"] == "kill rabbitmq, kill tokens"


def test_a_report_needs_nothing_but_itself_and_shows_every_fault() -> None:
    meter = Meter()
    bought(meter, "a", 100, 100.2, 100.5)
    meter.second(101)
    meter.second(102)
    page = html("a <drill>", meter, [Happened(Fault(0.5, "kill", "tokens"), 100.5)], [("lost", "0 & none")])
    assert page.count("<svg") == 3
    assert page.count("<title>0.5 s: kill tokens</title>") == 3
    assert "a &lt;drill&gt;" in page
    assert "0 &amp; none" in page
    for outside in ("http:", "https:", "src=", "url(", "import"):
        assert outside not in page


def test_a_footprint_tells_its_first_quarter_from_its_last() -> None:
    footprint = Footprint([Sample(megabytes * 1_000_000, megabytes) for megabytes in range(100, 140)])
    assert footprint.quarters() == (Sample(104_500_000, 104), Sample(134_500_000, 134))
    assert ("open files", "104 in the first quarter, 134 in the last") in footprint.rows()
    assert Footprint(footprint.samples[:7]).rows() == []


def test_what_a_process_holds_is_what_the_kernel_says(tmp_path: Path) -> None:
    before = held([os.getpid()])
    block = bytearray(os.urandom(20_000_000))
    with (tmp_path / "open").open("w"):
        after = held([os.getpid()])
    assert after.files == before.files + 1
    assert after.memory_bytes - before.memory_bytes > len(block) / 2


def test_what_a_dead_process_holds_that_nobody_waited_for_is_an_error_of_the_system() -> None:
    with subprocess.Popen(["true"]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError):
            held([os.getpid(), dead.pid])
