"""Writing a lost book again: the messages that its service decided, in an order in which it says what it had said.

Every decision is made again by the service's own `decide`: what comes of it has to be what the others heard. What it
had decided in silence, or told nobody, is not known; whoever waits for that asks again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from broker.heights import sender
from broker.messages import AltaMessage, Message
from services.rebuild.evidence import LAST, Evidence, Order
from services.shared.decision import Decision, Domain

# Of a purchase only one of the two is ever said.
ONE_OF: Final = (("saldo.reservado", "saldo.rechazado"), ("compra.confirmada", "compra.rechazada"))
INSTEAD: Final = {one: other for pair in ONE_OF for one, other in (pair, pair[::-1])}
SALE: Final = ":compra.confirmada"


class NotRebuilt(Exception):
    """Why a book cannot be written again, and what helps; and which rows do not come out as the others heard."""

    def __init__(self, says: str, rows: Collection[str] = ()) -> None:
        super().__init__(says)
        self.rows = rows


def in_order(domain: Domain[Any], evidence: Evidence, seed: Sequence[Message]) -> list[Message]:
    """The messages, as they are to be decided. Raises NotRebuilt.

    A seed was there before anybody asked, or grew later: which, nobody has written down. The first is tried first.
    """
    late: set[str] = set()
    early: set[str] = set()
    unheard: set[str] = set()
    while True:
        try:
            return list(_Rebuilding(domain, evidence, seed, (late, early, unheard)).messages())
        except NotRebuilt as failed:
            # Whoever asked before an operator's entry may have joined the line before it, or come after it.
            if rows := set(failed.rows) - early:
                early |= rows
            # What became of an entry may have been lost on its way, and what came after rests on the entry.
            elif rows := set(failed.rows) - unheard:
                unheard |= rows
            elif rows := {domain.key(message) for message in seed}.intersection(failed.rows) - late:
                late |= rows
            else:
                raise


class _Rebuilding:
    """The rows as they become, and what was said to the service and is not decided yet."""

    def __init__(
        self, domain: Domain[Any], evidence: Evidence, seed: Sequence[Message], guesses: tuple[set[str], ...]
    ) -> None:
        """`guesses`: whose seed came later; whose line was joined before an entry; whose entries nobody heard of."""
        self._domain = domain
        late, self._early, self._unheard = guesses
        self._evidence = evidence
        self._groups = list(evidence.groups())
        self._sales = {order for order, ids in self._groups if any(one.endswith(SALE) for one in ids)}
        self._first = [message for message in seed if domain.key(message) not in late]
        self._rows: dict[str, Struct] = {}
        self._said: set[str] = set()
        # What is not decided yet: about a purchase or an entry, and about a row.
        self._left = {subject: list(messages) for subject, messages in evidence.inputs.items()}
        self._on_row: defaultdict[str, dict[str, Message]] = defaultdict(dict)
        self._row_of: defaultdict[str, set[str]] = defaultdict(set)
        for message in (*seed, *(message for messages in self._left.values() for message in messages)):
            self._row_of[message.subject].add(domain.key(message))
            self._on_row[domain.key(message)][message.id] = message
        self._ids_of: defaultdict[str, list[str]] = defaultdict(list)
        for message_id in evidence.said:
            self._ids_of[message_id.rsplit(":", 1)[0]].append(message_id)

    def messages(self) -> Iterator[Message]:
        """In the order in which they are to be decided. Raises NotRebuilt."""
        for message in self._first:
            if (decision := self._decision(message)) is not None:
                yield self._take(message, decision)
        for order, ids in self._groups:
            yield from self._say(order, ids)
        # In silence, the rest can be decided as well now as later.
        for subject in list(self._left):
            for message in self._left[subject]:
                decision = self._decision(message)
                if decision is not None and not decision.messages:
                    yield self._take(message, decision)

    def _say(self, order: Order, ids: Sequence[str]) -> Iterator[Message]:
        """What makes the service say these, and nothing that it said at another time."""
        subjects = dict.fromkeys(message_id.rsplit(":", 1)[0] for message_id in ids)
        while not self._said.issuperset(ids):
            before = len(self._said)
            for message in [one for subject in subjects for one in self._left.get(subject, ())]:
                decision = self._decision(message)
                if decision is not None and self._fits(decision, order, ids):
                    yield from self._before(message)
                    yield self._take(message, self._decision(message) or decision)
            if len(self._said) == before:
                yield self._help(order, ids, subjects)

    def _before(self, entry: Message) -> Iterator[Message]:
        """Who asked before an entry, and joins in silence."""
        row = self._domain.key(entry)
        if row not in self._early or not isinstance(entry, AltaMessage):
            return
        for message in sorted(self._on_row[row].values(), key=self._turn):
            decision = self._decision(message)
            if decision is None or decision.messages or self._refused(message.subject):
                continue
            if _number(message) < _number(entry):
                yield self._take(message, decision)

    def _help(self, order: Order, ids: Collection[str], subjects: Iterable[str]) -> Message:
        """What has to be decided before: what is about the same and says nothing, as when one joins a line; then what
        is about the same rows, and was heard by nobody, or says nothing. Raises NotRebuilt."""
        mine = [one for subject in subjects for one in self._left.get(subject, ())]
        rows = sorted({row for subject in subjects for row in self._row_of[subject]})
        others = [one for row in rows for one in sorted(self._on_row[row].values(), key=self._turn)]
        for message in others:
            # As when a holder cannot pay, and who waits gets the token.
            decision = self._decision(message)
            if decision is not None and self._fits(decision, order, ids):
                return self._take(message, decision)
        passes = [(mine, True), (others, False), (others, True)]
        if any(map(self._refused, subjects)):
            # Whoever was told that the line was full, or that they stand in it: those who wait come first.
            passes = [(others, True), (others, False)]
        if not self._unheard.isdisjoint(rows):
            passes.insert(0, ([one for one in others if isinstance(one, AltaMessage)], False))
        for messages, silent in passes:
            for message in messages:
                decision = self._decision(message)
                if decision is None or silent is bool(decision.messages) or (silent and self._refused(message.subject)):
                    continue
                if self._fits(decision, order, None):
                    return self._take(message, decision)
        says = f"nothing that is known makes {self._evidence.service} say what was heard of {min(subjects)}"
        raise NotRebuilt(says, rows)

    def _refused(self, subject: str) -> bool:
        """Whether it was told that the line was full, or that it stands there already: then it never joined it."""
        known = (self._evidence.content.get(one, {}) for one in self._ids_of[subject])
        return any(one.get("motivo") in {"token-disputado", "ya-en-cola"} for one in known)

    def _turn(self, message: Message) -> tuple[bool, bool, Order]:
        """What an operator or a seed brought, first; last who seems to have asked for what was sold, as who waits is
        refused with the sale; then in the order in which the answers came."""
        ids = [one for one in self._ids_of[message.subject] if one not in self._said]
        fate = min((self._evidence.said[one] for one in ids), default=LAST)
        sold = any(self._evidence.content.get(one, {}).get("motivo") == "token-vendido" for one in ids)
        return not isinstance(message, AltaMessage), sold and fate not in self._sales, fate

    def _fits(self, decision: Decision[Any], order: Order, ids: Collection[str] | None) -> bool:
        """Whether all that it says was said then, or heard by nobody; and some of it is among these."""
        if not all(self._agrees(word, order) for word in decision.messages):
            return False
        return ids is None or any(word.id in ids for word in decision.messages)

    def _agrees(self, word: Message, order: Order) -> bool:
        said = self._evidence.said.get(word.id)
        if f"{word.subject}:{INSTEAD.get(word.type)}" in self._evidence.said:
            return False
        if said is not None and said != order and (said.generation or order.generation):
            return False
        known = self._evidence.content.get(word.id, {})
        return all(getattr(word, name, value) == value for name, value in known.items() if value is not None)

    def _decision(self, message: Message) -> Decision[Any] | None:
        """None: a correct service cannot decide it as things stand."""
        try:
            return self._domain.decide(self._rows.get(self._domain.key(message)), message)
        except AssertionError:
            return None

    def _take(self, message: Message, decision: Decision[Any]) -> Message:
        key = self._domain.key(message)
        if decision.row is not None:
            self._rows[key] = decision.row
        self._said.update(word.id for word in decision.messages)
        self._on_row[key].pop(message.id, None)
        left = self._left.get(message.subject, [])
        self._left[message.subject] = [one for one in left if one.id != message.id]
        return message


def _number(message: Message) -> int:
    """Of the record of who said it, among all that it said."""
    said = sender(message.heights)
    return said[1].seq if said else 0
