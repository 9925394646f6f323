"""Writing a lost book again: the messages that its service decided, in an order in which it says what it had said.

Every decision is made again by the service's own `decide`: what comes of it has to be what the others heard. What it
had decided in silence, or told nobody, is not known; whoever waits for that asks again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NamedTuple

from msgspec import Struct

from broker.heights import sender
from broker.messages import AltaMessage, Message
from services.rebuild.evidence import LAST, Evidence, Order
from services.shared.decision import Decision, Domain

# Of a purchase only one of the two is ever said.
ONE_OF: Final = (("saldo.reservado", "saldo.rechazado"), ("compra.confirmada", "compra.rechazada"))
INSTEAD: Final = {one: other for pair in ONE_OF for one, other in (pair, pair[::-1])}
SALE: Final = ":compra.confirmada"
# When the seed was decided, and what said nothing to anybody.
BEGINNING: Final = Order(-1, 0)
END: Final = Order(LAST.generation, 1)
# So many decisions are tried for a row, once one has led to nothing (some seconds).
MAX_TRIES: Final = 200_000


class NotRebuilt(Exception):
    """Why a book cannot be written again, and what helps."""


class Guess(NamedTuple):
    """What nobody has written down, and is tried the other way when a row does not come out as the others heard."""

    # Whoever asked before an operator's entry joined the line before it, and did not come after it.
    early: bool = False
    # What became of an entry was lost on its way, and what came after rests on the entry.
    unheard: bool = False
    # What stands in the seed was not there before anybody asked: the seed grew later.
    late: bool = False


GUESSES: Final = (Guess(), Guess(True), Guess(True, True), Guess(True, True, True))


def in_order(domain: Domain[Any], evidence: Evidence, seed: Sequence[Message]) -> list[Message]:
    """The messages, as they are to be decided. Raises NotRebuilt.

    No row knows of another one, so each is put in order by itself, and then they stand as what came of them was heard.
    """
    groups = list(evidence.groups())
    rows: dict[str, _Row] = {}
    row_of: dict[str, _Row] = {}
    inputs = [message for messages in evidence.inputs.values() for message in messages]
    for message, is_in_seed in [*((one, True) for one in seed), *((one, False) for one in inputs)]:
        key = domain.key(message)
        row = rows.setdefault(key, _Row())
        row_of[message.subject] = row
        row.messages[message.id] = message
        if is_in_seed:
            row.seed.append(message.id)
    for order, ids in groups:
        for message_id in ids:
            if (subject := _subject(message_id)) not in row_of or message_id in evidence.contradicted:
                raise NotRebuilt(_nothing(evidence, subject))
            row_of[subject].heard[order].append(message_id)
    known = _Known(domain, evidence, groups)
    decided = [one for row in rows.values() for one in _decided(known, row)]
    decided.sort(key=itemgetter(0))
    return [message for _, message in decided]


def _decided(known: _Known, row: _Row) -> list[tuple[Order, Message]]:
    """Its messages in their order, each with when it was decided. Raises NotRebuilt."""
    for tries in (0, MAX_TRIES):
        for guess in GUESSES:
            if (search := _Search(known, row, guess)).found(tries):
                return search.taken()
    subjects = {_subject(one) for ids in row.heard.values() for one in ids}
    raise NotRebuilt(_nothing(known.evidence, min(subjects)))


def _nothing(evidence: Evidence, subject: str) -> str:
    return f"nothing that is known makes {evidence.service} say what was heard of {subject}"


@dataclass(slots=True)
class _Row:
    """What was said about it, by the messages' ids; which of them stand in the seed; what of it was heard, and when."""

    messages: dict[str, Message] = field(default_factory=dict)
    seed: list[str] = field(default_factory=list)
    heard: defaultdict[Order, list[str]] = field(default_factory=lambda: defaultdict(list))


class _Known:
    """What is the same for all rows."""

    def __init__(self, domain: Domain[Any], evidence: Evidence, groups: Sequence[tuple[Order, Sequence[str]]]) -> None:
        self.domain = domain
        self.evidence = evidence
        self.sales = {order for order, ids in groups if any(one.endswith(SALE) for one in ids)}
        self.ids_of: defaultdict[str, list[str]] = defaultdict(list)
        for message_id in evidence.said:
            self.ids_of[_subject(message_id)].append(message_id)

    def refused(self, subject: str) -> bool:
        """Whether it was told that the line was full, or that it stands there already: then it never joined it."""
        known = (self.evidence.content.get(one, {}) for one in self.ids_of[subject])
        return any(one.get("motivo") in {"token-disputado", "ya-en-cola"} for one in known)

    def agrees(self, word: Message, order: Order) -> bool:
        """Whether it was said then, or may have been, as nobody heard it."""
        said = self.evidence.said.get(word.id)
        if f"{word.subject}:{INSTEAD.get(word.type)}" in self.evidence.said:
            return False
        if said is not None and said != order and (said.generation or order.generation):
            return False
        known = self.evidence.content.get(word.id, {})
        return all(getattr(word, name, value) == value for name, value in known.items() if value is not None)


class _Step(NamedTuple):
    """A message that was decided, and how all was before: the row, and how much of what was heard had been said."""

    message: Message
    order: Order
    row: Struct | None
    place: int
    words: frozenset[str]


class _Search:
    """One row as it becomes, message by message; what leads to nothing that was heard is taken back."""

    def __init__(self, known: _Known, row: _Row, guess: Guess) -> None:
        self._known = known
        self._guess = guess
        self._heard = sorted(row.heard.items(), key=itemgetter(0))
        self._subjects = [list(dict.fromkeys(map(_subject, ids))) for _, ids in self._heard]
        self._first = [] if guess.late else row.seed
        self._left = dict(row.messages)
        self._about: defaultdict[str, list[str]] = defaultdict(list)
        for message in row.messages.values():
            self._about[message.subject].append(message.id)
        self._row: Struct | None = None
        self._said: set[str] = set()
        self._steps: list[_Step] = []
        # How many of what was heard together were said; and with whom of the next ones it goes on.
        self._place = self._next = 0
        self._decisions = 0

    def found(self, tries: int) -> bool:
        """Whether there is an order in which it says all that was heard. `tries`: decisions, once one is taken back."""
        levels = [self._choices()]
        dead: set[int] = set()
        while self._place < len(self._heard) or any(one in self._left for one in self._first):
            choice = next(levels[-1], None)
            if choice is not None:
                self._take(*choice)
                if not dead or hash(self._state()) not in dead:
                    levels.append(self._choices())
                    continue
            elif self._decisions > tries or not self._steps:
                return False
            else:
                dead.add(hash(self._state()))
                levels.pop()
            self._take_back()
        return True

    def taken(self) -> list[tuple[Order, Message]]:
        """What was decided; in silence, the rest can be decided as well now as later."""
        for message in list(self._left.values()):
            decision = self._decision(message)
            if decision is not None and not decision.messages:
                self._take(message, decision, END)
        return [(step.order, step.message) for step in self._steps]

    def _choices(self) -> Iterator[tuple[Message, Decision[Any], Order]]:
        """What may be decided next, the likeliest first."""
        for message_id in self._first:
            if (message := self._left.get(message_id)) and (decision := self._decision(message)):
                yield message, decision, BEGINNING
        if self._place < len(self._heard):
            order, ids = self._heard[self._place]
            for message, decision in self._of_these(order, ids):
                yield message, decision, order
            for message, decision in self._before_these(order, ids):
                yield message, decision, order

    def _of_these(self, order: Order, ids: Collection[str]) -> Iterator[tuple[Message, Decision[Any]]]:
        """What is about the same as what was heard, and makes the service say it."""
        subjects, start = self._subjects[self._place], self._next
        for turn in range(len(subjects)):
            at = (start + turn) % len(subjects)
            for message_id in self._about[subjects[at]]:
                message = self._left.get(message_id)
                decision = self._decision(message) if message else None
                if message and decision and self._fits(decision, order, ids):
                    self._next = at
                    yield from self._early(message)
                    yield message, decision

    def _early(self, entry: Message) -> Iterator[tuple[Message, Decision[Any]]]:
        """Who asked before an entry, and joins in silence."""
        if not self._guess.early or not isinstance(entry, AltaMessage):
            return
        for message in self._in_turn():
            decision = self._decision(message)
            if decision is None or decision.messages or self._known.refused(message.subject):
                continue
            if _number(message) < _number(entry):
                yield message, decision

    def _before_these(self, order: Order, ids: Collection[str]) -> Iterator[tuple[Message, Decision[Any]]]:
        """What has to be decided before: what is about the same and says nothing, as when one joins a line; then what
        was heard by nobody, or says nothing."""
        subjects = self._subjects[self._place]
        mine = [self._left[one] for subject in subjects for one in self._about[subject] if one in self._left]
        others = self._in_turn()
        for message in others:
            # As when a holder cannot pay, and who waits gets the token.
            decision = self._decision(message)
            if decision is not None and self._fits(decision, order, ids):
                yield message, decision
        passes = [(mine, True), (others, False), (others, True)]
        if any(map(self._known.refused, subjects)):
            # Whoever was told that the line was full, or that they stand in it: those who wait come first.
            passes = [(others, True), (others, False)]
        if self._guess.unheard:
            passes.insert(0, ([one for one in others if isinstance(one, AltaMessage)], False))
        for messages, silent in passes:
            for message in messages:
                decision = self._decision(message)
                if decision is None or silent is bool(decision.messages):
                    continue
                if not (silent and self._known.refused(message.subject)) and self._fits(decision, order, None):
                    yield message, decision

    def _in_turn(self) -> list[Message]:
        return sorted(self._left.values(), key=self._turn)

    def _turn(self, message: Message) -> tuple[bool, bool, Order]:
        """What an operator or a seed brought, first; last who seems to have asked for what was sold, as who waits is
        refused with the sale; then in the order in which the answers came."""
        said, content = self._known.evidence.said, self._known.evidence.content
        ids = [one for one in self._known.ids_of[message.subject] if one not in self._said]
        fate = min((said[one] for one in ids), default=LAST)
        sold = any(content.get(one, {}).get("motivo") == "token-vendido" for one in ids)
        return not isinstance(message, AltaMessage), sold and fate not in self._known.sales, fate

    def _fits(self, decision: Decision[Any], order: Order, ids: Collection[str] | None) -> bool:
        """Whether all that it says was said then, or heard by nobody; and some of it is among these."""
        if not all(self._known.agrees(word, order) for word in decision.messages):
            return False
        return ids is None or any(word.id in ids for word in decision.messages)

    def _decision(self, message: Message) -> Decision[Any] | None:
        """None: a correct service cannot decide it as things stand."""
        self._decisions += 1
        try:
            return self._known.domain.decide(self._row, message)
        except AssertionError:
            return None

    def _take(self, message: Message, decision: Decision[Any], order: Order) -> None:
        words = frozenset(word.id for word in decision.messages) - self._said
        order = max(order, self._steps[-1].order) if self._steps else order
        self._steps.append(_Step(message, order, self._row, self._place, words))
        self._row = self._row if decision.row is None else decision.row
        self._said |= words
        del self._left[message.id]
        while self._place < len(self._heard) and self._said.issuperset(self._heard[self._place][1]):
            self._place, self._next = self._place + 1, 0

    def _take_back(self) -> None:
        step = self._steps.pop()
        self._row, self._place, self._next = step.row, step.place, 0
        self._said -= step.words
        self._left[step.message.id] = step.message

    def _state(self) -> tuple[frozenset[str], Struct | None]:
        return frozenset(self._left), self._row


def _subject(message_id: str) -> str:
    """Whom it is about."""
    return message_id.rsplit(":", 1)[0]


def _number(message: Message) -> int:
    """Of the record of who said it, among all that it said."""
    said = sender(message.heights)
    return said[1].seq if said else 0
