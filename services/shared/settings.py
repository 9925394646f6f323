"""Every setting of a service, read once at its start. A missing or wrong one stops the process and names itself."""

from __future__ import annotations

import contextlib
import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from broker.amqp.bus import PREFETCH
from broker.amqp.connect import Address
from broker.texts import bearer
from services.shared.postgres.url import check_url

PREFIX: Final = "ZOCO_"
# Where a cluster mounts secrets: one file per setting, named like it.
SECRETS: Final = Path("/run/secrets/zoco")
ROOT: Final = Path(__file__).parents[2]


# A label at least, and no dot that is too many.
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)

Network: TypeAlias = IPv4Network | IPv6Network


def _words(told: object) -> object:
    return [word for part in told.split(",") if (word := part.strip())] if isinstance(told, str) else told


Networks: TypeAlias = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_words)]


def _public_host(told: str) -> str:
    """As a browser has it in Host."""
    name = told.lower().removesuffix(".")
    with contextlib.suppress(UnicodeError):
        if (ascii_only := name.encode("idna")).decode("idna") == name:
            name = ascii_only.decode()
    if _NAME.fullmatch(name) is None and not _is_address(name.strip("[]")):
        why = "is no name of a host: give it as shop.example (or xn--…), without scheme, port, path or *"
        raise PydanticCustomError("host", "{told} {why}", {"told": repr(told), "why": why})
    return name


def _is_address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


PublicHosts: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_public_host)], ...], NoDecode, BeforeValidator(_words)
]


class WrongSetting(Exception):
    """One sentence that names the setting, and what to do."""


def _bearer(secret: SecretStr) -> SecretStr:
    try:
        return SecretStr(bearer(secret.get_secret_value()))
    except ValueError as error:
        raise PydanticCustomError("bearer", "{why}", {"why": str(error)}) from None


def _address(url: str) -> str:
    """Without a slash at its end, and an IPv6 address in brackets: a pod knows its own without them."""
    scheme, _, place = url.partition("://")
    place = place.rstrip("/")
    host, _, port = place.rpartition(":")
    if ":" in host and "[" not in host and "/" not in host:
        place = f"[{host}]:{port}"
    return _reachable(f"{scheme}://{place}")


def _reachable(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return url
    except ValueError:
        pass
    raise PydanticCustomError("url", "it is to be as http://host:port, with a port from 1 to 65535")


Bearer = Annotated[SecretStr, AfterValidator(_bearer)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://"), AfterValidator(_address)]
Urls: TypeAlias = Annotated[tuple[Url, ...], NoDecode, BeforeValidator(_words), Field(min_length=1)]


class Settings(BaseSettings):
    """From the environment, with the prefix ZOCO_, or from files of the same names in /run/secrets/zoco."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    rabbitmq_url: SecretStr | None = Field(
        None,
        description="The broker, as amqp://user:password@host:port/vhost, or several hosts with commas between them. "
        "Without it a service only reads.",
    )
    data: Path | None = Field(
        None, description="The folder of this service's books. Unless told, `.zoco/<service>` in the project."
    )
    store: SecretStr | None = Field(
        None,
        description="PostgreSQL for this service's books, as postgresql://role:password@host:port/database: then any "
        "number of processes decide. Without it they are files in ZOCO_DATA, and one does.",
    )
    store_standbys: int = Field(
        0,
        ge=0,
        description="With more than 0 a service waits while PostgreSQL's synchronous_standby_names is empty; how many "
        "standbys have to have each commit, that setting of PostgreSQL's says.",
    )
    seed: Path | None = Field(
        None, description="What to start with: a JSON file. Unless told, the one beside the service's code."
    )
    public_url: Url = Field(
        "http://127.0.0.1:8000", description="Where other replicas of this service reach this process."
    )
    operator_token: Bearer | None = Field(
        None,
        description="compras: what the operator's endpoints ask for: 16 or more visible ASCII characters. Without it "
        "they are off; `zoco up` makes one.",
    )
    books_token: Bearer | None = Field(
        None,
        description="What whoever reads a whole book (/diario) or puts one (/libro) is asked for. One for all four "
        "services: they ask each other, too. Without it that is off.",
    )
    replica_secret: Bearer | None = Field(
        None,
        description="compras: by which its replicas know each other. Without it one process sells, and a second one "
        "answers 503 to what it would have to pass on.",
    )
    compras_url: Urls = Field(
        ("http://127.0.0.1:8000",),
        description="Where compras answers; where that is several addresses, with commas between them.",
    )
    usuarios_url: Urls = Field(("http://127.0.0.1:8001",), description="Where usuarios answers, in the same way.")
    tokens_url: Urls = Field(("http://127.0.0.1:8002",), description="Where tokens answers, in the same way.")
    transacciones_url: Urls = Field(
        ("http://127.0.0.1:8003",), description="Where transacciones answers, in the same way."
    )
    backlog_limit: int = Field(
        100_000, ge=1, description="compras: with so many purchases unfinished, further ones are answered 503."
    )
    nudge_seconds: float = Field(
        5.0,
        gt=0,
        description="compras: seconds that a purchase may stand still, all queues empty, before it is asked for again.",
    )
    knock_down: str | None = Field(
        None,
        pattern=r"^(local:.+|cluster)$",
        description="compras: lets the page's operator kill: `local:FOLDER`, the processes of the `zoco up` there; "
        "`cluster`, the pods of its namespace.",
    )
    management_url: Annotated[str, AfterValidator(_reachable)] | None = Field(
        None, pattern=r"^https?://", description="compras: RabbitMQ's management UI, for the page's link to it."
    )
    prefetch: int = Field(
        PREFETCH,
        ge=1,
        le=2000,
        description="Deliveries that the broker sends ahead of their acks (quorum queues: at most 2,000).",
    )
    batch: int = Field(500, ge=1, description="The most messages that are written with one sync.")
    # A place in a segment has 32 bits, and the last batch comes on top.
    snapshot_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, le=1024**3, description="Journal bytes between two snapshots."
    )
    disk_reserve: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="The share of the disk, 4 GiB at the most, that is kept for what is under way: with less room free "
        "compras answers new purchases 503. 0: nothing is kept.",
    )
    drain_seconds: float = Field(
        0.0, ge=0, description="After SIGTERM requests are answered for so long: until nobody sends any more."
    )
    public_hosts: PublicHosts = Field(
        (),
        description="Names under which the shop is reached, without scheme and port, with commas between them. "
        "Addresses, the loopback's names and the service's own in a cluster count anyway; others are answered 421.",
    )
    proxies: Networks = Field(
        (),
        description="Addresses or networks of proxies, with commas between them: of these X-Forwarded-For is believed.",
    )
    connections: int | None = Field(
        None,
        ge=1,
        description="The most that are open at once: 4,000 unless told, and no more than the descriptors allow.",
    )
    head_bytes: int = Field(16 * 1024, ge=1024, description="The most that a request's line and headers may have.")
    head_seconds: float = Field(20.0, gt=0, description="In this time the head of a request must have come.")
    body_seconds: float = Field(20.0, gt=0, description="In this time 16 KiB of a body must come, or its end.")
    unread_seconds: float = Field(30.0, gt=0, description="In this time 16 KiB of an answer must be read, or its end.")
    idle_seconds: int = Field(
        75, ge=1, description="A connection without a request is kept for so long: proxies keep theirs for 60."
    )
    log: Literal["auto", "json", "console"] = Field(
        "auto", description="Lines of JSON, or coloured text; auto: text on a terminal."
    )


def read_settings() -> Settings:
    """Raises WrongSetting."""
    try:
        settings = Settings(_secrets_dir=SECRETS if SECRETS.is_dir() else None)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise WrongSetting(f"{PREFIX}{str(first['loc'][0]).upper()} is wrong: {first['msg']}") from error
    try:
        if settings.rabbitmq_url is not None:
            Address.read(settings.rabbitmq_url.get_secret_value())
    except ValueError as error:
        raise WrongSetting(f"{PREFIX}RABBITMQ_URL is wrong: {error}") from None
    try:
        if settings.store is not None:
            check_url(settings.store.get_secret_value())
    except ValueError as error:
        raise WrongSetting(f"{PREFIX}STORE is wrong: {error}") from None
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    strangers = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if strangers:
        raise WrongSetting(f"{strangers[0]} is no setting: known are {', '.join(sorted(known))}")
    return settings
