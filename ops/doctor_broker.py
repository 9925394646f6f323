"""`zoco doctor` by what the broker's management API says of its queues: whether each has a leader, a majority of its
members, and all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from broker.topology import QUEUES
from ops.cluster import BROKER, Cluster
from ops.errors import UserError
from ops.findings import Finding
from ops.findings import bad as _bad
from ops.findings import well as _well
from ops.i18n import Text

CALL_SECONDS: Final = 5
# So many hold what is in a queue, where there are to be as many nodes.
MEMBERS: Final = 3


async def told(url: str, user: str, password: str, path: str) -> Any:
    """The rows that the management API shows; None when it does not answer, or not to this user, or another does."""
    headers = {"Authorization": aiohttp.encode_basic_auth(user, password)}
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as http, http.get(url + path) as answer:
            shown = await answer.json() if answer.status == HTTPStatus.OK else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    return shown if isinstance(shown, list) and all(isinstance(row, dict) for row in shown) else None


def in_cluster(cluster: Cluster) -> list[Finding]:
    """As the user who may look, and nothing else."""
    try:
        user, password = cluster.monitor()
        # Not the nodes of whichever answers: one that is alone knows of no other.
        nodes = int(cluster.kubectl("get", "statefulset", BROKER, "--output", "jsonpath={.spec.replicas}"))
        with cluster.management() as url:
            queues = asyncio.run(told(url, user, password, "/api/queues/%2F"))
    except UserError as error:
        return [_bad("members", "cannot be asked for: {why}", error)]
    if queues is None:
        return [_bad("members", "the management API does not answer: `kubectl get pods` shows why")]
    return lacking(queues, nodes) or [_well("members", "each queue has its leader, and all of its members are online")]


def lacking(queues: Sequence[Mapping[str, Any]], nodes: int = 1) -> list[Finding]:
    """What the queues lack, said once for all that lack the same. `nodes`: how many there are to be."""
    names: dict[str, list[str]] = {}
    for queue in queues:
        if queue["name"] in QUEUES and queue.get("members") and (says := _lacks(queue, nodes)):
            names.setdefault(says, []).append(queue["name"])
    return [Finding(Text("queue {name}", ", ".join(those)), False, says) for says, those in names.items()]


def _lacks(queue: Mapping[str, Any], nodes: int) -> Text | None:
    """None where it lacks nothing."""
    members, online, leader = queue["members"], queue.get("online") or [], queue.get("leader")
    away = ", ".join(sorted({*members} - {*online}))
    if 2 * len(online) <= len(members):
        says = "no quorum: {online} of its {members} members are online, and it stands still. Bring back {away}"
        return Text(says, len(online), len(members), away)
    if leader not in online:
        return Text(
            "no leader: it neither takes nor gives anything. If that lasts, see the log of {online}", ", ".join(online)
        )
    if away:
        return Text("{online} of {members} members are online: bring back {away}", len(online), len(members), away)
    if len(members) < (wanted := min(MEMBERS, nodes)):
        says = "it has {members} of {wanted} members: if that lasts, `rabbitmq-queues grow` adds them"
        return Text(says, len(members), wanted)
    return None
