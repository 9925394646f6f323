"""The shop whose books are in PostgreSQL beside the one whose books are files, and the two stores by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import Final

from broker.services import SERVICES, Service
from loadgen.bench.figures import Findings
from loadgen.bench.others import MISSING, fast_stream, fast_stream_is_there
from loadgen.bench.place import JSON, BenchFailed, Place, Program, until
from loadgen.bench.plan import Plan, Side, Tell, crowd, in_turn, money, total
from loadgen.bench.relay import FRONT
from loadgen.bench.sides import Shop
from loadgen.drill.reconcile import reconcile
from loadgen.drill.shop import ShopKind, own_shop
from ops.i18n import Text
from ops.postgres import Database
from ops.running import POSTGRES, Running

# Its virtual hosts.
VHOSTS: Final = ("shop-postgres", "shop-four", "outbox")
ON_POSTGRES: Final = Text("zoco on PostgreSQL, at the top rate")
OUTBOX: Final = Text("FastStream, SQLAlchemy, outbox")
# Each figure is that of the service among these in which a message costs most more.
AMONG: Final[Mapping[str, tuple[int, Sequence[Service]]]] = {
    "store-300": (300, [service for service in SERVICES if service != FRONT]),
    "store-300-compras": (300, [FRONT]),
    "store-10": (10, SERVICES),
}


async def on_postgres(plan: Plan, place: Place, shop: Shop, findings: Findings, tell: Tell) -> None:
    """The shop beside one whose books are in PostgreSQL, and the two stores by themselves."""
    tell("starting a shop on PostgreSQL ...")
    rounds = plan.warming + plan.rounds
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(shop_on_postgres(place, "shop-postgres"))
        sides: dict[str, tuple[Side, int]] = {}
        for name, one in (("books in files", shop), ("books in PostgreSQL", other)):
            await one.stock(plan.purchases * rounds, money(plan.purchases * rounds))
            sides[name] = (one.measure, plan.purchases)
        if fast_stream_is_there():
            database = await stack.enter_async_context(_database(place, "outbox"))
            outbox = await stack.enter_async_context(fast_stream(place, plan.fast_stream * rounds, database))
            sides[OUTBOX] = (outbox.measure, plan.fast_stream)
        else:
            findings.missing["outbox"] = MISSING
        found = await in_turn(plan, tell, sides)
    files, tables = found["books in files"], found["books in PostgreSQL"]
    spent, least = ([total(sample.cpu) for sample in samples] for samples in (tables, files))
    findings.note("postgres", spent, least)
    findings.spent(ON_POSTGRES, tables)
    if OUTBOX in found:
        findings.compare("outbox", tables, found[OUTBOX])
        findings.spent(OUTBOX, found[OUTBOX])
    if plan.crowds:
        async with shop_on_postgres(place, "shop-four", "tokens=4") as four:
            await crowd(plan, four, findings, tell, "postgres-crowd")
    await _stores(plan, place, findings, tell)


@asynccontextmanager
async def shop_on_postgres(place: Place, name: str, replicas: str = "", buyers: int = 1) -> AsyncIterator[Shop]:
    """One that is audited in the end. Raises BenchFailed when it lost something."""
    folder = place.folder / name
    kind = ShopKind(postgres=True, replicas=replicas)
    async with own_shop(folder, broker_url=await place.url(name), kind=kind):
        shop = Shop(place, Running.read(folder / "data"), buyers)
        yield shop
        await until(shop.quiet, "quiet")
        verdict = await reconcile(folder / "data", [])
        if not verdict.holds:
            raise BenchFailed(f"{name} is not what it should be: {verdict.breaches[:1]}")


async def _stores(plan: Plan, place: Place, findings: Findings, tell: Tell) -> None:
    measured: dict[str, dict[str, list[dict[int, float]]]] = {}
    async with _database(place, "database") as database:
        for service in SERVICES:
            of = measured[service] = {JSON: [], POSTGRES: []}
            for number in range(plan.rounds):
                for store, found in of.items():
                    found.append(await _alone(place, service, store, database, plan.alone))
                    tell(Text("a message of {service}, {store}: {cpu:,.0f} µs", service, store, found[number][300]))
    for name, by_store in measured.items():
        findings.stores[name] = {
            store: {size: median(one[size] for one in found) for size in found[0]} for store, found in by_store.items()
        }
    for figure, (size, among) in AMONG.items():
        ratio = {one: findings.stores[one][POSTGRES][size] / findings.stores[one][JSON][size] for one in among}
        dearest = max(ratio, key=ratio.__getitem__)
        tables, files = ([one[size] for one in measured[dearest][store]] for store in (POSTGRES, JSON))
        findings.note(figure, tables, files, dearest)


@asynccontextmanager
async def _database(place: Place, name: str) -> AsyncIterator[Database]:
    database = Database(place.folder / name)
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


async def _alone(place: Place, service: Service, store: str, database: Database, each: int) -> dict[int, float]:
    """CPU microseconds of a message in a store by itself, for each size of a batch. See `stores.py`."""
    env = {"ZOCO_DATA": str(place.folder / "alone" / service)}
    if store == POSTGRES:
        env = {"ZOCO_STORE": database.url(service), "BENCH_POSTGRES": str(database.pid)}
    program = Program("loadgen.bench.stores", (service, str(each)), env)
    try:
        return {int(size): sum(cpu.values()) for size, cpu in (await program.says("cpu")).items()}
    finally:
        await program.stop()
