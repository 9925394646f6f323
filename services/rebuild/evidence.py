"""What the other three books say of one that was lost: what it heard, and what it said, in the order in which it did.

Each record of theirs names the record of the lost book that it came from, so the order of its words is known; and what
they said to it stands in theirs. See `rebuilding.py` for what is made of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

from broker.heights import Height, sender, written
from broker.messages import (
    CONSUMERS,
    PRODUCERS,
    TYPES,
    AltaMessage,
    CompraSolicitada,
    Message,
    from_word,
    subject_of,
)
from broker.services import Service
from services.shared.seed import is_seed

# What a word says beside whom it is about: two that differ in one of these are not the same word.
BROUGHT: Final = ("precio", "motivo", "transaccion_id")


class Order(NamedTuple):
    """When the lost book said something: its generation and its record; a version that did not say so comes first, and
    there `time` tells. Where the number is of another generation, `time` is the place behind that record."""

    generation: int
    seq: int
    time: str = ""


LAST: Final = Order(1 << 31, 0)


class Evidence:
    """Of the book of `service`. Give it the others' records, oldest first, and then its own."""

    def __init__(self, service: Service) -> None:
        self.service = service
        # What was said to it, by whom it is about, in the order of those who said it.
        self.inputs: defaultdict[str, list[Message]] = defaultdict(list)
        # What it said: the message's id, and when.
        self.said: dict[str, Order] = {}
        # What is known of a word that it said, by the message's id.
        self.content: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        # Words that two heard differently: a copy that went on alone decided otherwise. No book says both.
        self.contradicted: set[str] = set()
        # What two others heard by the numbers of two generations: one that was rebuilt has the rebuilt book's.
        self._numbers: defaultdict[str, dict[int, Order]] = defaultdict(dict)
        self._requests: set[str] = set()
        # Answers to entries of which nobody said whose they were: of whom the entry was said to.
        self._somebody: dict[str, Order] = {}
        # Requests of which it is known that they were, and not what was asked for.
        self.unknown = 0

    def groups(self) -> Iterator[tuple[Order, list[str]]]:
        """What it said with one record, in their order."""
        together: defaultdict[Order, list[str]] = defaultdict(list)
        self._renumber()
        for message_id, order in self._somebody.items():
            if message_id.rsplit(":", 1)[0] in self.inputs:
                self.said.setdefault(message_id, order)
        for message_id, order in self.said.items():
            together[order].append(message_id)
        for order in sorted(together):
            yield order, together[order]

    def _renumber(self) -> None:
        """Give everything the numbers of the latest generation, in which the same was said in the same order: what is
        known by an older number alone comes behind what it followed then."""
        if not self._numbers:
            return
        known = {
            message_id: self._numbers.get(message_id) or {order.generation: order}
            for message_id, order in self.said.items()
            if order.generation != LAST.generation
        }
        for older, newer in pairwise(sorted({one for numbers in known.values() for one in numbers if one})):
            both = sorted((one[older], one[newer]) for one in known.values() if older in one and newer in one)
            behind = list(accumulate((at for _, at in both), max))
            for numbers in known.values():
                if older not in numbers or newer in numbers:
                    continue
                order = numbers[older]
                place = bisect_right(both, (order, LAST))
                if place and both[place - 1][0] == order:
                    numbers[newer] = both[place - 1][1]
                else:
                    numbers[newer] = Order(
                        newer, behind[place - 1].seq if place else 0, f"{order.seq:012d} {order.time}"
                    )
        for message_id, numbers in known.items():
            self.said[message_id] = numbers[0] if 0 in numbers else numbers[max(numbers)]

    def peer(self, by: Service, book: str, generation: int, record: Mapping[str, Any]) -> None:
        """Take in one record of another service's book."""
        subject, kind = record["id"].rsplit(":", 1)
        heights = written([(by, Height(book, generation, record["seq"]))])
        if self.service in PRODUCERS[TYPES[kind]] and not is_seed(subject):
            self._heard(by, record, subject, kind)
        for word in record["words"]:
            if self.service in CONSUMERS[TYPES[word["type"]]]:
                self.inputs[subject_of(word)].append(from_word(word).received(record["time"], heights))
            self._tells(by, word)

    def own(self, record: Mapping[str, Any], *, same_book: bool, generation: int) -> None:
        """Take in a request of compras' own folder, which may be an older copy of the book, or a new one."""
        for word in record["words"]:
            if self.service != "compras" or word["type"] not in TYPES:
                continue
            self._request(from_word(word), record["time"])
            order = Order(generation, record["seq"]) if same_book else Order(*LAST[:2], record["time"])
            self.said.setdefault(f"{subject_of(word)}:{word['type']}", order)

    def _heard(self, by: Service, record: Mapping[str, Any], subject: str, kind: str) -> None:
        origin = sender(record.get("from", ""))
        order = Order(0, 0, record["time"])
        if origin is not None:
            if origin[0] != self.service:
                return
            order = Order(origin[1].generation, origin[1].seq)
        elif kind == "alta.aplicada":
            self._somebody[record["id"]] = order
            return
        if self.service == "compras":
            if (request := _request(record, subject, kind)) is None:
                self.unknown += 1
                return
            self._request(request, record["time"])
        known = self.said.setdefault(record["id"], order)
        if known.generation == order.generation:
            self.said[record["id"]] = min(known, order)
        else:
            numbers = self._numbers[record["id"]]
            for one in (known, order):
                numbers[one.generation] = min(one, numbers.get(one.generation, LAST))
        # compras' row has, beside the state, what the word brought; tokens says on why a buyer could not pay.
        brought = record["change"] or {} if by == "compras" else {}
        if kind == "saldo.rechazado" and by == "tokens":
            brought = next(word for word in record["words"] if subject_of(word) == subject)
        self._brings(record["id"], {name: brought[name] for name in BROUGHT if name in brought})

    def _request(self, request: Message, time: str) -> None:
        if request.id not in self._requests:
            self._requests.add(request.id)
            self.inputs[request.subject].insert(0, request.received(time))

    def _tells(self, by: Service, word: Mapping[str, Any]) -> None:
        """usuarios' answer has the price of the hold that it heard."""
        if by == "usuarios" and self.service == "tokens" and word["type"] == "saldo.reservado":
            self._brings(f"{word['compraId']}:token.reservado", {"precio": word["precio"]})

    def _brings(self, message_id: str, found: Mapping[str, Any]) -> None:
        for name, value in found.items():
            if value is not None and self.content[message_id].setdefault(name, value) != value:
                self.contradicted.add(message_id)


def _request(record: Mapping[str, Any], subject: str, kind: str) -> Message | None:
    """What compras asked for, from the record of who heard it. None: a version that did not keep it wrote that."""
    if "message" in record:
        return from_word(record["message"])
    if issubclass(TYPES[kind], AltaMessage):
        return None
    for word in record["words"]:
        if subject_of(word) == subject:
            return _solicitada(subject, word["usuarioId"], word["tokenId"], word["fecha"])
    change = record["change"]
    waits = next(one for one in change["cola"]["joined"] if one["compra_id"] == subject)
    return _solicitada(subject, waits["usuario_id"], int(record["row"]), waits["fecha"], waits["precio_maximo"])


def _solicitada(subject: str, user: int, token: int, fecha: str, most: int | None = None) -> CompraSolicitada:
    return CompraSolicitada(compra_id=subject, usuario_id=user, token_id=token, fecha=fecha, precio_maximo=most)
