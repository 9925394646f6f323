"""A small shop without a broker: the four real stores, and stories that go through every branch of their decisions.

What is said lies in a queue until a story lets it be heard, so that a story can lose it, turn it round or tell it
twice. What a mutant does to it is left as it is: a delivery whose decision raises is a dead letter, a service whose
store raises is down for good, a view that raises is a 500; then whatever books there are go to the audit.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, Final

from broker.messages import (
    CONSUMERS,
    CompraConfirmada,
    CompraRechazada,
    CompraSolicitada,
    Message,
    SaldoRecargado,
    SaldoRechazado,
    SaldoReservado,
    TokenPublicado,
    TransaccionRegistrada,
    UsuarioRegistrado,
    compra_id,
)
from services.compras import domain as compras
from services.compras.acceptance import _asks_the_same
from services.compras.domain import novedad
from services.compras.domain import public as vista
from services.shared.journal.disk import LocalDisk
from services.shared.journal.store import JsonStore
from services.shared.seed import SEED_FECHA, seed_id
from services.tokens import domain as tokens
from services.transacciones import domain as transacciones
from services.transacciones.domain import public
from services.usuarios import domain as usuarios

DOMAINS: Final[dict[str, Any]] = {
    "compras": compras.DOMAIN,
    "tokens": tokens.DOMAIN,
    "usuarios": usuarios.DOMAIN,
    "transacciones": transacciones.DOMAIN,
}
# So few wait for one token in the stories, so that a line can be full.
SHORT_LINE: Final = 2
# As many as the specification lets wait.
WHOLE_LINE: Final = 10_000
BATCH: Final = 500
# More than the audit lets a request wait for its turn at compras.
BATCHES: Final = 80
NIGHT_MINUTES: Final = 20 * 60
# The stories' clock: a millisecond for each look at it.
DAY: Final = 1_764_115_200
Ask = tuple[int, int, int | None, str]


class Hung(BaseException):
    """A decision did not come to an end. Not an Exception: what a service does with those is part of the story."""


class Shop:
    """Four stores in a folder, what waits in their queues, and what one client was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queues: dict[str, list[Message]] = {name: [] for name in DOMAINS}
        # Where nothing arrives for now: it is lost.
        self.cut: set[str] = set()
        self.down: set[str] = set()
        self.dead: Counter[str] = Counter()
        # What was put into a queue by nobody: its dead letter is explained, and the operator discards it.
        self.strays: set[str] = set()
        self.asks: dict[str, Ask] = {}
        self.altas: list[str] = []
        self.notes: list[dict[str, Any]] = []
        self.number = 0
        self._ms = 0
        self.disks: dict[str, LocalDisk] = {}
        self.stores: dict[str, JsonStore[Any]] = {}

    def now(self) -> str:
        self._ms += 1
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(DAY + self._ms // 1000))
        return f"{at}.{self._ms % 1000:03}Z"

    def pass_minutes(self, minutes: int) -> None:
        self._ms += minutes * 60_000

    async def start(self) -> None:
        """Read the journals, and write. Again after `stop`: then all that was in memory is read anew."""
        for name, domain in DOMAINS.items():
            self.disks[name] = LocalDisk(self.folder / name)
            self.stores[name] = JsonStore(self.disks[name], domain, self.now)
            try:
                assert await self.stores[name].lead()
            except Exception:
                self.down.add(name)

    def stop(self) -> None:
        for disk in self.disks.values():
            disk.close()

    async def restart(self) -> None:
        self.stop()
        await self.start()

    # What travels

    async def hear(self, name: str, batch: Sequence[Message]) -> bool:
        """Give a service these messages, and put what it says into the queues. False: it could not decide them."""
        if name in self.down:
            return False
        try:
            answers = await self.stores[name].process_batch([message.received(self.now()) for message in batch])
        except Exception:
            # The process ends, and would end again at the same message.
            self.down.add(name)
            return False
        for message, answer in zip(batch, answers, strict=True):
            if answer.failure is not None and message.id not in self.strays:
                self.dead[name] += 1
            for said in answer.messages:
                self.say(said)
        return all(answer.failure is None for answer in answers)

    def say(self, message: Message) -> None:
        for listener in CONSUMERS[type(message)]:
            if listener not in self.cut:
                self.queues[listener].append(message)

    async def step(self, *names: str) -> None:
        """Let these services hear what waits for them."""
        for name in names or DOMAINS:
            batch, self.queues[name] = self.queues[name], []
            if batch:
                await self.hear(name, batch)

    async def quiet(self) -> None:
        while any(self.queues[name] for name in DOMAINS if name not in self.down):
            await self.step(*(name for name in DOMAINS if name not in self.down))

    async def nudge(self) -> None:
        """Ask again for what is not finished, word for word, as compras does when all is quiet."""
        self.cut.clear()
        for row in list(self.stores["compras"].rows.values()):
            try:
                if not compras.finished(row):
                    self.say(compras.pregunta(row))
            except Exception:
                # compras ends, and would end again at the same purchase.
                self.down.add("compras")
                return
        await self.quiet()

    async def stray(self, name: str, message: Message) -> None:
        """A message that no correct shop acts on."""
        self.strays.add(message.id)
        await self.hear(name, [message])

    # Who buys, and what is entered

    async def post(self, usuario: int, token: int, maximo: int | None = None, key: str = "") -> str:
        """POST /compras, and write down what was answered."""
        key = key or f"k{len(self.asks)}"
        subject = compra_id(usuario, key)
        self.asks.setdefault(subject, (usuario, token, maximo, key))
        asks = {"usuarioId": usuario, "tokenId": token, **({} if maximo is None else {"precioMaximo": maximo})}
        self._note(key, asks, *await self._answered(subject, usuario, token, maximo))
        return subject

    async def _answered(self, subject: str, usuario: int, token: int, maximo: int | None) -> tuple[int | None, Any]:
        message = CompraSolicitada(
            compra_id=subject, usuario_id=usuario, token_id=token, precio_maximo=maximo, fecha=self.now()
        )
        store = self.stores["compras"]
        try:
            if (row := store.find(subject)) is None:
                if not await self.hear("compras", [message]):
                    return (None if "compras" in self.down else 500), None
                row = store.find(subject)
            elif not _asks_the_same(row, message):
                return 422, {"status": 422}
            return (200 if compras.finished(row) else 202), vista(row)
        except Exception:
            return 500, None

    def _note(self, key: str, asks: dict[str, Any], status: int | None, answer: Any) -> None:
        self.number += 1
        at = DAY + self._ms / 1000
        self.notes.append({"n": self.number, "t": at, "key": key, "asks": asks})
        told = {"status": status, "lost": "ServerDisconnectedError"} if status is None else {"status": status}
        self.notes.append({"n": self.number, "t": at, **told, **({} if answer is None else {"answer": answer})})

    async def look(self, *abouts: str) -> None:
        """Ask for the same purchases with their keys again: each is answered as it stands now."""
        for subject in abouts or tuple(self.asks):
            await self.post(*self.asks[subject])

    async def enter(self, model: Any, *, later: bool = False, fecha: str = "", **fields: Any) -> None:
        """An operator's entry. `later`: it waits in the queue; it was cut off, and the nudge will ask."""
        alta_id = f"alta-{len(self.altas)}"
        self.altas.append(alta_id)
        entry: Message = model(alta_id=alta_id, fecha=fecha or self.now(), **fields)
        await self.hear("compras", [entry])
        if not later:
            await self.quiet()

    async def user(self, number: int, saldo: int | None = None, **more: Any) -> None:
        name = more.pop("nombre", f"u{number}")
        await self.enter(UsuarioRegistrado, usuario_id=number, nombre=name, saldo=saldo, **more)

    async def token(self, number: int, precio: int, **more: Any) -> None:
        shown = {"nombre": f"t{number}", "imagen": "t.jpg"} | {
            k: more.pop(k) for k in ("nombre", "imagen") if k in more
        }
        await self.enter(TokenPublicado, token_id=number, precio=precio, **shown, **more)

    async def top_up(self, number: int, monto: int, **more: Any) -> None:
        await self.enter(SaldoRecargado, usuario_id=number, monto=monto, **more)

    # What is looked at in the end

    def live(self) -> dict[str, list[dict[str, Any]]]:
        """What GET of each list shows; nothing where it fails."""
        book, sales = self.stores["compras"], self.stores["transacciones"]
        return {
            "usuarios": json.loads(self.stores["usuarios"].public_rows.body()),
            "tokens": json.loads(self.stores["tokens"].public_rows.body()),
            "transacciones": _or_nothing(
                public(sales.word(sales.list_index.place(n))) for n in sales.list_index.lines()
            ),
            "compras": _or_nothing(
                vista(book.find(book.word(book.list_index.place(n))["compraId"])) for n in book.list_index.lines()
            ),
            "altas": _or_nothing(vista(book.find(subject)) for subject in self.altas),
            "eventos": _or_nothing(self._events()),
        }

    def _events(self) -> Iterator[Any]:
        """What `/eventos` showed, from the first record on."""
        store = self.stores["compras"]
        seen = 0
        while some := store.some_records(seen, 1 << 20):
            seen += len(some)
            for record in map(json.loads, some):
                subject = record["id"].rpartition(":")[0]
                if (
                    record["change"] is not None
                    and (news := novedad(store.find(subject), record["change"])) is not None
                ):
                    yield {"seq": record["seq"], "evento": news[0], **news[1]}

    def client_journal(self) -> Path:
        """In the format that all clients write, as to the end."""
        first = next(iter(self.stores["compras"].some_records(0, 1)), None)
        head: list[dict[str, Any]] = [{"client": 1, "url": "http://127.0.0.1:8000", "started": "2025-11-26T00:00:00Z"}]
        if first is not None:
            record = json.loads(first)
            head.append({"shop": {name: record[name] for name in ("seq", "time", "crc")}})
        lines = [*head, *self.notes]
        lines.append({"t": DAY + self._ms / 1000, "closed": True, "lines": len(lines)})
        file = self.folder / "client.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return file


def _or_nothing(rows: Iterator[Any]) -> list[Any]:
    try:
        return list(rows)
    except Exception:
        return []


# The stories


async def told(shop: Shop, chapter: int) -> None:
    """A chapter, looked at in the end. Together they go through every branch, and every state of a purchase."""
    await seeded(shop)
    for story in CHAPTERS[chapter]:
        await story(shop)
        await shop.quiet()
    await shop.look()


async def seeded(shop: Shop) -> None:
    await shop.hear(
        "usuarios",
        [
            UsuarioRegistrado(alta_id=seed_id(n), fecha=SEED_FECHA, usuario_id=n, nombre=nombre, saldo=saldo)
            for n, nombre, saldo in ((1, "Ana", 100), (2, "Luis", 150))
        ],
    )
    await shop.hear(
        "tokens",
        [
            TokenPublicado(
                alta_id=seed_id(n), fecha=SEED_FECHA, token_id=n, nombre=nombre, imagen=imagen, precio=precio
            )
            for n, nombre, imagen, precio in (
                (101, "Gato Cósmico", "gato.jpg", 50),
                (102, "Paisaje Lunar", "luna.jpg", 70),
            )
        ],
    )
    # What the seed brought is said, and heard by nobody who asked.
    shop.queues["compras"].clear()
    for number in range(10, 16):
        await shop.user(number, 1_000)


async def ordinary(shop: Shop) -> None:
    """A purchase, looked at in each of its states; and another of the same token when it is sold."""
    bought = await shop.post(1, 101)
    for service in ("tokens", "compras", "usuarios", "compras", "tokens", "compras", "transacciones", "compras"):
        await shop.step(service)
        await shop.look(bought)
    late = await shop.post(2, 101, 500)
    await shop.quiet()
    await shop.look(bought, late)


async def sold_at_the_limit(shop: Shop) -> None:
    """All the money there is, and just the price that was seen; and what costs nothing."""
    await shop.user(20, 40)
    await shop.token(200, 40)
    await shop.token(201, 0)
    await shop.token(202, 30)
    for ask in ((20, 200, 40), (20, 201, 0), (10, 202, 31)):
        subject = await shop.post(*ask)
        await shop.quiet()
        await shop.look(subject)


async def refused(shop: Shop) -> None:
    """Each reason, when it is just true."""
    await shop.user(21, 39)
    await shop.user(22)
    await shop.token(210, 40)
    await shop.token(211, 0)
    for ask in (
        (21, 210, None),
        (22, 210, 40),
        (99, 210, 41),
        (10, 210, 39),
        (10, 999, 1),
        (99, 998, None),
        (98, 211, 0),
    ):
        subject = await shop.post(*ask)
        await shop.step("tokens", "usuarios")
        await shop.step("compras")
        await shop.look(subject)
        await shop.quiet()
        await shop.look(subject)
    # It is still for sale, also to who has it for nothing.
    await shop.post(22, 211)
    await shop.post(10, 210)


async def top_ups(shop: Shop) -> None:
    """Money that waits for its user, and money for one who is there; each looked at by what it can buy."""
    await shop.token(220, 30)
    await shop.token(221, 75)
    await shop.token(222, 5)
    await shop.top_up(23, 11)
    early = await shop.post(23, 220)
    await shop.quiet()
    await shop.look(early)
    await shop.top_up(23, 19)
    await shop.user(23, 45)
    await shop.post(23, 221)
    await shop.quiet()
    await shop.top_up(24, 4)
    await shop.user(24)
    await shop.post(24, 222)
    await shop.quiet()
    await shop.top_up(24, 1)
    await shop.post(24, 222)
    await shop.quiet()
    await shop.user(25, 7)
    await shop.top_up(25, 3)
    # It waits still when its user cannot buy yet, and is counted when they come in the same batch.
    await shop.top_up(29, 11)
    await shop.token(223, 3)
    await shop.post(29, 223)
    await shop.step("tokens")
    await shop.user(29, 6, later=True)


async def renames(shop: Shop) -> None:
    """A later name counts, its amount does not; an older one, and one of the same moment, count for nothing."""
    await shop.user(26, 12)
    older, same = shop.now(), shop.now()
    await shop.user(26, 500, nombre="Newest", fecha=same)
    await shop.user(26, 600, nombre="Older", fecha=older)
    await shop.user(26, 700, nombre="Same", fecha=same)
    await shop.user(27, 1, nombre="Whole", fecha="2025-11-26T00:00:00Z")
    await shop.user(27, 2, nombre="Fraction", fecha="2025-11-26T00:00:00.001Z")
    await shop.user(27, 3, nombre="Fraction")
    await shop.user(28, 5, nombre="Ñandú")


async def a_line(shop: Shop) -> None:
    """The first cannot pay, the second can, the third is refused."""
    await shop.token(230, 60)
    await shop.user(30, 59)
    asked = [await shop.post(user, 230, most) for user, most in ((30, 61), (11, 60), (12, None))]
    await shop.step("tokens")
    await shop.look(*asked)
    await shop.quiet()
    await shop.look(*asked)


async def a_full_line(shop: Shop) -> None:
    """One holds, as many wait as may, and the next two are refused; who comes when there is room again is not."""
    await shop.token(240, 20)
    for number in (31, 32, 33):
        await shop.user(number, 19)
    asked = [await shop.post(user, 240) for user in (31, 32, 33, 12, 13)]
    await shop.step("tokens")
    await shop.step("usuarios")
    await shop.step("tokens")
    asked += [await shop.post(14, 240, 20), await shop.post(15, 240)]
    await shop.quiet()
    await shop.look(*asked)


async def once_in_a_line(shop: Shop) -> None:
    """Who holds a token or waits for it, in the line's middle, at its end or in a full one, asks again in vain; who had
    their turn waits again."""
    await shop.token(245, 20)
    for number in (51, 52):
        await shop.user(number, 19)
    asked = [await shop.post(user, 245) for user in (51, 51, 52, 51, 52, 13, 52, 13, 14)]
    await shop.step("tokens")
    await shop.look(*asked)
    for user in (52, 51, 13, 51):
        await shop.step("usuarios")
        await shop.step("tokens")
        asked.append(await shop.post(user, 245))
        await shop.step("tokens")
    await shop.quiet()
    await shop.look(*asked)


async def one_key(shop: Shop) -> None:
    """What the operator enters under a key that is something else already is not entered."""
    fecha = shop.now()
    user = UsuarioRegistrado(alta_id="one-key-1", fecha=fecha, usuario_id=53, nombre="u53", saldo=4)
    top_up = SaldoRecargado(alta_id="one-key-2", fecha=fecha, usuario_id=53, monto=5)
    token = TokenPublicado(alta_id="one-key-3", fecha=fecha, token_id=246, nombre="t", imagen="t.jpg", precio=6)
    entries = (user, top_up, token)
    for entry in entries:
        shop.altas.append(entry.alta_id)
        await shop.hear("compras", [entry])
        for other in entries:
            if other is not entry:
                await shop.stray("compras", other.model_copy(update={"alta_id": entry.alta_id}))
    await shop.quiet()


async def too_dear_in_line(shop: Shop) -> None:
    """The price rises while they wait: who holds pays the old one, who waits is asked again; and no line is left."""
    await shop.token(250, 20)
    await shop.token(251, 20)
    await shop.user(34, 10)
    asked = [await shop.post(user, 250, most) for user, most in ((34, 25), (10, 29), (11, 30))]
    asked += [await shop.post(user, 251, most) for user, most in ((34, None), (10, 20), (11, 29))]
    await shop.step("tokens")
    await shop.token(250, 30, later=True)
    await shop.token(251, 30, later=True)
    await shop.step("tokens")
    await shop.quiet()
    await shop.look(*asked)
    # Nobody holds it any more: the next who asks gets it.
    await shop.post(12, 251, 30)


async def nobody_left(shop: Shop) -> None:
    """Nobody in line can pay, one after the other; then somebody can."""
    await shop.token(260, 100)
    for user in (34, 97, 22):
        await shop.post(user, 260, 100)
    await shop.quiet()
    await shop.post(13, 260, 100)


async def price_changes(shop: Shop) -> None:
    """While it is held, while it is sold, and before who asked is heard; and all else that is shown of it."""
    await shop.token(270, 10)
    first = await shop.post(10, 270, 10)
    await shop.step("tokens")
    await shop.token(270, 90, nombre="Dearer", imagen="dearer.png", later=True)
    await shop.step("tokens")
    await shop.quiet()
    await shop.look(first)
    await shop.token(270, 5, nombre="Sold", imagen="sold.png")
    await shop.post(11, 270, 5)
    await shop.token(271, 10)
    await shop.token(271, 8, nombre="Cheaper")
    await shop.post(11, 271, 9)
    await shop.quiet()
    early = await shop.post(11, 272)
    await shop.quiet()
    await shop.token(272, 3)
    await shop.look(early)
    await shop.post(11, 272, 3)


async def older_entries(shop: Shop) -> None:
    """An entry that is older than the one shown, or of the same moment, changes nothing; one without fractions is no
    later than its own second's."""
    older, same = shop.now(), shop.now()
    await shop.token(280, 10, fecha=same)
    await shop.token(280, 20, nombre="Older", imagen="older.png", fecha=older)
    await shop.token(280, 30, nombre="Same", imagen="same.png", fecha=same)
    await shop.token(281, 10, fecha="2025-11-26T00:00:00Z")
    await shop.token(281, 20, nombre="Fraction", fecha="2025-11-26T00:00:00.001Z")
    await shop.post(12, 280, 10)
    await shop.post(12, 281, 20)


async def every_order_of_a_sale(shop: Shop) -> None:
    """What the others say of a purchase reaches compras in any order; each state is looked at."""
    for place, order in enumerate(permutations(range(4))):
        await shop.token(300 + place, 2)
        await shop.quiet()
        bought = await shop.post(13, 300 + place, 2)
        await _in_order(shop, bought, order)


async def every_order_of_a_refusal(shop: Shop) -> None:
    await shop.user(35, 1)
    await shop.token(330, 2)
    for order in permutations(range(3)):
        for user in (35, 96):
            refused = await shop.post(user, 330, 2)
            await _in_order(shop, refused, order)


async def _in_order(shop: Shop, subject: str, order: Iterable[int]) -> None:
    await _others(shop)
    heard, shop.queues["compras"] = shop.queues["compras"], []
    for place in order:
        if place < len(heard):
            await shop.hear("compras", [heard[place]])
            await shop.look(subject)
    shop.queues["compras"] += heard[4:]


async def lost_and_asked_again(shop: Shop) -> None:
    """Whatever is lost on its way is found by asking again: for purchases of each shape, and for entries of each."""
    for place, service in enumerate(("tokens", "usuarios", "transacciones", "compras")):
        for price, most in ((3, None), (3, 3), (3, 2), (0, 0)):
            token = 340 + 10 * place + (4 if most is None else most)
            await shop.token(token, price)
            await shop.quiet()
            shop.cut.add(service)
            asked = await shop.post(14, token, most)
            await shop.quiet()
            await shop.look(asked)
            await shop.nudge()
            await shop.look(asked)
    await shop.user(36, 1)
    shop.cut |= {"usuarios", "tokens"}
    await shop.user(37, 8)
    await shop.user(38)
    await shop.top_up(36, 6)
    await shop.token(390, 7, imagen="asked-again.png")
    await shop.nudge()
    shop.cut.add("compras")
    await shop.top_up(36, 1)
    await shop.token(390, 9)
    await shop.nudge()
    await shop.post(36, 390, 9)


async def told_twice(shop: Shop) -> None:
    """Every message is heard twice, the second time when all is over."""
    await shop.token(400, 5)
    kept: list[tuple[str, Message]] = []
    await shop.post(15, 400, 5)
    await shop.post(10, 400)
    while any(shop.queues[name] for name in DOMAINS if name not in shop.down):
        kept += [(name, message) for name, queue in shop.queues.items() for message in queue]
        await shop.step()
    for name, message in kept:
        await shop.hear(name, [message])
    await shop.quiet()


async def another_body(shop: Shop) -> None:
    """A key that was used is refused for another token, another price and none, and answered for the same."""
    await shop.token(410, 5)
    await shop.post(15, 410, 5, "twice")
    for token, most in ((410, 6), (410, None), (101, 5), (410, 5)):
        await shop.post(15, token, most, "twice")
    await shop.quiet()
    for token, most in ((410, 4), (410, 5)):
        await shop.post(15, token, most, "twice")


async def strays(shop: Shop) -> None:
    """What no correct shop acts on: news of what nobody asked for, money for what another holds, or for too much."""
    await shop.token(420, 5)
    await shop.token(421, 5)
    await shop.user(39, 0)
    held = await shop.post(39, 420)
    await shop.step("tokens")
    lacks = {"fecha": shop.now(), "usuario_id": 39}
    nobody = compra_id(11, "nobody")
    for token in (420, 421, 101, 997):
        await shop.stray("tokens", SaldoReservado(compra_id=nobody, token_id=token, precio=5, **lacks))
        nobody = compra_id(11, f"nobody-{token}")
    # Of two others, whose ids are below and above any that a purchase has.
    for other in (f"{digit * 8}-0000-5000-8000-000000000000" for digit in "0f"):
        await shop.stray("tokens", SaldoReservado(compra_id=other, token_id=420, precio=5, **lacks))
    # The buyer has nothing; what usuarios will say comes later, and is true.
    for price in (4, 6):
        await shop.stray("tokens", SaldoReservado(compra_id=held, token_id=420, precio=price, **lacks))
    await shop.quiet()
    await shop.stray("compras", CompraConfirmada(compra_id=nobody, token_id=420, precio=5, **lacks))
    await shop.stray(
        "compras", TransaccionRegistrada(compra_id=compra_id(1, "x"), token_id=1, transaccion_id=1, **lacks)
    )


async def paid_and_refused(shop: Shop) -> None:
    """News that contradicts what compras has heard, whatever of it that is: both ends of one purchase."""
    await shop.user(40, 1)
    for place, heard in enumerate(("saldo.reservado", "compra.confirmada", "transaccion.registrada")):
        await shop.token(440 + place, 2)
        await shop.quiet()
        bought = await shop.post(13, 440 + place)
        await _only(shop, bought, heard)
        who = {"compra_id": bought, "usuario_id": 13, "token_id": 440 + place, "fecha": shop.now()}
        await shop.stray("compras", SaldoRechazado(motivo="saldo-insuficiente", **who))
        await shop.stray("compras", CompraRechazada(motivo="token-vendido", **who))
    await shop.token(449, 2)
    for heard in ("saldo.rechazado", "compra.rechazada"):
        await shop.quiet()
        refused = await shop.post(40, 449)
        await _only(shop, refused, heard)
        who = {"compra_id": refused, "usuario_id": 40, "token_id": 449, "fecha": shop.now()}
        await shop.stray("compras", SaldoReservado(precio=2, **who))
        await shop.stray("compras", CompraConfirmada(precio=2, **who))
        await shop.stray("compras", TransaccionRegistrada(transaccion_id=1, **who))


async def _only(shop: Shop, subject: str, kind: str) -> None:
    """Let compras hear this of a purchase that is over for all others, and the rest of it later."""
    await _others(shop)
    later = [message for message in shop.queues["compras"] if message.type != kind]
    shop.queues["compras"] = [message for message in shop.queues["compras"] if message.type == kind]
    await shop.step("compras")
    await shop.look(subject)
    shop.queues["compras"] = later


async def _others(shop: Shop) -> None:
    """Let all but compras hear whatever there is."""
    others = [name for name in DOMAINS if name != "compras" and name not in shop.down]
    while any(shop.queues[name] for name in others):
        await shop.step(*others)


async def a_night(shop: Shop) -> None:
    """All is decided, and compras hears of it a night later: its history has that, and not when they were asked for."""
    await shop.token(450, 2)
    await shop.token(451, 2)
    asked = [await shop.post(*ask) for ask in ((13, 450), (95, 451))]
    await _others(shop)
    heard, shop.queues["compras"] = shop.queues["compras"], []
    # Business goes on: a clock that was set would not have shown so many batches, and none of them at its hour.
    for _ in range(BATCHES):
        shop.pass_minutes(NIGHT_MINUTES // BATCHES)
        await shop.top_up(10, 1, later=True)
    for message in heard:
        await shop.hear("compras", [message])
    await shop.quiet()
    await shop.look(*asked)


async def after_a_restart(shop: Shop) -> None:
    """Who was sold, who is registered and what number is next are read from the journals."""
    await shop.restart()
    await shop.post(13, 101)
    await shop.token(430, 4)
    await shop.post(13, 430)
    await shop.user(26, 9, nombre="Again")
    await shop.top_up(26, 2)


# Each is a shop of its own: most mutants are seen in the first.
CHAPTERS: Final = (
    (ordinary, refused, a_line, top_ups, sold_at_the_limit, after_a_restart),
    (renames, a_full_line, once_in_a_line, one_key, too_dear_in_line, nobody_left, price_changes, older_entries),
    (every_order_of_a_sale, every_order_of_a_refusal, a_night),
    (ordinary, lost_and_asked_again, told_twice, another_body, strays, paid_and_refused, after_a_restart),
)


async def crowded(shop: Shop) -> None:
    """As many as may wait do, and one more: for a shop with the line that it really has."""
    await shop.user(1, 1)
    await shop.user(2, 100)
    await shop.token(1, 50)
    asked = [
        CompraSolicitada(
            compra_id=compra_id(user, f"c{place}"), usuario_id=user, token_id=1, precio_maximo=None, fecha=shop.now()
        )
        for place, user in enumerate(range(1, WHOLE_LINE + 4))
    ]
    for first in range(0, len(asked), BATCH):
        await shop.hear("compras", asked[first : first + BATCH])
    await shop.quiet()
