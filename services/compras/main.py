"""compras, the front door: its parts put together."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter

from services.compras.api import comprar
from services.compras.api import routes as buyers_routes
from services.compras.domain import DOMAIN
from services.compras.forwarding import FrontDoorApp
from services.compras.front_door import FrontDoor
from services.compras.operator_api import routes as operator_routes
from services.compras.operator_session import routes as session_routes
from services.compras.page import routes as page_routes
from services.shared.http.app import create_app
from services.shared.runtime import Service
from services.shared.seed import empty_seed

# One list: a router in a router costs every request that passes it.
routes = APIRouter(routes=[*buyers_routes.routes, *operator_routes.routes, *session_routes.routes, *page_routes.routes])


SERVICE = Service(
    domain=DOMAIN,
    routes=routes,
    seed=empty_seed,
    seed_file=Path(__file__).with_name("compras.json"),
    extension=FrontDoor,
    straight={("POST", "/compras"): comprar},
    app=FrontDoorApp,
)
app = create_app(SERVICE)
