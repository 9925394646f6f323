"""What Kubernetes gives a pod with which to reach it: an address, a certificate to know it by, a token."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Account:
    """A service account of one namespace, as the API server knows it."""

    server: str
    namespace: str
    tls: ssl.SSLContext
    folder: Path

    @classmethod
    def of_this_pod(cls) -> Self:
        """Raises OSError, or KeyError outside a cluster."""
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        host = f"[{host}]" if ":" in host else host
        return cls(
            f"https://{host}:{port}",
            (ACCOUNT / "namespace").read_text(encoding="utf-8"),
            ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
            ACCOUNT,
        )

    def url(self, kind: str) -> str:
        """Where this namespace's objects of a kind are."""
        return f"{self.server}/api/v1/namespaces/{self.namespace}/{kind}"

    def headers(self) -> dict[str, str]:
        """Read anew each time: Kubernetes writes another token every hour. Raises OSError."""
        return {"Authorization": f"Bearer {(self.folder / 'token').read_text(encoding='utf-8')}"}
