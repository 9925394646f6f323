"""What `zoco up` says when everything runs: where it is, and what to try."""

from __future__ import annotations

from rich.panel import Panel

from ops.console import Speaker
from ops.i18n import say
from ops.running import Running, said_where


def welcome(console: Speaker, running: Running) -> None:
    front = running.urls["compras"]
    lines = [
        say("the page       {url}", front),
        say("   as operator {url}/#operador={token}", front, running.operator_token),
        say("the API        {url}/docs", front),
        *(f"{name:<14} {running.urls[name]}" for name in running.urls if name != "compras"),
    ]
    if running.management_url:
        says = "management UI  {url}   user {user}, password {password}"
        lines.append(say(says, running.management_url, running.management_user, running.management_password))
    lines += [
        say("operator       token {token}", running.operator_token),
        "",
        say("Try, in another terminal:"),
        f"  curl -s {front}/compras -H 'Content-Type: application/json' -H 'Prefer: wait=5' "
        '-d \'{"usuarioId": 1, "tokenId": 101}\'',
        f"  .venv/bin/zoco kill transacciones --for 20{said_where(running.data)}",
        f"  .venv/bin/zoco queues --watch{said_where(running.data)}",
    ]
    for line in lines:
        console.print(line, markup=False)
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
