"""What `zoco up` prints once the shop is open: its addresses, and what to try."""

from __future__ import annotations

from urllib.parse import urlsplit

from rich.panel import Panel

from ops.console import Speaker
from ops.i18n import say
from ops.postgres import LOG
from ops.running import BOOKS_KEY, BROKER, OPERATOR_KEY, POSTGRES, Running, typed

# In the order of their ports, behind the front door.
OTHERS = ("usuarios", "tokens", "transacciones")


def welcome(running: Running, console: Speaker) -> None:
    """A command stands alone on its line, and works as pasted in another terminal."""
    front = running.urls["compras"]
    lines = [
        say("the page       {url}", front),
        say("   as operator by the link of: {command}", typed("operator", running.data)),
        say("the API        {url}/docs", front),
        *(f"{name:<14} {', '.join(map(running.places.__getitem__, running.processes[name]))}" for name in OTHERS),
        *_broker(running),
        *_database(running),
        say("the keys       {files}", f"{running.data / OPERATOR_KEY}, {running.data / BOOKS_KEY}"),
        "",
        say("Try, in another terminal:"),
        f"  curl -s {front}/compras -H 'Content-Type: application/json' -H 'Prefer: wait=5' "
        '-d \'{"usuarioId": 1, "tokenId": 101}\'',
        f"  {typed('kill transacciones --for 20', running.data)}",
        f"  {typed('queues --watch', running.data)}",
    ]
    for line in lines:
        console.print(line)
    console.print(
        Panel(
            say(
                "This is for one machine: everything listens on 127.0.0.1 only.\n"
                "Buyers are not authenticated yet: whoever reaches the front door buys in anybody's name.\n"
                "Ctrl-C stops it all; what was bought stays."
            ),
            title="Zoco",
            expand=False,
        ),
        soft_wrap=False,
    )


def _database(running: Running) -> list[str]:
    if running.database_url is None:
        return []
    database, folder = urlsplit(running.database_url), running.data / POSTGRES
    says = "PostgreSQL     {place}   role {role}, password in {file}"
    place = f"{database.hostname}:{database.port}{database.path}"
    return [say(says, place, database.username, folder / "password"), say("   its log {file}", folder / LOG)]


def _broker(running: Running) -> list[str]:
    """Of a RabbitMQ that is not ours nobody here knows these."""
    if running.management_url is None:
        return []
    says = "management UI  {url}   user {user}, password in {file}"
    return [
        say(says, running.management_url, running.management_user, running.data / BROKER / "password"),
        say("   its metrics {url}   (the services': /metrics on each)", running.broker_metrics_url),
    ]
