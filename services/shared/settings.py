"""Every setting of a service, read once at its start. A missing or wrong one stops the process and names itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker.amqp.bus import PREFETCH
from broker.amqp.connect import Address

PREFIX: Final = "ZOCO_"
# Where a cluster mounts secrets: one file per setting, named like it.
SECRETS: Final = Path("/run/secrets/zoco")
ROOT: Final = Path(__file__).parents[2]


class WrongSetting(Exception):
    """One sentence that names the setting, and what to do."""


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
    seed: Path | None = Field(
        None, description="What to start with: a JSON file. Unless told, the one beside the service's code."
    )
    public_url: str = Field(
        "http://127.0.0.1:8000",
        pattern=r"^https?://",
        description="Where other replicas of this service reach this process.",
    )
    operator_token: SecretStr | None = Field(
        None, min_length=16, description="compras: what the operator's endpoints ask for. Without it they are off."
    )
    books_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="What whoever reads a whole book (/diario) or puts one (/libro) is asked for. One for all four "
        "services: they ask each other, too. Without it that is off.",
    )
    compras_url: str = Field(
        "http://127.0.0.1:8000",
        pattern=r"^https?://",
        description="Where compras answers.",
    )
    usuarios_url: str = Field("http://127.0.0.1:8001", pattern=r"^https?://", description="Where usuarios answers.")
    tokens_url: str = Field("http://127.0.0.1:8002", pattern=r"^https?://", description="Where tokens answers.")
    transacciones_url: str = Field(
        "http://127.0.0.1:8003", pattern=r"^https?://", description="Where transacciones answers."
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
    management_url: str | None = Field(
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
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    strangers = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if strangers:
        raise WrongSetting(f"{strangers[0]} is no setting: known are {', '.join(sorted(known))}")
    return settings
