"""What a service counts, for Prometheus. Names are in docs; each has its unit as its last word."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from platform import python_version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from broker import messages
from broker.amqp.bus import Delivery
from services.shared.counts import PlainCounter, PlainHistogram
from services.shared.processor import Submission
from services.shared.room import Room
from services.shared.store import Answer

# From a tenth of a millisecond (a sync here) to a minute (a broker's restart).
SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


# As in pyproject.toml: an image holds this code, and no installed project that could be asked.
VERSION: Final = "0.1.0"


class Metrics:
    """One registry per process: `text` is what `/metrics` answers."""

    def __init__(self, service: str) -> None:
        # When each series began is of no use to anybody here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        # Not a label of each series: who scrapes knows whom, and names it `job` or `instance`.
        says, labels = "1: which service this is, and of which version", ("service", "version", "python")
        build = Gauge("zoco_build_info", says, labels, registry=registry)
        build.labels(service, VERSION, python_version()).set(1)
        self.received = PlainCounter("zoco_messages_received", "Messages decided, by type", ["type"], registry=registry)
        self.sent = PlainCounter(
            "zoco_messages_published", "Messages confirmed by the broker, by type", ["type"], registry=registry
        )
        self.repeated = PlainCounter(
            "zoco_messages_repeated", "Messages seen before and answered with the last word", registry=registry
        )
        self.redelivered = PlainCounter(
            "zoco_messages_redelivered", "Deliveries that the broker marked as repeated", registry=registry
        )
        self.dead = PlainCounter(
            "zoco_messages_dead_lettered", "Messages put with the dead letters, by cause", ["cause"], registry=registry
        )
        self.batch = PlainHistogram("zoco_batch_messages", "Messages per batch", buckets=SIZES, registry=registry)
        self.sync = PlainHistogram(
            "zoco_journal_sync_seconds", "Seconds per sync of the journal", buckets=SECONDS, registry=registry
        )
        self.writer = Gauge("zoco_writer", "1: this process writes; 0: it follows", registry=registry)
        self.consumer = Gauge("zoco_consumer_alive", "1: this process is subscribed to its queue", registry=registry)
        self.broker = Gauge("zoco_broker_connected", "1: both connections to the broker stand", registry=registry)
        self.records = Gauge("zoco_journal_records", "Sequence number of the last record", registry=registry)
        self.torn = Gauge(
            "zoco_journal_torn_bytes", "Bytes of torn ends that were cut off at the start", registry=registry
        )
        self.disk_full = Gauge("zoco_disk_full", "1: a batch waits for room on the disk", registry=registry)
        self.disk_short = Gauge(
            "zoco_disk_short", "1: what is left is kept for what is under way; no new purchases", registry=registry
        )
        self.disk_free = Gauge("zoco_disk_free_bytes", "Bytes that are free where the journal is", registry=registry)
        self.disk_days = Gauge(
            "zoco_disk_full_days", "Days until this service has filled it, at the rate of today", registry=registry
        )
        self.doubt = Gauge(
            "zoco_book_in_doubt", "1: a book is not what others know of it, and nothing is decided", registry=registry
        )
        self.requests = PlainCounter(
            "zoco_http_requests", "HTTP requests, by method and status", ["method", "status"], registry=registry
        )
        self.refused = Counter(
            "zoco_http_refused", "Connections and heads that were refused, by reason", ["reason"], registry=registry
        )
        self.connections = Gauge("zoco_http_connections", "Open connections", registry=registry)
        self.request_seconds = PlainHistogram(
            "zoco_http_request_seconds", "Seconds per HTTP request", buckets=SECONDS, registry=registry
        )

    def watch(self, room: Room) -> None:
        self.disk_short.set_function(lambda: room.short)
        self.disk_free.set_function(lambda: room.space().free_bytes)
        self.disk_days.set_function(lambda: inf if room.full_days is None else room.full_days)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def answered(self, method: str, status: int, seconds: float) -> None:
        """A request was answered over HTTP."""
        self.requests.add(method, status)
        self.request_seconds.observe(seconds)

    def decided(self, batch: Sequence[Delivery | Submission], answers: Sequence[Answer]) -> None:
        """See ProcessorMetrics."""
        self.batch.observe(len(batch))
        redelivered = failed = repeated = 0
        for item, answer in zip(batch, answers, strict=True):
            if item.message is not None:
                self.received.add(item.message.type)
            repeated += answer.repeated
            # What came by HTTP is refused to whoever asked, and is nobody's letter.
            if isinstance(item, Delivery):
                redelivered += item.redelivered
                failed += answer.failure is not None
        self.repeated.add(count=repeated)
        self.redelivered.add(count=redelivered)
        self.dead.add("failure", count=failed)

    def poisoned(self, count: int) -> None:
        self.dead.add("poison", count=count)

    def published(self, sent: Sequence[messages.Message]) -> None:
        """See ProcessorMetrics."""
        for message in sent:
            self.sent.add(message.type)
