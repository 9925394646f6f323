"""Knocking a service down, for the page's button: the same as the command that is shown beside it.

A port with one place behind it for each place that Zoco runs in; `chaos_of` reads the setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from services.compras.chaos_cluster import ClusterChaos, account_of_this_pod
from services.compras.chaos_local import LocalChaos
from services.shared.http.problems import Problem

MAX_SECONDS: Final = 120.0


class Chaos(Protocol):
    """Where the services run."""

    names: Sequence[str]

    def command(self, name: str) -> str:
        """What a person would type for the same."""

    async def kill(self, name: str, seconds: float) -> str:
        """Kill it, for real; who it was. Raises Problem (503) when there is nothing to kill just now."""


def chaos_of(setting: str | None, *, database: bool = False) -> Chaos | None:
    """None: switched off. `database`: the books are in one, which can be killed, too. Raises WrongSetting."""
    if setting is None:
        return None
    if setting == "cluster":
        return ClusterChaos(account_of_this_pod())
    return LocalChaos(Path(setting.removeprefix("local:")), database=database)


def able(chaos: Chaos | None, name: str) -> Chaos:
    """What can knock this down. Raises Problem (403, 404)."""
    if chaos is None:
        raise Problem(403, "knocking down is off: set ZOCO_KNOCK_DOWN, as `zoco up` and k8s/components/knock-down do")
    if name not in chaos.names:
        raise Problem(404, f"there is no {name} to knock down: it is one of {', '.join(chaos.names)}")
    return chaos


async def knock_down(chaos: Chaos, name: str, seconds: float) -> dict[str, str]:
    """What the button does. Raises Problem (503)."""
    return {"derribado": name, "quien": await chaos.kill(name, seconds), "orden": chaos.command(name)}
