"""What a cluster shows of a shop whose test has just failed: nobody can look at it later."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Final

from ops.cluster import Cluster

SECONDS: Final = 20
LINES: Final = 12

POSTGRES: Final = ("exec", "postgres-{n}", "--", "patronictl", "--config-file", "/etc/patroni/patroni.yml", "list")
RABBITMQ: Final = ("exec", "rabbitmq-{n}", "--container", "rabbitmq", "--", "rabbitmqctl", "--quiet")
# Whatever the status: who is not ready is looked at first.
READYZ: Final = """
from http.client import HTTPConnection
asked = HTTPConnection("127.0.0.1", 8000, timeout=5)
asked.request("GET", "/readyz")
print(asked.getresponse().read().decode())
"""
ONLINE: Final = ("list_queues", "name", "leader", "online", "messages")


def autopsy(cluster: Cluster) -> str:
    """Pods, events, the last lines of each log, and what the broker and the database think of themselves."""
    return "\n".join(_looks(cluster))


def _looks(cluster: Cluster) -> Iterator[str]:
    yield _said(cluster, "get", "nodes")
    yield _said(cluster, "get", "pods", "--output", "wide")
    yield _said(cluster, "get", "events", "--sort-by", ".lastTimestamp", lines=3 * LINES)
    for number in range(3):
        yield _said(cluster, *(part.format(n=number) for part in POSTGRES))
        ask = [part.format(n=number) for part in RABBITMQ]
        yield _said(cluster, *ask, "--timeout", "10", *ONLINE)
    running = ("get", "pods", "--field-selector", "status.phase=Running", "--output", "name")
    for pod in _said(cluster, *running).splitlines()[1:]:
        yield _said(cluster, "logs", pod, "--all-containers", "--tail", str(LINES))
    for pod in _said(cluster, *running, "--selector", "app.kubernetes.io/component=service").splitlines()[1:]:
        yield _said(cluster, "exec", pod, "--", "python3", "-c", READYZ)


def _said(cluster: Cluster, *arguments: str, lines: int = LINES * 2) -> str:
    """The last lines of what kubectl prints, under the command that prints them."""
    command = cluster.command("--request-timeout", f"{SECONDS}s", *arguments)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SECONDS)
        told = (done.stdout + done.stderr).decode(errors="replace")
    except subprocess.TimeoutExpired:
        told = f"no answer in {SECONDS} s"
    return "\n".join((f"$ kubectl {' '.join(arguments)}", *told.strip().splitlines()[-lines:]))
