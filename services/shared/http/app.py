"""The ASGI application of a service: its routes, those that every service has, and the edge around them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

from fastapi import Depends, FastAPI
from msgspec import Struct

from broker.amqp.bus import Bus
from services.rebuild.routes import BOOK
from services.rebuild.routes import routes as rebuild_routes
from services.shared.decision import Domain
from services.shared.exits import end, sentence, start_code, unwritable
from services.shared.http.bodies import check_query
from services.shared.http.files import Files
from services.shared.http.guard import Guard
from services.shared.http.hosts import Hosts
from services.shared.http.one_by_one import OneByOne
from services.shared.http.ops_routes import COMMON, routes
from services.shared.http.pace import Pace
from services.shared.http.shutdown import GracefulShutdown
from services.shared.journal.store import open_json_store
from services.shared.logs import configure_logs
from services.shared.metrics import VERSION, Metrics
from services.shared.runtime import Runtime, Service
from services.shared.settings import Settings, WrongSetting, read_settings
from services.shared.store import Damaged, OpenStore, Store

Row = TypeVar("Row", bound=Struct)
# Between two searches of those who wait for one the loop is for others so many times as long.
SEARCH_REST: Final = 1.0


def open_store_of(domain: Domain[Any], settings: Settings, metrics: Metrics, now: Callable[[], str]) -> Store[Any]:
    """PostgreSQL where ZOCO_STORE names one; else files."""
    if settings.store is None:
        return open_json_store(domain, settings, metrics, now)
    # Who needs no database needs none of this.
    from services.shared.postgres.store import open_postgres_store  # noqa: PLC0415

    return open_postgres_store(domain, settings, metrics, now)


def create_app(service: Service[Row], open_store: OpenStore = open_store_of, bus: type[Bus] = Bus) -> FastAPI:
    """The ASGI application of a service. Settings, store and broker are touched when it starts, not before.

    Tests hand in another store, and the drill parts that break a promise.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        try:
            settings = read_settings()
            configure_logs(service.domain.name, settings.log)
            runtime = Runtime(service, settings, open_store, bus)
            app.state.runtime = runtime
            app.state.pace = Pace()
            app.state.searches = OneByOne(SEARCH_REST)
            app.state.hosts = Hosts(service.domain.name, settings.public_hosts)
            guard = Guard(settings, runtime.metrics)
            await runtime.start()
            app.state.drain = GracefulShutdown(settings.drain_seconds)
            app.state.drain.start()
        except (WrongSetting, Damaged, OSError) as error:
            configure_logs(service.domain.name, "auto")
            end(start_code(error), sentence(error) if unwritable(error) else str(error))
        runtime.keep(guard.run())
        runtime.keep(app.state.pace.run())
        yield {"guard": guard}
        await runtime.stop()

    app = service.app(
        service.straight,
        [("PUT", BOOK)],
        title=f"Zoco: {service.domain.name}",
        version=VERSION,
        description="Of Zoco, a shop of one-of-a-kind tokens: the business speaks Spanish, errors are RFC 9457.",
        servers=[{"url": "/", "description": "Where this was read"}],
        openapi_tags=[
            {"name": service.domain.name, "description": "What this service is for"},
            {"name": COMMON, "description": "Whether it lives, what it counts, its journal"},
        ],
        lifespan=lifespan,
        dependencies=[Depends(check_query)],
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.include_router(service.routes, tags=[service.domain.name])
    app.include_router(routes)
    app.include_router(rebuild_routes)
    app.mount("/swagger", Files(packages=[("fastapi_swagger", "resources")]), name="swagger")
    return app
