"""The command `zoco rebuild`: a lost book is written again from the other three."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.client import HTTPException
from typing import Annotated, Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request

import typer

from broker.services import SERVICES
from ops.cluster import NAMESPACE
from ops.console import Speaker
from ops.errors import UserError
from ops.i18n import say
from ops.running import DATA
from zoco.backup import Reach
from zoco.books import until_back
from zoco.front_door import OPENER
from zoco.options import DataOption, JsonOption, KubeOption, NamespaceOption
from zoco.restore import adopt as adopted

# A line comes at least so often: the others are given a minute to hear what is on its way.
LINE_SECONDS: Final = 120
out = Speaker()


def rebuild(  # noqa: PLR0913, PLR0917 - each is an option of the command
    service: Annotated[
        str | None, typer.Argument(help=say("Whose book: one of {services}.", ", ".join(SERVICES)), show_default=False)
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be done.")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Instead, go on with all four from where they agree; throw away the rest.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --adopt: do not ask.")] = False,
    data: DataOption = DATA,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    as_json: JsonOption = False,
) -> None:
    """Write a lost book again from the other three, when its service says that it is in doubt.

    Safe to stop and to start again at any time. For compras: what was accepted while the broker was away, and was in
    no other book, cannot come back. With --adopt an older state is made the true one: for whoever wants that, and for
    books that do not fit together.
    """
    if adopt:
        if service or check:
            raise UserError("--adopt is about all four books: name none, and without --check it lists before it asks")
        _adopt(Reach(data, namespace if kube else None, settings=False), yes=yes, as_json=as_json)
        return
    if service is None:
        raise UserError("name the service whose book is lost: `zoco doctor` does; one of {known}", ", ".join(SERVICES))
    if service not in SERVICES:
        raise UserError("there is no {name}: it is one of {known}", service, ", ".join(SERVICES))
    shop = Reach(data, namespace if kube else None, settings=False)
    with shop() as books:
        last: dict[str, Any] = {}
        url = f"{books.writer(service)}/libro/reconstruccion?comprobar={str(check).lower()}"
        for last in _lines(url, books.token):
            if not as_json and "paso" in last:
                more = " ".join(f"{name} {value}" for name, value in last.items() if name != "paso")
                out.say("{step} {more}", say(last["paso"]), more)
        if "error" in last:
            raise UserError("{why}", last["error"])
        if "dice" not in last:
            raise UserError("the service ended before it was done: ask again, it begins anew")
    if last.get("hecho") and (waits := until_back(shop, {service: last["generacion"]}, sure=False)):
        raise UserError("the book is written again, and {service} did not go on by now: {why}", service, waits)
    if as_json:
        out.json(last)
        return
    out.say("{says}", last["dice"])
    if last.get("desconocidos"):
        says = "{count} entries of the operator were written by a version that did not keep them: they are not there"
        out.say(says, last["desconocidos"])


def _adopt(shop: Reach, *, yes: bool, as_json: bool) -> None:
    file, lost = adopted(shop, yes=yes, quiet=as_json)
    if as_json:
        out.json({"file": str(file), "thrownAway": lost})
    else:
        out.say("all four books go on from where they agreed: {file}", file)


def _lines(url: str, token: str) -> Iterator[dict[str, Any]]:
    request = Request(url, b"", {"Authorization": f"Bearer {token}"})
    try:
        with OPENER.open(request, timeout=LINE_SECONDS) as answer:
            for line in answer:
                yield json.loads(line)
    except HTTPError as error:
        with error, contextlib.suppress(ValueError, OSError, HTTPException):
            raise UserError("{why}", json.load(error).get("detail", error)) from None
        raise UserError("{why}", error) from None
    except URLError as error:
        raise UserError("the service does not answer ({why}): `zoco doctor` tells more", error.reason) from error
    except (OSError, ValueError, HTTPException) as error:
        raise UserError("the service ended before it was done ({error}): ask again, it begins anew", error) from error
