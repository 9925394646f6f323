"""Asks a registry which images the tags of images.lock name today, and writes that down: `make digests`.

Every answer is hashed here: a digest that is written is that of the bytes that came. Only an index is taken: it
names the image of every platform, and is the same for everyone. Another registry (a mirror): its URL as the argument.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = "images.lock"
COMPONENT: Final = "k8s/components/digests/kustomization.yaml"
HUB: Final = "https://registry-1.docker.io"
LINE: Final = re.compile(r"^([\w./-]+):([\w.-]+)@(sha256:[0-9a-f]{64})$", re.MULTILINE)
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
SECONDS: Final = 30


class NoDigest(Exception):
    """Why the registry gave none; nothing was written."""


def newest(name: str, tag: str, registry: str = HUB) -> str:
    url = f"{registry}/v2/{name if '/' in name else f'library/{name}'}/manifests/{tag}"
    try:
        kind, body = _get(url, Accept=", ".join(INDEXES))
    except HTTPError as error:
        if error.code != 401:
            raise NoDigest(f"{url}: {error}") from error
        kind, body = _get(url, Accept=", ".join(INDEXES), Authorization=f"Bearer {_token(error)}")
    if kind not in INDEXES:
        raise NoDigest(f"{url} is of one platform only: no index came")
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def renew(root: Path, registry: str = HUB) -> list[str]:
    """All or nothing; says which are new."""
    lock = (root / LOCK).read_text(encoding="utf-8")
    component = (root / COMPONENT).read_text(encoding="utf-8")
    changed = []
    for name, tag, digest in [match.groups() for match in LINE.finditer(lock)]:
        found = newest(name, tag, registry)
        if found != digest:
            lock, component = lock.replace(digest, found), component.replace(digest, found)
            changed.append(f"{name}:{tag}@{found}")
    (root / LOCK).write_text(lock, encoding="utf-8")
    (root / COMPONENT).write_text(component, encoding="utf-8")
    return changed


def _get(url: str, **headers: str) -> tuple[str, bytes]:
    with urlopen(Request(url, headers=headers), timeout=SECONDS) as answer:
        return answer.headers.get_content_type(), answer.read()


def _token(refused: HTTPError) -> str:
    """Anyone gets one to read with: where, stands in the refusal."""
    challenge = dict(re.findall(r'(\w+)="([^"]*)"', refused.headers["WWW-Authenticate"] or ""))
    _, body = _get(f"{challenge.pop('realm')}?{urlencode(challenge)}")
    token: str = json.loads(body)["token"]
    return token


def main() -> None:
    try:
        changed = renew(ROOT, *sys.argv[1:2])
    except (NoDigest, URLError) as error:
        raise SystemExit(f"digests: {error}. Nothing was changed") from error
    print("\n".join(changed) or "nothing is new")


if __name__ == "__main__":
    main()
