"""What compras answers, as `/docs` and `/openapi.json` have it; `views.py` makes it, and a test compares the two."""

from __future__ import annotations

from typing import Literal

from broker.messages import Motivo
from services.compras.domain import Estado
from services.shared.http.openapi import Vista
from services.shared.http.ops_routes import ServiceState


class PasoVisto(Vista):
    """A state, and when the front door heard of it."""

    estado: Estado
    fecha: str


class CompraVista(Vista):
    """A purchase. `precio` is what it costs, from when that is known; `motivo` is why it was refused."""

    id: str
    usuario_id: int
    token_id: int
    fecha: str
    precio_maximo: int | None = None
    estado: Estado
    motivo: Motivo | None = None
    precio: int | None = None
    transaccion_id: int | None = None
    historia: list[PasoVisto]


class AltaVista(Vista):
    """An operator's entry, and whether it is in force."""

    id: str
    tipo: Literal["usuario.registrado", "saldo.recargado", "token.publicado"]
    fecha: str
    estado: Literal["solicitada", "aplicada"]


class Fuera(Vista):
    """A service that cannot be asked."""

    ready: Literal[False]
    role: None
    problem: str


class ProcesoVisto(Vista):
    """A process, where it was looked for; who it is, if it answered."""

    url: str
    ready: bool
    role: str | None
    host: str | None
    pid: int | None


class BrokerVisto(Vista):
    conectado: bool
    problema: str | None


class SaludVista(Vista):
    """How the database is: docs/metrics.md says what each number counts."""

    foto_segundos: float
    xmin_edad: int
    replicas: int
    replicas_pedidas: int
    wal_bytes: int
    ranuras_bytes: int
    ranuras_libres: int
    bytes: int
    conexiones: int
    conexiones_max: int


class BaseVista(Vista):
    """The database with compras' books, where they are in one. `salud`: some seconds ago; none while it is away, and
    where it is not `saludPosible`, as somebody has to run roles.sql."""

    conectada: bool
    problema: str | None
    salud: SaludVista | None
    salud_posible: bool


class ColaVista(Vista):
    messages: int
    consumers: int


class EstadoVisto(Vista):
    """The whole shop, as far as it answers within a second. `tumbar` has the commands that kill, where that is on."""

    servicios: dict[str, ServiceState | Fuera]
    # Of each service whose processes have addresses of their own.
    procesos: dict[str, list[ProcesoVisto]]
    broker: BrokerVisto
    base: BaseVista | None
    colas: dict[str, ColaVista] | None
    sin_terminar: int
    tumbar: dict[str, str] | None
    gestion: str | None
