"""Makes a cluster's credentials, once: `python -m broker.credentials`, run by a Job that may write Secrets.

With a word it makes those of one component, and no others: `postgres` of postgres-ha, `rabbitmq` of rabbitmq-ha.

A Secret that is there stays as it is, but for the broker's definitions: they follow `topology.py`. However often this
runs, and wherever it was killed, the Secrets agree with each other afterwards.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from broker.account import Account
from broker.services import SERVICES
from broker.topology import MONITOR, definitions

BROKER: Final = "rabbitmq:5672"
DATABASE: Final = "postgres:5432/zoco"
OPERATOR: Final = "operador"
CALL_SECONDS: Final = 10
SECRET_BYTES: Final = 24


@dataclass(frozen=True)
class Secrets:
    """The Secrets of one namespace. Every method may raise OSError."""

    account: Account

    def once(self, name: str, values: dict[str, str]) -> dict[str, str]:
        """Make this Secret, unless it is there. Returns what it holds."""
        found = self._read(name)
        if found is None:
            try:
                self._call("POST", "", _manifest(name, values))
                return values
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.CONFLICT:
                    raise
                # Another Job was a moment faster.
                found = self._read(name)
        return found or {}

    def always(self, name: str, values: dict[str, str]) -> None:
        """Make this Secret, or put other values into it."""
        if self.once(name, values) != values:
            self._call("PUT", f"/{name}", _manifest(name, values))

    def _read(self, name: str) -> dict[str, str] | None:
        try:
            found = self._call("GET", f"/{name}")
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise
        return {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.account.url("secrets") + path,
            None if body is None else json.dumps(body).encode(),
            {**self.account.headers(), "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=CALL_SECONDS, context=self.account.tls) as answer:
            return json.load(answer)


def _manifest(name: str, values: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "zoco"}},
        "stringData": values,
    }


def make(store: Secrets) -> None:
    """All of a shop's credentials. Raises OSError."""
    passwords: dict[str, str] = {}
    for service in SERVICES:
        url = f"amqp://{service}:{secrets.token_urlsafe(SECRET_BYTES)}@{BROKER}/"
        made = store.once(f"{service}-rabbitmq", {"ZOCO_RABBITMQ_URL": url})
        passwords[service] = urlsplit(made["ZOCO_RABBITMQ_URL"]).password or ""
    operator = store.once("rabbitmq-operator", {"username": OPERATOR, "password": secrets.token_urlsafe(SECRET_BYTES)})
    passwords[OPERATOR] = operator["password"]
    # Whoever asks how long the queues are may stand in another namespace.
    host = f"http://{MONITOR}:{secrets.token_urlsafe(SECRET_BYTES)}@rabbitmq.{store.account.namespace}:15672/"
    made = store.once("rabbitmq-monitor", {"host": host})
    passwords[MONITOR] = urlsplit(made["host"]).password or ""
    store.once("operator-token", {"ZOCO_OPERATOR_TOKEN": secrets.token_urlsafe(SECRET_BYTES)})
    store.once("replica-secret", {"ZOCO_REPLICA_SECRET": secrets.token_urlsafe(SECRET_BYTES)})
    store.once("books-token", {"ZOCO_BOOKS_TOKEN": secrets.token_urlsafe(SECRET_BYTES)})
    store.always("rabbitmq-definitions", {"definitions.json": json.dumps(definitions(passwords, operator=OPERATOR))})


def make_postgres(store: Secrets) -> None:
    """PostgreSQL's: each service's way into it, and what its three know each other by. Raises OSError."""
    for service in SERVICES:
        url = f"postgresql://{service}:{secrets.token_urlsafe(SECRET_BYTES)}@{DATABASE}"
        store.once(f"{service}-postgres", {"ZOCO_STORE": url})
    passwords = {name: secrets.token_urlsafe(SECRET_BYTES) for name in ("replicator", "rewind")}
    store.once("postgres-replication", passwords)
    store.once("postgres-backup", {"url": f"postgresql://backup:{secrets.token_urlsafe(SECRET_BYTES)}@{DATABASE}"})


def make_rabbitmq(store: Secrets) -> None:
    """By which three brokers know each other. Raises OSError."""
    store.once("rabbitmq-cookie", {"cookie": secrets.token_urlsafe(SECRET_BYTES)})


PARTS: Final = {"postgres": make_postgres, "rabbitmq": make_rabbitmq}


def main(part: str = "") -> None:
    """Exit code 1, and a sentence, when the cluster does not let us."""
    makes = PARTS[part] if part else make
    try:
        makes(Secrets(Account.of_this_pod()))
    except OSError as error:
        sys.exit(f"the credentials could not be made: {error}")
    print("the credentials are there")


if __name__ == "__main__":
    main(*sys.argv[1:])
