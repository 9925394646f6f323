"""What is counted in plain numbers is in `/metrics` as prometheus_client's own would be: name, type, bucket, value."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from services.shared.counts import PlainCounter, PlainHistogram
from services.shared.metrics import SECONDS, SIZES


@pytest.fixture
def plain() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def theirs() -> CollectorRegistry:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry()


def test_counters_read_the_same(plain: CollectorRegistry, theirs: CollectorRegistry) -> None:
    ours = PlainCounter("zoco_a", "A, by kind", ["kind", "code"], registry=plain)
    known = Counter("zoco_a", "A, by kind", ["kind", "code"], registry=theirs)
    assert generate_latest(plain) == generate_latest(theirs)
    for kind, code, count in (("x", 200, 1), ("y", 404, 3), ("x", 200, 2), ('"\n\\', 500, 0), ("z", 1, 10**17)):
        ours.add(kind, code, count=count)
        known.labels(kind, code).inc(count)
        assert generate_latest(plain) == generate_latest(theirs)


def test_a_counter_without_labels_is_there_from_the_start(plain: CollectorRegistry, theirs: CollectorRegistry) -> None:
    ours = PlainCounter("zoco_b", "B", registry=plain)
    known = Counter("zoco_b", "B", registry=theirs)
    assert b"zoco_b_total 0.0" in generate_latest(plain) == generate_latest(theirs)
    ours.add()
    known.inc()
    assert generate_latest(plain) == generate_latest(theirs)


@pytest.mark.parametrize("bounds", [SECONDS, SIZES])
def test_histograms_read_the_same(
    plain: CollectorRegistry, theirs: CollectorRegistry, bounds: tuple[float, ...]
) -> None:
    ours = PlainHistogram("zoco_c", "C", bounds, registry=plain)
    known = Histogram("zoco_c", "C", buckets=bounds, registry=theirs)
    assert generate_latest(plain) == generate_latest(theirs)
    seeded = random.Random(1)
    # On every bound, between them, below and above all.
    for value in (0, *bounds, 2 * bounds[-1], *(seeded.uniform(0, 1.1 * bounds[-1]) for _ in range(100))):
        ours.observe(value)
        known.observe(value)
    assert generate_latest(plain) == generate_latest(theirs)


def test_what_fails_is_timed_too(plain: CollectorRegistry) -> None:
    ours = PlainHistogram("zoco_d", "D", [60], registry=plain)
    with pytest.raises(ValueError, match="it failed"), ours.time():
        raise ValueError("it failed")
    assert plain.get_sample_value("zoco_d_count") == 1
    assert (plain.get_sample_value("zoco_d_sum") or 0) > 0


def test_two_of_one_name_are_refused(plain: CollectorRegistry) -> None:
    PlainCounter("zoco_e", "E", registry=plain)
    with pytest.raises(ValueError, match="Duplicated"):
        PlainHistogram("zoco_e", "E", [1], registry=plain)
