"""What is measured on each side of a comparison. Each side has a `measure`, and may be measured again and again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import count as numbers
from typing import Final

from loadgen.bench.client import Observed, request, send
from loadgen.bench.place import BROKER, PATIENCE_SECONDS, BenchFailed, Place, Program, Sample, Served, Watch, until
from loadgen.bench.relay import FRONT
from loadgen.bench.sample import PRECIO, USUARIO, message, outgoing
from loadgen.bench.wire import opened
from ops.running import POSTGRES, Running
from services.shared.processor import BATCH_LIMIT

# A poll of what is under way costs a little, and makes no figure wrong by more than this.
POLL_SECONDS: Final = 0.02
# More unfinished purchases than the front door takes unless observed: in some figures nobody finishes them.
NO_LIMIT: Final = {"ZOCO_BACKLOG_LIMIT": "100000000"}
BARE: Final = ("--factory", "loadgen.bench.bare:app")
OPENAPI: Final = "/openapi.json"
FINISHED: Final = re.compile(r"^zoco_purchases_finished_total\{.*\} (.*)$", re.MULTILINE)
PUBLISHED: Final = re.compile(r"^zoco_messages_published_total\{.*\} (.*)$", re.MULTILINE)


def well(observed: Observed, status: int, count: int, what: str) -> None:
    """Raises BenchFailed unless all were answered so."""
    if observed.statuses != {status: count}:
        raise BenchFailed(f"{what} answered {dict(observed.statuses)}, not {status} to all: {observed.refusal[:300]!r}")


def purchases(
    tokens: Iterator[int], count: int, key: str, buyer: Callable[[int], int] = lambda _: USUARIO
) -> list[bytes]:
    """A POST for each of the next tokens, with a key that nobody used, of whichever buyer the number of it is for."""
    return [
        request("POST", "/compras", {"usuarioId": buyer(n), "tokenId": token}, {"Idempotency-Key": f"{key}-{n}"})
        for n, token in zip(range(count), tokens, strict=False)
    ]


class Chain:
    """Whole purchases, from the POST to `registrada`, of any shop that has a front door and says how many ended."""

    def __init__(
        self, front: str, pids: Mapping[str, int], ended: Callable[[], Awaitable[int]], buyers: int = 1
    ) -> None:
        self.pids = pids
        self.bought = 0
        # They take turns.
        self._buyers = buyers
        self._front = front
        self._ended = ended
        self._tokens = numbers(1)

    async def measure(self, count: int) -> Sample:
        """Purchases a second."""
        asked = purchases(self._tokens, count, f"chain-{self.bought}", lambda n: USUARIO + n % self._buyers)
        goal = await self._ended() + count
        watch = Watch(self.pids)
        started = time.perf_counter()
        well(await send(self._front, asked), 202, count, "the front door")
        await until(lambda: self.has_ended(goal), "the end of the purchases", POLL_SECONDS)
        seconds = time.perf_counter() - started
        self.bought += count
        return Sample(count / seconds, watch.per(count))

    async def has_ended(self, count: int) -> bool:
        return await self._ended() >= count


class Shop(Chain):
    """Our shop, as `zoco up` runs it."""

    def __init__(self, place: Place, running: Running, buyers: int = 1) -> None:
        ours = (*running.places, POSTGRES)
        pids: dict[str, int] = {name: pid for name, pid in running.pids.items() if name in ours}
        pids[BROKER] = place.broker_pid
        super().__init__(running.urls[FRONT], pids, self.ended, buyers)
        self.running = running
        self.stocked = 0
        self._place = place

    async def ended(self) -> int:
        """Purchases that reached their end since the front door was started."""
        doors = [self.running.places[door] for door in self.running.processes[FRONT]]
        texts = [await self._place.get(f"{url}/metrics") for url in doors]
        return sum(int(float(value)) for text in texts for value in FINISHED.findall(text))

    async def stock(self, count: int, money: int) -> None:
        """Put so many more tokens up for sale, and give each buyer more money."""
        headers = {"Authorization": f"Bearer {self.running.operator_token}"}
        first, self.stocked = self.stocked + 1, self.stocked + count
        entries = []
        for buyer in range(USUARIO, USUARIO + self._buyers):
            entries.append(request("PUT", f"/usuarios/{buyer}", {"nombre": "Comprador"}, headers))
            entries.append(request("POST", f"/usuarios/{buyer}/recargas", {"monto": money}, headers))
        entries += [
            request("PUT", f"/tokens/{token}", _token(token), headers) for token in range(first, self.stocked + 1)
        ]
        well(await send(self.running.urls[FRONT], entries), 202, len(entries), "the front door")
        await until(self.quiet, "the end of the operator's entries")

    def tokens(self, count: int) -> list[int]:
        """Tokens for sale that nobody has asked for."""
        return [token for _, token in zip(range(count), self._tokens, strict=False)]

    async def quiet(self) -> bool:
        left: int = json.loads(await self._place.get(f"{self.running.urls[FRONT]}/estado"))["sinTerminar"]
        return left == 0

    async def crowd(self, buyers: int, tokens: int) -> Sample:
        """CPU microseconds for each of so many who ask for one of `tokens` tokens, all while its holder cannot pay yet.

        usuarios stands still until everyone has asked: the lines are as long as they can be.
        """
        wanted = self.tokens(tokens)
        # Nobody stands in a line twice.
        asked = purchases(
            (wanted[number % tokens] for number in range(buyers)),
            buyers,
            f"crowd-{wanted[0]}",
            lambda n: USUARIO + max(0, n - tokens + 1),
        )
        goal = await self.ended() + buyers
        pid = self.running.pids["usuarios"]
        watch = Watch(self.pids)
        os.kill(pid, signal.SIGSTOP)
        try:
            well(await send(self.running.urls[FRONT], asked), 202, buyers, "the front door")
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: self.has_ended(goal), "the end of the crowd", POLL_SECONDS)
        cpu = watch.per(buyers)
        return Sample(sum(cpu.values()), cpu)


class Door:
    """Requests to one process, over and over."""

    def __init__(
        self, served: Served, pids: Mapping[str, int], asked: Callable[[int], list[bytes]], status: int
    ) -> None:
        self._served = served
        self._pids = {**pids, "server": served.process.pid}
        self._asked = asked
        self._status = status

    async def measure(self, count: int) -> Sample:
        """Answers a second."""
        asked = self._asked(count)
        watch = Watch(self._pids)
        observed = await send(self._served.url, asked)
        well(observed, self._status, count, self._served.url)
        return Sample(count / observed.seconds, watch.per(count))


@asynccontextmanager
async def doors(place: Place) -> AsyncIterator[tuple[Door, Door]]:
    """compras alone, whose words wait in the others' queues; and the bare front door."""
    url = await place.url("door")
    env = {"ZOCO_RABBITMQ_URL": url, "ZOCO_DATA": str(place.folder / "door"), **NO_LIMIT}
    keys = numbers()

    def asked(count: int) -> list[bytes]:
        return purchases(numbers(1), count, f"door-{next(keys)}")

    async with (
        place.served("door", ("services.compras.main:app",), env) as ours,
        place.served("bare-door", BARE, {"BENCH_BODY": os.devnull}, OPENAPI) as bare,
    ):
        yield Door(ours, {BROKER: place.broker_pid}, asked, 202), Door(bare, {}, asked, 202)


@asynccontextmanager
async def shelves(place: Place, tokens: int) -> AsyncIterator[tuple[Door, Door]]:
    """tokens alone, with so many tokens; and a bare route that returns the same bytes."""
    seed, body = place.folder / "seed.json", place.folder / "body.json"
    entries = [{"id": token, **_token(token), "vendido": False} for token in range(1, tokens + 1)]
    seed.write_text(json.dumps(entries), encoding="utf-8")
    env = {"ZOCO_DATA": str(place.folder / "shelf"), "ZOCO_SEED": str(seed)}
    async with place.served("shelf", ("services.tokens.main:app",), env) as ours:

        async def stocked() -> bool:
            shown = await place.get(f"{ours.url}/tokens")
            body.write_text(shown, encoding="utf-8")
            return len(json.loads(shown)) == tokens

        await until(stocked, "the seed's tokens")
        async with place.served("bare-shelf", BARE, {"BENCH_BODY": str(body)}, OPENAPI) as bare:
            yield Door(ours, {}, _gets, 200), Door(bare, {}, _gets, 200)


class Backlog:
    """transacciones' queue, full, and who empties it: our service, or the raw drain, each time a new process."""

    def __init__(self, place: Place, url: str) -> None:
        self._place = place
        self._url = url
        self._runs = numbers(1)

    async def ours(self, count: int) -> Sample:
        """Messages a second, from the first whose answer is seen on."""
        run = next(self._runs)
        await self._fill(count, run)
        env = {"ZOCO_RABBITMQ_URL": self._url, "ZOCO_DATA": str(self._place.folder / f"drain-{run}")}
        async with self._place.served("drain", ("services.transacciones.main:app",), env) as served:
            watch = Watch({BROKER: self._place.broker_pid, "transacciones": served.process.pid})
            deadline = time.monotonic() + PATIENCE_SECONDS
            first = seen = await self._answered(served)
            started = now = time.perf_counter()
            while seen < count:
                if time.monotonic() > deadline:
                    raise BenchFailed(f"transacciones drained {seen} of {count} in {PATIENCE_SECONDS:.0f} s")
                await asyncio.sleep(POLL_SECONDS)
                now, seen = time.perf_counter(), await self._answered(served)
                if first == 0:
                    first, started = seen, now
            return Sample((count - first) / (now - started), watch.per(count))

    async def raw(self, count: int, how: str) -> Sample:
        """Messages a second. `how` is `public` or `batched`."""
        run = next(self._runs)
        await self._fill(count, run)
        words = (str(count), str(self._place.folder / f"drain-{run}.jsonl"), how)
        program = Program("loadgen.bench.drain", words, {"ZOCO_RABBITMQ_URL": self._url})
        watch = Watch({BROKER: self._place.broker_pid, "transacciones": program.process.pid})
        try:
            rate: float = await program.says("rate")
            return Sample(rate, watch.per(count))
        finally:
            await program.stop()

    async def _fill(self, count: int, run: int) -> None:
        wire = await opened(self._url, None, batched=True)
        waiting = [outgoing(message("compra.confirmada", f"{run}-{number}", number)) for number in range(1, count + 1)]
        for at in range(0, count, BATCH_LIMIT):
            await wire.publish(waiting[at : at + BATCH_LIMIT])
        await wire.close()

    async def _answered(self, served: Served) -> int:
        """Answers that the broker has confirmed; they are in the journal by then."""
        text = await self._place.get(f"{served.url}/metrics")
        return sum(int(float(value)) for value in PUBLISHED.findall(text))


def _gets(count: int) -> list[bytes]:
    return [request("GET", "/tokens")] * count


def _token(token: int) -> dict[str, str | int]:
    return {"nombre": f"Token {token}", "imagen": "gato.jpg", "precio": PRECIO}
