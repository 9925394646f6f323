"""What is said and heard: the four journals, read as streams, so that who says something comes before who hears it.

Who decides waits for what it hears. compras says what came to it by HTTP, and before that it has heard what stands
before that in its book: what comes of a request is heard behind the request. Only the order of records that were
written again is a guess.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Final

from loadgen.audit.books import Journal, Record, Saying
from loadgen.audit.findings import BITS, SEED, Findings, Word, said, said_ever, subject
from loadgen.audit.model import CONSUMERS, PRODUCERS, REQUESTS
from loadgen.audit.verdict import UNSET, Verdict

DECIDE: Final = ("tokens", "usuarios", "transacciones")
# What ends a purchase or an entry: who decides has no more to do with it.
OVER: Final = BITS["compra.rechazada"] | BITS["transaccion.registrada"] | BITS["alta.aplicada"]
HEARS: Final = {
    service: sum(BITS[kind] for kind, hearers in CONSUMERS.items() if service in hearers) for service in DECIDE
}
# How late each message is in a purchase: of two records that wait for each other, the later one came too early.
LATE: Final = {kind: number for number, kind in enumerate(CONSUMERS)}
# What was said and is in no book of who should have heard it breaks 4, but for this.
UNHEARD: Final = {"transacciones": 5}
# What was acted on and is in no book of who should have said it breaks, beside 7, also this.
UNSAID: Final = {("transacciones", "compra.confirmada"): 5, ("tokens", "saldo.reservado"): 6}
# So many requests are read ahead of who decides them.
AHEAD: Final = 1000


class Story:
    """What has been said and heard of a purchase or an entry (BITS); of `heard`, each service has its own."""

    __slots__ = ("heard", "open", "said")

    def __init__(self, said: int = 0) -> None:
        """One that was over has heard all that was said."""
        self.said = said
        self.heard = {service: said & hears for service, hears in HEARS.items()} if said else {}
        # How many messages about it were said and not heard yet.
        self.open = 0


Heard = tuple[Word | None, Story]
NOT_YET: Final[Heard] = None, Story()


class Stories(Findings):
    """`read` once; how each record is decided is not known here."""

    def __init__(self, journals: Mapping[str, Journal], verdict: Verdict) -> None:
        super().__init__(journals, verdict)
        self._stories: dict[str, Story] = {}
        # Of what is over only a number, and what was said.
        self._over: dict[int, int] = {}
        # What each has to hear, by its id.
        self.pending: dict[str, dict[str, Heard]] = {service: {} for service in DECIDE}
        # The record at which each waits, and those that go on though nobody said what they heard.
        self._waits: dict[str, tuple[str, int]] = {}
        self._forced: set[tuple[str, str]] = set()
        self._ever: set[int] | None = None
        # Whose records that are read now were written again: their order is a guess, and not what was heard when.
        self.guessed: set[str] = set()

    def read(self) -> None:
        """All journals to their ends. Raises Unreadable."""
        for service in DECIDE:
            if (first := next(self.journals[service].records(), None)) is not None and first[1].generation:
                self.guessed.add(service)
        running = {service: self.decided(service) for service in DECIDE}
        running["compras"] = self._asked()
        while running:
            moved = False
            for service in list(running):
                before = self._waits.get(service)
                if next(running[service], True) is True:
                    del running[service]
                moved |= service not in running or self._waits[service] != before
            if running and not moved:
                self._force(running)
        self._unheard()

    def decided(self, service: str) -> Iterator[None]:
        """Decide one journal's records, one after the other; stop where one hears what was not said yet."""
        raise NotImplementedError

    def _asked(self) -> Iterator[None]:
        """What came to compras by HTTP, as it was said on, behind what it had heard by then; so much at a time."""
        for number, (place, saying) in enumerate(self.journals["compras"].sayings(silent=True), 1):
            about, _, kind = saying.id.rpartition(":")
            while not (saying.generation or self.guessed or self._is_heard(about, kind)):
                self._waits["compras"] = saying.id, place
                yield
            if saying.words:
                self.pass_on("compras", self.story(about), about, saying, place)
            if not number % AHEAD:
                self._waits["compras"] = "", place
                yield

    def _is_heard(self, about: str, kind: str) -> bool:
        """Whether compras can have heard this: it came by HTTP, or somebody has said it, or nobody ever does."""
        if kind in REQUESTS or about.startswith(SEED) or ("compras", f"{about}:{kind}") in self._forced:
            return True
        story = self._stories.get(about)
        said_of_it = story.said if story is not None else self._over.get(hash(about), 0)
        return bool(said_of_it & (bit := BITS.get(kind, 0))) or not bit

    def story(self, about: str) -> Story:
        story = self._stories.get(about)
        if story is None:
            story = self._stories[about] = Story(self._over.pop(hash(about), 0))
        return story

    def over(self, about: str, story: Story) -> None:
        """Nobody waits for more of it."""
        self._over[hash(about)] = story.said
        self._stories.pop(about, None)

    def pass_on(self, service: str, own: Story, own_about: str, record: Record | Saying, place: int) -> None:
        """What was said waits for who is to hear it."""
        for word in record.words:
            about, kind = said(service, word)
            if not kind:
                continue
            if about.startswith(SEED):
                if service == "compras":
                    why = "this is the number of a seed's entry: nobody hears of it as an operator's"
                    self.breach(4, about, why, service, place, "words", kind)
                continue
            story = own if about == own_about else self.story(about)
            if story.said & BITS[kind]:
                self.breach(9, about, "it was decided before", service, place, "words", kind)
                continue
            story.said |= BITS[kind]
            for hearer in CONSUMERS[kind]:
                if hearer != "compras" and (hearer, what := f"{about}:{kind}") not in self._forced:
                    self.pending[hearer][what] = Word(word, service, record.seq), story
                    story.open += 1

    def heard(self, service: str, record: Record, place: int) -> Generator[None, None, Heard]:
        """What a record heard, as soon as it is said: None where it was heard before, and where nobody says it."""
        about, _, kind = record.id.rpartition(":")
        story, pending, bit = self.story(about), self.pending[service], BITS.get(kind, 0)
        while (heard := pending.pop(record.id, None)) is None:
            if (service, record.id) in self._forced or story.heard.get(service, 0) & bit:
                return None, story
            self._waits[service] = record.id, place
            yield
        return heard

    # What does not fit together

    def _force(self, running: Mapping[str, object]) -> None:
        """Everybody waits for what somebody says: what nobody ever says is not waited for, nor what comes too early."""
        if self._ever is None:
            self._ever = set(said_ever(self.journals))
        waiting = {service: self._waits[service] for service in running}
        never = [service for service, (what, _) in waiting.items() if hash(what) not in self._ever]
        for service in never or [self._too_early(waiting)]:
            what, place = waiting[service]
            self._forced.add((service, what))
            if never and service == "compras":
                # That is said where its own book is judged.
                continue
            about, _, kind = what.rpartition(":")
            why = "nobody said this" if never else "this was acted on before anybody had said it"
            for promise in (7, UNSAID.get((service, kind))):
                if promise is not None:
                    self.breach(promise, about, why, service, place, "id", what)

    @staticmethod
    def _too_early(waiting: Mapping[str, tuple[str, int]]) -> str:
        """Of those who wait for each other in a circle compras, which says nothing because of what it hears, and so has
        heard what came of its word before it said it; else who heard what is said last."""
        kinds = {service: what.rpartition(":")[2] for service, (what, _) in waiting.items()}
        way: list[str] = []
        service = next(iter(kinds))
        while service not in way:
            way.append(service)
            service = next((one for one in PRODUCERS.get(kinds[service], ()) if one in kinds), service)
        circle = way[way.index(service) :]
        return "compras" if "compras" in circle else max(circle, key=lambda one: LATE.get(kinds[one], 0))

    def _unheard(self) -> None:
        """All journals are read to their ends: what was said is heard."""
        if any(self.pending.values()) and self.verdict.goes_on():
            return
        for service, pending in self.pending.items():
            for what in pending:
                why = "this was said, and who should hear it never acted on it"
                self.breach(UNHEARD.get(service, 4), subject(what), why, service, None, "id", UNSET, what)
