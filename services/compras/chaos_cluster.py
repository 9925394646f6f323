"""Knocking down in a cluster: the pods of a service, deleted with no time to end, as `kubectl delete pod` does it.

The pod's account may list and delete the pods of its namespace, and nothing else (k8s/components/knock-down): so
nothing here can keep a service away, and Kubernetes brings it back at once.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from broker.account import Account
from broker.services import SERVICES
from services.shared.http.problems import Problem, unavailable
from services.shared.settings import WrongSetting

CALL_SECONDS: Final = 5.0
# SIGKILL, and gone from Kubernetes' list at once: a pod that is only ending would still be counted.
AT_ONCE: Final = {"gracePeriodSeconds": 0}


def account_of_this_pod() -> Account:
    """Raises WrongSetting where there is none."""
    try:
        return Account.of_this_pod()
    except (OSError, KeyError):
        raise WrongSetting(
            "ZOCO_KNOCK_DOWN is wrong: `cluster` needs a pod that k8s/components/knock-down gave a token"
        ) from None


class ClusterChaos:
    """The pods of this account's namespace."""

    names: Sequence[str] = (*SERVICES, "rabbitmq")

    def __init__(self, account: Account, own_pod: str | None = None) -> None:
        self._account = account
        self._own_pod = own_pod or socket.gethostname()

    def command(self, name: str) -> str:
        return f"kubectl -n {self._account.namespace} delete pod -l {_selector(name)} --grace-period=0 --force"

    async def kill(self, name: str, seconds: float) -> str:
        """Every pod that has not ended. `seconds` cannot be chosen here."""
        try:
            async with aiohttp.ClientSession(
                headers=self._account.headers(),
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
                connector=aiohttp.TCPConnector(ssl=self._account.tls),
            ) as http:
                pods = await self._pods(http, name)
                for pod in pods:
                    await self._call(http, "DELETE", f"/{pod}", json=AT_ONCE)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise unavailable(f"Kubernetes does not answer ({error or type(error).__name__}): try again", 2) from None
        if not pods:
            raise unavailable(f"no pod of {name} runs at the moment: `kubectl get pods` shows why", 2)
        return ", ".join(pods)

    async def _pods(self, http: aiohttp.ClientSession, name: str) -> list[str]:
        """This one last: what it has to say would end with it."""
        query = {"labelSelector": _selector(name), "fieldSelector": "status.phase=Running"}
        found = await self._call(http, "GET", "", params=query)
        return sorted((pod["metadata"]["name"] for pod in found["items"]), key=lambda pod: (pod == self._own_pod, pod))

    async def _call(self, http: aiohttp.ClientSession, method: str, path: str, **words: Any) -> Any:
        async with http.request(method, self._account.url("pods") + path, **words) as answer:
            told = await answer.json(content_type=None)
            # Somebody else has deleted it meanwhile.
            gone = method == "DELETE" and answer.status == HTTPStatus.NOT_FOUND
            if not answer.ok and not gone:
                raise Problem(503, f"Kubernetes does not let this happen: {told.get('message', answer.reason)}")
            return told


def _selector(name: str) -> str:
    return f"app.kubernetes.io/name={name}"
