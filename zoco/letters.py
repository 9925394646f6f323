"""The command `zoco dead-letters`."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.lines import plain
from broker.services import SERVICES, Service
from ops.cluster import NAMESPACE, Cluster
from ops.console import table
from ops.errors import UserError
from ops.i18n import say
from ops.running import DATA, Running
from zoco.options import DataOption, JsonOption, KubeOption, NamespaceOption
from zoco.saying import out

if TYPE_CHECKING:
    from broker.amqp.dead_letters import DeadLetterQueue

letters_app = typer.Typer(no_args_is_help=True, help="What no service could act on: list, show, replay, discard.")

ServiceArgument = Annotated[str, typer.Argument(help=say("One of {services}.", ", ".join(SERVICES)))]
IdArgument = Annotated[str, typer.Argument(help="The letter's message id, as `list` shows it.")]
OneIdOption = Annotated[str | None, typer.Option("--message-id", help="This one only; unless told, all of them.")]


@letters_app.command("list")
def letters_list(
    data: DataOption = DATA,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    as_json: JsonOption = False,
) -> None:
    """Every dead letter, oldest first in each queue."""
    letters = _with_letters(_broker(data, namespace if kube else None), lambda desk: desk.list())
    if as_json:
        out.json([letter.as_json() for letter in letters])
        return
    shown = table("queue", "message id", "type", "since", "reason")
    for letter in letters:
        shown.add_row(letter.queue, letter.id, letter.type, letter.hora, letter.motivo)
    out.print(shown if letters else "no dead letters")


@letters_app.command("show")
def letters_show(
    message_id: IdArgument, data: DataOption = DATA, kube: KubeOption = False, namespace: NamespaceOption = NAMESPACE
) -> None:
    """One dead letter, with its headers and its body."""
    for letter in _with_letters(_broker(data, namespace if kube else None), lambda desk: desk.list()):
        if message_id in (letter.id, plain(letter.id)):
            out.json(letter.as_json())
            return
    raise UserError("there is no dead letter {message_id}: `zoco dead-letters list` lists them", message_id)


@letters_app.command("replay")
def letters_replay(
    service: ServiceArgument,
    message_id: OneIdOption = None,
    data: DataOption = DATA,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
) -> None:
    """Give a service its dead letters again (or the one with this id), after what was wrong has been mended."""

    async def replay(desk: DeadLetterQueue) -> int:
        return await desk.replay(_service(service), message_id and await _as_it_came(desk, message_id))

    count = _with_letters(_broker(data, namespace if kube else None), replay)
    out.say("gave {count} dead letters to {service} again", count, service)


@letters_app.command("discard")
def letters_discard(
    service: ServiceArgument,
    message_id: IdArgument,
    data: DataOption = DATA,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
) -> None:
    """Throw a dead letter away for good."""

    async def discard(desk: DeadLetterQueue) -> int:
        return await desk.discard(_service(service), await _as_it_came(desk, message_id))

    count = _with_letters(_broker(data, namespace if kube else None), discard)
    out.say("discarded {count} dead letters of {service}", count, service)


async def _as_it_came(desk: DeadLetterQueue, message_id: str) -> str:
    """The id that was listed like this: what of it cannot be printed cannot be typed."""
    if "\\u" in message_id:
        message_id = next((one.id for one in await desk.list() if plain(one.id) == message_id), message_id)
    return message_id


def _with_letters(broker: AbstractContextManager[str], work: Any) -> Any:
    from broker.amqp.dead_letters import DeadLetterQueue

    async def run(url: str) -> Any:
        async with DeadLetterQueue(url) as desk:
            return await work(desk)

    with broker as url:
        return asyncio.run(run(url))


def _broker(data: Path, namespace: str | None) -> AbstractContextManager[str]:
    """The letters are the broker's: a front door does not hand them out."""
    return nullcontext(Running.read(data).broker_url) if namespace is None else Cluster(namespace).broker()


def _service(name: str) -> Service:
    for service in SERVICES:
        if service == name:
            return service
    raise UserError("there is no service {name}: it is one of {known}", name, ", ".join(SERVICES))
