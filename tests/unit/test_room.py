"""What a disk has room for: the share that is kept, what is asked of the system, and when it is full at this rate."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest
import structlog

from ops.doctor import examined, forecast
from services.shared.journal.disk import LocalDisk
from services.shared.metrics import Metrics
from services.shared.room import MOST_KEPT_BYTES, Room, Space
from services.shared.settings import WrongSetting, read_settings

GIB = 1024**3


class Shop:
    """A disk, a clock, and books that grow."""

    def __init__(self, reserve: float = 0.1) -> None:
        self.now, self.written, self.share, self.looks = 1000.0, 0, 1.0, 0
        self.space: Space | OSError = Space(50 * GIB, 100 * GIB, "a")
        self.room = Room(self.look, lambda: self.written, lambda: self.share, lambda: self.now)
        self.room.reserve = reserve

    def look(self) -> Space:
        self.looks += 1
        if isinstance(self.space, OSError):
            raise self.space
        return self.space

    def passes(self, seconds: float, written: int = 0) -> None:
        """Time, in which the books grow evenly, and who writes tends the room each second."""
        for _ in range(int(seconds)):
            self.now += 1
            self.written += int(written / seconds)
            self.room.tend()


@pytest.mark.parametrize(
    ("free", "total", "reserve", "short"),
    [
        (99, 1000, 0.1, True),
        (100, 1000, 0.1, False),
        (99, 1000, 0.0, False),
        (0, 1000, 0.0, False),
        (0, 1000, 0.1, True),
        (499, 1000, 0.5, True),
        # Of a huge disk not a tenth is kept, but what is enough.
        (5 * GIB, 4000 * GIB, 0.1, False),
        (MOST_KEPT_BYTES - 1, 4000 * GIB, 0.1, True),
        # Nothing is known of it.
        (0, 0, 0.1, False),
    ],
)
def test_the_last_of_a_disk_is_kept(free: int, total: int, reserve: float, short: bool) -> None:
    shop = Shop(reserve)
    shop.space = Space(free, total)
    assert shop.room.short is short


def test_the_system_is_asked_once_a_second_however_often_somebody_asks() -> None:
    shop = Shop()
    for _ in range(1000):
        assert not shop.room.short
        shop.now += 0.01
    assert 9 <= shop.looks <= 11


def test_a_disk_that_cannot_be_looked_at_refuses_nobody() -> None:
    shop = Shop()
    shop.space = OSError("gone")
    assert not shop.room.short and shop.room.full_days is None


def test_nothing_is_asked_where_nothing_is_kept() -> None:
    shop = Shop(reserve=0)
    assert not shop.room.short and shop.looks == 0


def test_it_is_logged_when_it_begins_and_when_it_ends() -> None:
    shop = Shop()
    with structlog.testing.capture_logs() as logs:
        shop.passes(3)
        shop.space = Space(GIB, 100 * GIB)
        shop.passes(3)
        shop.space = Space(50 * GIB, 100 * GIB)
        shop.passes(3)
    nearly, again = logs
    assert "ZOCO_DISK_RESERVE" in nearly["event"] and (nearly["free_mib"], nearly["kept_mib"]) == (1024, 4096)
    assert "room again" in again["event"]


def test_the_folder_of_a_journal_has_room(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    space = disk.space()
    disk.close()
    assert 0 < space.free_bytes < space.total_bytes and space.disk


# At this rate


def test_nothing_is_said_before_there_is_a_rate() -> None:
    shop = Shop()
    assert shop.room.full_days is None and shop.room.said()["fullDays"] is None
    shop.passes(59, written=10**9)
    assert shop.room.full_days is None
    idle = Shop()
    idle.passes(3600)
    assert idle.room.full_days is None


def test_a_disk_is_full_when_what_is_free_is_written_at_this_rate() -> None:
    shop = Shop()
    shop.space = Space(864_000_000, 10**12)
    shop.passes(600, written=600_000)
    assert shop.room.bytes_per_second == pytest.approx(1000, rel=0.01)
    assert shop.room.full_days == pytest.approx(10, rel=0.01)


def test_what_is_packed_counts_as_what_is_left_of_it_and_so_does_what_will_be() -> None:
    shop = Shop()
    shop.space = Space(864_000_000, 10**12)
    shop.passes(600, written=600_000)
    shop.share = 0.1
    assert shop.room.full_days == pytest.approx(100, rel=0.01)


def test_the_rate_is_that_of_the_last_day() -> None:
    shop = Shop()
    shop.passes(86_400, written=864_000_000)
    busy = shop.room.bytes_per_second
    shop.passes(86_400 + 120)
    assert busy == pytest.approx(10_000, rel=0.01) and shop.room.bytes_per_second == 0


def test_the_metrics_say_it() -> None:
    shop, metrics = Shop(), Metrics("compras")
    metrics.watch(shop.room)
    value: Callable[[str], float | None] = metrics.registry.get_sample_value
    assert (value("zoco_disk_short"), value("zoco_disk_full_days")) == (0, inf)
    shop.space = Space(86_400_000, 10**12)
    shop.passes(600, written=600_000)
    assert value("zoco_disk_free_bytes") == 86_400_000
    assert value("zoco_disk_full_days") == pytest.approx(1, rel=0.01)
    assert value("zoco_disk_short") == 1


# The doctor, of it and of the clock


def disk(name: str, rate: float, free: int = 100 * GIB, *, short: bool = False) -> dict[str, object]:
    return {
        "role": "writer", "ready": True, "records": 1, "diskFull": False, "broker": None,
        "disk": {"disk": name, "freeBytes": free, "totalBytes": 200 * GIB, "keptBytes": 4 * GIB, "short": short,
                 "bytesPerSecond": rate, "fullDays": None},
    }  # fmt: skip


def test_services_on_one_disk_fill_it_together() -> None:
    rate = 10 * GIB / 86_400
    found = forecast({"compras": disk("a", rate), "tokens": disk("a", rate), "usuarios": disk("b", rate)})
    assert [(one.what, one.well, one.says) for one in found] == [
        ("disk of compras, tokens", True, "100 GiB free: full in 5.0 days at this rate"),
        ("disk of usuarios", True, "100 GiB free: full in 10 days at this rate"),
    ]


def test_a_disk_that_is_full_soon_is_no_good() -> None:
    (found,) = forecast({"compras": disk("a", 50 * GIB / 86_400)})
    assert not found.well and "full in 2.0 days" in found.says


def test_nothing_is_said_of_a_disk_before_there_is_a_rate() -> None:
    old: dict[str, object] = {"role": "writer", "ready": True, "records": 1, "diskFull": False, "broker": None}
    assert forecast({"compras": disk("a", 0), "tokens": old}) == []


def test_a_disk_that_is_nearly_full_is_named_with_what_helps() -> None:
    state = {
        "servicios": {"compras": disk("a", 0, GIB, short=True), "tokens": disk("b", 0, GIB, short=True)},
        "colas": None, "broker": {"problema": "x"},
    }  # fmt: skip
    compras, tokens = (one for one in examined(state) if one.what in ("compras", "tokens"))
    assert not compras.well and not tokens.well
    assert "1024 MiB free, 4096 MiB kept" in compras.says and "ZOCO_DISK_RESERVE" in tokens.says
    assert "new purchases are refused" in compras.says and "refused" not in tokens.says


def test_a_clock_that_was_wrong_is_named() -> None:
    says = "the last record is of 2099-01-01T00:00:00.000Z, 2311459200 s ahead of this clock (…): one was wrong"
    state = {
        "servicios": {"compras": disk("a", 0) | {"clock": None}, "tokens": disk("b", 0) | {"clock": says}},
        "colas": None, "broker": {"problema": "x"},
    }  # fmt: skip
    compras, tokens = (one for one in examined(state) if one.what in ("compras", "tokens"))
    assert compras.well and not tokens.well
    assert says in tokens.says and "set the machine's clock right" in tokens.says


# The setting


@pytest.mark.parametrize("value", ["1", "-0.1", "nan", "inf", "10%", ""])
def test_a_wrong_reserve_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ZOCO_DISK_RESERVE", value)
    with pytest.raises(WrongSetting, match="ZOCO_DISK_RESERVE is wrong"):
        read_settings()


@pytest.mark.parametrize(("value", "wanted"), [(None, 0.1), ("0", 0.0), ("0.25", 0.25)])
def test_the_reserve_is_a_tenth_unless_told(monkeypatch: pytest.MonkeyPatch, value: str | None, wanted: float) -> None:
    if value is not None:
        monkeypatch.setenv("ZOCO_DISK_RESERVE", value)
    assert read_settings().disk_reserve == wanted
