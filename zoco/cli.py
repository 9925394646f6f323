"""The command `zoco`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Annotated, NoReturn
from uuid import uuid4

import typer

from broker.services import SERVICES
from ops.cluster import NAMESPACE, Cluster
from ops.console import table
from ops.errors import UserError
from ops.i18n import Text, say
from ops.running import DATA, FIRST_PORT, Running, kill_process
from ops.running import reset as delete_all
from zoco.audit import audit
from zoco.backup import backup
from zoco.bench import bench
from zoco.drill import drill
from zoco.front_door import NoAnswer, bought, estado, front_door_of, typed_key
from zoco.letters import letters_app
from zoco.load import load
from zoco.migrate import migrate
from zoco.operator import operator
from zoco.options import (
    DataOption,
    JsonOption,
    KubeOption,
    NamespaceOption,
    PostgresOption,
    ReplicasOption,
    SparesOption,
    StandbyOption,
    UrlOption,
    decimal,
    whole,
)
from zoco.rebuild import rebuild
from zoco.restore import restore
from zoco.saying import EX_SOFTWARE, EX_UNFINISHED, EX_UNREADABLE, EX_USAGE, fail, out
from zoco.translated import in_the_readers_language

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(letters_app, name="dead-letters")


def main() -> None:
    """The entry point: errors that a user can mend are one sentence and exit code 2, our own a traceback and 70."""
    # It says on stderr, too, what it raises.
    logging.getLogger("aiormq").addHandler(logging.NullHandler())
    try:
        in_the_readers_language(app)()
    except UserError as error:
        fail(error)
    except Exception as error:
        _fail_for(error)


def _fail_for(error: Exception) -> NoReturn:
    """With what the libraries and the audit have to say to a user; with a traceback where it is our own fault."""
    import aiohttp

    from broker.amqp.calls import UNKNOWN
    from loadgen.audit.text import NotAShop, Unreadable

    if isinstance(error, Unreadable):
        fail(error, code=EX_USAGE if isinstance(error, NotAShop) else EX_UNREADABLE)
    if isinstance(error, aiohttp.ClientError):
        fail("the front door does not answer ({error}): is `zoco up` running?", error)
    if not isinstance(error, UNKNOWN):
        traceback.print_exception(error)
        sys.exit(EX_SOFTWARE)
    fail("the broker or a service does not answer ({why}): see `zoco doctor`", str(error) or type(error).__name__)


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        out.print(metadata.version("zoco"))
        raise typer.Exit


@app.callback(help="Run the shop, buy, knock it down, and see that nothing was lost.")
def zoco(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version, and end.")
    ] = False,
) -> None:
    """What stands before every command."""


@app.command()
def up(
    data: DataOption = DATA,
    port: Annotated[
        int, typer.Option(help="The front door's port, and the next three. 0: any.", parser=whole)
    ] = FIRST_PORT,
    postgres: PostgresOption = False,
    standby: StandbyOption = False,
    replicas: ReplicasOption = "",
    spares: SparesOption = True,
) -> None:
    """Start RabbitMQ and the four services here, and watch them until Ctrl-C."""
    from broker.amqp.connect import Address
    from broker.texts import bearer
    from ops.child import Processes
    from ops.places import read_replicas
    from ops.postgres_pair import Postgres
    from ops.supervisor import Local

    if standby and not postgres:
        fail("--standby is PostgreSQL's: add --postgres")
    many = read_replicas(replicas)
    broker_url, token = os.environ.get("ZOCO_RABBITMQ_URL"), os.environ.get("ZOCO_OPERATOR_TOKEN")
    try:
        if broker_url is not None:
            Address.read(broker_url)
    except ValueError as error:
        fail("ZOCO_RABBITMQ_URL is wrong: {error}", error)
    try:
        token = bearer(token) if token else None
    except ValueError as error:
        fail("ZOCO_OPERATOR_TOKEN is wrong: {error}", error)
    database = Postgres(standby) if postgres else None
    processes = Processes(spares=spares)
    shop = Local(data, port, broker_url=broker_url, token=token, replicas=many, postgres=database, processes=processes)
    asyncio.run(shop.run())


@app.command()
def reset(data: DataOption = DATA, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete all that was bought here, and start anew the next time."""
    if not yes:
        typer.confirm(say("Delete everything in {data}?", data), abort=True)
    delete_all(data)
    out.say("{data} is gone", data)


@app.command()
def kill(
    service: Annotated[
        str,
        typer.Argument(
            help=say(
                "One of {services}, rabbitmq, postgres; of several processes of a service one.", ", ".join(SERVICES)
            )
        ),
    ],
    seconds: Annotated[
        float | None, typer.Option("--for", help="Keep it down so many seconds.", parser=decimal)
    ] = None,
    data: DataOption = DATA,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
) -> None:
    """SIGKILL the real process, and `zoco up` starts it again; in a cluster, the pod that writes."""
    if kube:
        pod = Cluster(namespace).kill(service, seconds)
        says = "killed pod {pod}, and kept {service} down for {seconds:g} s"
        out.say(Text(says, pod, service, seconds) if seconds else Text("killed pod {pod}", pod))
        return
    running = Running.read(data)
    who = running.one_of(service)
    pid = kill_process(running, who, seconds)
    says = "killed {service} (pid {pid}), for {seconds:g} s"
    out.say(Text(says, who, pid, seconds) if seconds else Text("killed {service} (pid {pid})", who, pid))


@app.command()
def buy(  # noqa: PLR0913, PLR0917 - each is an option of the command
    usuario: Annotated[int, typer.Argument(help="The buyer's id.", parser=whole)],
    token: Annotated[int, typer.Argument(help="The token's id.", parser=whole)],
    key: Annotated[str | None, typer.Option(help="Idempotency-Key: the same key is the same purchase.")] = None,
    max_price: Annotated[int | None, typer.Option("--max-price", help="Refuse to pay more.", parser=whole)] = None,
    wait: Annotated[int, typer.Option(help="Seconds to wait for the end.", parser=whole)] = 10,
    url: UrlOption = None,
    data: DataOption = DATA,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    as_json: JsonOption = False,
) -> None:
    """Buy a token, and wait for the end. Exit code 1 when it is refused, 3 when it has no end yet."""
    key = str(uuid4()) if key is None else key
    body = {"usuarioId": usuario, "tokenId": token} | ({} if max_price is None else {"precioMaximo": max_price})
    with front_door_of(data, url, namespace if kube else None) as front:
        try:
            status, told = bought(front, body, key, wait)
        except NoAnswer as error:
            fail("{why}; with --key {key} it is the same purchase", str(error), typed_key(key))
    if status not in (200, 202):
        says = "answered {status}: {detail}; with --key {key} it is the same purchase"
        fail(says, status, told.get("detail", told), typed_key(key))
    if as_json:
        out.json(told)
    else:
        for step in told["historia"]:
            out.print(f"{step['fecha']}  {step['estado']}")
        out.print(f"{told['id']}: {told['estado']}" + (f" ({told['motivo']})" if "motivo" in told else ""))
    if told["estado"] == "rechazada":
        raise typer.Exit(1)
    if told["estado"] != "registrada":
        says = "no end in {seconds} s: it is under way; with --key {key} it is the same purchase"
        fail(says, wait, typed_key(key), code=EX_UNFINISHED)


@app.command()
def queues(
    data: DataOption = DATA,
    url: UrlOption = None,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until Ctrl-C.")] = False,
) -> None:
    """What waits in each queue, who consumes it, and how many dead letters there are."""
    while True:
        with front_door_of(data, url, namespace if kube else None) as front:
            try:
                _show_queues(front, as_json, watch)
            except NoAnswer:
                # The pod that we were led to is gone; there may be another.
                if not (kube and watch):
                    raise
        if not watch:
            return


def _show_queues(front: str, as_json: bool, watch: bool) -> None:
    while True:
        state = estado(front)
        if state["colas"] is None:
            fail("the broker does not answer: {trouble}", state["broker"]["problema"])
        if as_json:
            out.json(state["colas"])
        else:
            out.print(_queue_table(state["colas"]))
        if not watch:
            return
        time.sleep(1)


def _queue_table(depths: dict[str, dict[str, int]]) -> Table:
    shown = table("queue", "waiting", "consumers", "dead letters")
    for name in SERVICES:
        depth, dead = depths[name], depths[f"{name}.muertos"]
        shown.add_row(name, str(depth["messages"]), str(depth["consumers"]), str(dead["messages"]))
    return shown


@app.command()
def doctor(
    data: DataOption = DATA,
    url: UrlOption = None,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    as_json: JsonOption = False,
) -> None:
    """Look at everything that may be wrong here, and say what to type. Exit code 1 when something is.

    Elsewhere (--kube, --url) it says what the front door there can see; with --kube also what the broker says of its
    queues' members.
    """
    from ops.doctor import examine, examined
    from ops.doctor_broker import in_cluster

    if kube or url:
        with front_door_of(data, url, namespace if kube else None) as front:
            findings = examined(estado(front))
        if kube and url is None:
            findings += in_cluster(Cluster(namespace))
    else:
        findings = asyncio.run(examine(data))
    if as_json:
        out.json([{"what": f.what, "well": f.well, "says": f.says} for f in findings])
    else:
        for finding in findings:
            mark = say("ok  " if finding.well else "BAD ")
            out.print(f"{mark} {say(finding.what)}: {say(finding.says)}")
    if not all(finding.well for finding in findings):
        raise typer.Exit(1)


for command in (operator, load, drill, audit, backup, restore, rebuild, migrate, bench):
    app.command()(command)
