"""The command `zoco operator`: a link by which a browser becomes the operator's."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer

from ops.cluster import NAMESPACE, Cluster
from ops.errors import UserError
from ops.running import DATA, Running
from zoco.front_door import front_door_of, operators_code
from zoco.options import DataOption, JsonOption, KubeOption, NamespaceOption, UrlOption
from zoco.saying import out


def operator(
    data: DataOption = DATA,
    url: UrlOption = None,
    kube: KubeOption = False,
    namespace: NamespaceOption = NAMESPACE,
    token: Annotated[
        str | None, typer.Option("--operator-token", envvar="ZOCO_OPERATOR_TOKEN", help="For --url without --kube.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a link that makes one browser the operator's, once and within a minute; the session lasts 12 hours.

    With --kube, but not --url, the link leads there by way of this command, until Ctrl-C.
    """
    with front_door_of(data, url, namespace if kube else None) as front:
        told = operators_code(front, _key(data, url, namespace if kube else None, token))
        link = f"{front}/#codigo={told['codigo']}"
        if as_json:
            out.json({"link": link, "seconds": told["segundos"]})
        else:
            out.print(link)
            out.say("for one browser, within {seconds} s", told["segundos"])
        if kube and url is None:
            out.say("it leads there until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


def _key(data: Path, url: str | None, namespace: str | None, token: str | None) -> str:
    if namespace is not None:
        return Cluster(namespace).keys().operator
    if url is None:
        return Running.read(data).operator_token
    if token is None:
        raise UserError("a shop elsewhere asks for its operator's key: give --operator-token with --url")
    return token
