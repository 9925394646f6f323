"""Zoco in a cluster, by way of kubectl: what `zoco ... --kube` does there."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final
from urllib.parse import quote, urlsplit

from broker.services import SERVICES
from ops.errors import UserError
from ops.i18n import Text
from ops.running import Keys

NAMESPACE: Final = "zoco"
BROKER: Final = "rabbitmq"
DATABASE: Final = "postgres"
PORT: Final = 8000
AMQP_PORT: Final = 5672
MANAGEMENT_PORT: Final = 15672
# A service's pod has such a volume where its books are files; the one who writes says there how it is reached.
FOLDER: Final = "data"
WRITER: Final = "/data/writer"

# Whatever it is asked, but to forward a port: a pod that is killed is gone within seconds.
KUBECTL_SECONDS: Final = 120.0
# Whom the Service of the databases leads to.
LEADER: Final = "jsonpath={.subsets[0].addresses[0].targetRef.name}"
# Who says how many pods a service has, where components/keda is, and what keeps it at so many.
SCALED: Final = "scaledobjects.keda.sh"
PAUSE: Final = "autoscaling.keda.sh/paused-replicas"
# What kubectl logs beside what it says.
KLOG: Final = re.compile(r"[IWEF]\d{4} ")
# How it says that nobody is there to be asked.
NOBODY: Final = re.compile(
    r"did you specify the right host|Unable to connect|dial tcp|error loading config|context .* (does not|not) exist"
    r"|^error: EOF|must be logged in",
    re.IGNORECASE,
)


class KubeError(UserError):
    """What was asked of a cluster cannot be done."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One namespace of the cluster that kubectl points at. Every method may raise KubeError."""

    namespace: str = NAMESPACE

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints."""
        nobody = "no cluster answers kubectl ({said}): start one, or choose it with `kubectl config use-context`"
        try:
            # It asks for a password where it has none, and would wait for it; for a silent server, for ever.
            done = subprocess.run(
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=KUBECTL_SECONDS,
            )
        except FileNotFoundError:
            raise KubeError("kubectl is missing: install it, https://kubernetes.io/docs/tasks/tools/") from None
        except subprocess.TimeoutExpired:
            raise KubeError(nobody, Text("nothing came for {seconds:.0f} s", KUBECTL_SECONDS)) from None
        if done.returncode:
            said = " ".join(line for line in done.stderr.strip().splitlines() if not KLOG.match(line))
            # What a server says of an error of its own is its answer.
            if NOBODY.search(said) and "Error from server" not in said:
                raise KubeError(nobody, said.removeprefix("error: "))
            raise KubeError("{said} (is Zoco there? `make deploy`; elsewhere? --namespace)", said)
        return done.stdout

    def keys(self) -> Keys:
        return Keys(self._secret("operator-token", "ZOCO_OPERATOR_TOKEN"), self.books_token())

    def books_token(self) -> str:
        return self._secret("books-token", "ZOCO_BOOKS_TOKEN")

    def _secret(self, name: str, key: str) -> str:
        return base64.b64decode(self.kubectl("get", "secret", name, "--output", f"jsonpath={{.data.{key}}}")).decode()

    @contextlib.contextmanager
    def broker(self) -> Iterator[str]:
        """The broker's URL from here, for its operator."""
        user, password = (quote(self._secret("rabbitmq-operator", key), safe="") for key in ("username", "password"))
        with self.forwarded(BROKER, AMQP_PORT) as url:
            yield url.replace("http://", f"amqp://{user}:{password}@") + "/"

    def monitor(self) -> tuple[str, str]:
        """User and password of who may see the broker's queues, and nothing else."""
        found = urlsplit(self._secret("rabbitmq-monitor", "host"))
        return found.username or "", found.password or ""

    def management(self) -> contextlib.AbstractContextManager[str]:
        """The URL of the broker's management API from here."""
        return self.forwarded(BROKER, MANAGEMENT_PORT)

    @contextlib.contextmanager
    def forwarded(self, service: str, port: int = PORT, *, pod: str | None = None) -> Iterator[str]:
        """The URL of a service, on a free port of this machine. It leads to one pod, any or this, and ends with it."""
        # Fails with a sentence, where the command below would only end.
        self.kubectl("get", "service", service)
        command = self.command("port-forward", f"pod/{pod}" if pod else f"service/{service}", f":{port}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout
                url = f"http://127.0.0.1:{_port(process.stdout)}"
                with _read_on(process, process.stdout):
                    yield url
            finally:
                process.kill()

    def kill(self, name: str, seconds: float | None) -> str:
        """Kill the pod of a service that writes, the broker's, or that of the database that leads, and keep all of them
        away for so long.

        Returns the pod's name. With `seconds` it takes so long.
        """
        known = (*SERVICES, BROKER, DATABASE)
        if name not in known:
            raise KubeError("there is no {name}: it is one of {known}", name, ", ".join(known))
        if seconds is None:
            self._delete(pod := self.writer(name))
            return pod
        owner = f"{'deployment' if name in SERVICES else 'statefulset'}/{name}"
        replicas = self.kubectl("get", owner, "--output", "jsonpath={.spec.replicas}")
        paused = self._paused(name)
        if replicas == "0":
            says = "{name} is down already: wait for whoever keeps it away; if nobody does, `{cure}`"
            cure = " ".join(self.command("annotate", SCALED, name, f"{PAUSE}-")) if paused else "make deploy"
            raise KubeError(says, name, cure)
        pod = self.writer(name)
        try:
            with self._unscaled(name, paused):
                self.kubectl("scale", owner, "--replicas=0")
                self._delete(*self.pods(name))
                time.sleep(seconds)
        finally:
            self.kubectl("scale", owner, f"--replicas={replicas}")
        return pod

    def _paused(self, name: str) -> str | None:
        """At how many pods KEDA was told to pause, if it was; None where it has no say."""
        try:
            said = self.kubectl("get", SCALED, name, "--ignore-not-found", "--output", "json")
        except KubeError:
            # Nobody there has heard of it, or whoever asks may not touch it.
            return None
        return json.loads(said)["metadata"].get("annotations", {}).get(PAUSE, "") if said else None

    @contextlib.contextmanager
    def _unscaled(self, name: str, paused: str | None) -> Iterator[None]:
        """KEDA would start one again at its next look."""
        if paused is None:
            yield
            return
        annotate = ("annotate", SCALED, name, "--overwrite")
        self.kubectl(*annotate, f"{PAUSE}=0")
        try:
            yield
        finally:
            self.kubectl(*annotate, f"{PAUSE}={paused}" if paused else f"{PAUSE}-")

    def pods(self, name: str) -> dict[str, str]:
        """The pods of a service that run, and their addresses. Those of a node that is dead run, too."""
        return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in self._running(name)}

    def writer(self, name: str) -> str:
        """The pod that writes. Of several that all do, or of brokers, one that is ready."""
        if name == DATABASE:
            if leads := self.kubectl("get", "endpoints", DATABASE, "--output", LEADER):
                return leads
            raise KubeError("no pod of {name} leads at the moment: try again in a second", name)
        running = self._running(name)
        ready: list[str] = [pod["metadata"]["name"] for pod in running if _is_ready(pod)]
        if name in SERVICES and any(volume["name"] == FOLDER for pod in running for volume in pod["spec"]["volumes"]):
            return self._writes(name, ready)
        if ready:
            return ready[0]
        says = "no pod of {name} is ready in namespace {namespace}: `kubectl get pods` shows why"
        raise KubeError(says, name, self.namespace)

    def _writes(self, name: str, ready: list[str]) -> str:
        """Any of them can say who it is, for they share its folder."""
        pods = self.pods(name)
        said = self.kubectl("exec", next(iter((*ready, *pods))), "--", "cat", WRITER)
        for pod, address in pods.items():
            if f"//{address}:" in said or f"//[{address}]:" in said:
                return pod
        raise KubeError("no pod of {name} writes at the moment: try again in a second", name)

    def _running(self, name: str) -> list[dict[str, Any]]:
        selected = ("--selector", f"app.kubernetes.io/name={name}", "--field-selector", "status.phase=Running")
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", *selected, "--output", "json"))["items"]
        return found

    def _delete(self, *pods: str) -> None:
        if pods:
            self.kubectl("delete", "pod", *pods, "--grace-period=0", "--force")

    def command(self, *arguments: str) -> list[str]:
        """For whoever runs it himself."""
        return ["kubectl", "--namespace", self.namespace, *arguments]


def _is_ready(pod: dict[str, Any]) -> bool:
    said = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
    return said.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


@contextlib.contextmanager
def _read_on(process: subprocess.Popen[str], output: IO[str]) -> Iterator[None]:
    """It says a line of each connection, before it serves it, and waits for whoever reads that."""
    reader = threading.Thread(target=deque, args=(output, 0), daemon=True)
    reader.start()
    try:
        yield
    finally:
        # Before its output is closed under whoever reads it.
        process.kill()
        reader.join()


def _port(output: IO[str]) -> int:
    """Which port kubectl forwards from: its first line says it."""
    line = output.readline()
    found = re.search(r":(\d+) ->", line)
    if not found:
        raise KubeError("kubectl port-forward: {says}", line.strip() or Text("it ended without a word"))
    return int(found[1])
