"""Worlds in which no book is lost, and all that could be taken for it happens: every delivery is doubled, delayed and
shuffled, and what was said long ago, dead letters too, comes again. Nobody may doubt a book."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from sim_broker import Broken, Broker, Envelope
from sim_seeds import in_chunks, live_through
from sim_world import ACTIVE_SECONDS, World, simulate

from broker.heights import Height
from broker.services import SERVICES, Service
from services.shared.heights import BookHeights, Doubt

SEEDS = 50
# So many more among the long tests: twenty thousand in all.
MORE = 19_950
CHUNK = 50
# How often old messages are driven again, and how many at once.
AGAIN_SECONDS = 0.2
AGAIN = 5


class Remembering(Broker):
    """One that keeps all that was ever in a queue, with the heights of then."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.ever: dict[str, list[Envelope]] = {name: [] for name in SERVICES}

    def _enqueue(self, queue: str, envelope: Envelope) -> None:
        self.ever[queue].append(Envelope(envelope.type, envelope.body, envelope.heights))
        super()._enqueue(queue, envelope)


class RepeatingWorld(World):
    """Each delivery comes twice, late, and not in its turn; and old ones come again until the faults end, and after."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.rates |= {"duplicate": 1.0, "delay": 1.0, "reorder": 1.0}
        self.broker = self.remembering = Remembering(self)
        self.again = Random(f"{seed}, again")
        for at in _instants(self.again):
            self.loop.call_later(at, self._drive_again, context=self.context)

    def _drive_again(self) -> None:
        queue = self.again.choice(SERVICES)
        ever = self.remembering.ever[queue]
        for old in self.again.choices(ever, k=AGAIN) if ever else ():
            self.counts["old message again"] += bool(old.heights)
            self.broker.insert(queue, Envelope(old.type, old.body, old.heights))


def _instants(random: Random) -> Iterator[float]:
    at = 0.0
    while (at := at + random.expovariate(1 / AGAIN_SECONDS)) < 2 * ACTIVE_SECONDS:
        yield at


class CrowdedWorld(RepeatingWorld):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.backlog_limit = 5


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    in_chunks(metafunc, SEEDS, MORE, CHUNK)


def test_nobody_doubts_a_book_for_late_repeated_shuffled_and_old_messages(first: int) -> None:
    # Whoever doubts a book breaks promise 15.
    seen = live_through(range(first, first + CHUNK), RepeatingWorld)
    assert min(seen[name] for name in ("duplicate", "delay", "reorder", "old message again")) > CHUNK


def test_who_takes_over_while_a_sync_fails_is_told_of_that() -> None:
    """It wrote the same bytes over before the failure of the other's sync, which was told to that one only."""
    simulate(10_794, RepeatingWorld)


def test_whoever_is_sent_away_since_its_share_is_used_up_asks_again_and_nothing_stays_counted_for_it() -> None:
    """What waits for the disk counts, too: of five that may be on their way, nine of one address did."""
    counts = [simulate(seed, CrowdedWorld).counts["status 429"] for seed in (994, 1157)]
    assert min(counts) > 1, counts


def test_an_alarm_that_takes_late_words_for_evidence_is_found_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this test is for: a check that cannot fail proves nothing."""
    of_peer = BookHeights._of_peer

    def hasty(heights: BookHeights, name: Service, at: Height, by: Service) -> Doubt | None:
        known = heights.heard.get(name)
        if known is not None and known.book == at.book and at < known:
            return Doubt(name, f"{by} speaks for an older copy of {name}", at.book)
        return of_peer(heights, name, at, by)

    monkeypatch.setattr(BookHeights, "_of_peer", hasty)
    with pytest.raises(Broken, match=r"promise 15: .* decides nothing: .* speaks for an older copy"):
        simulate(0, RepeatingWorld)
