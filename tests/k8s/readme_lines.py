"""What k8s/README.md says is to be typed, for a shop in another namespace."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")


def block(heading: str) -> str:
    """The lines that stand below this heading."""
    (section,) = (one for one in re.split(r"^#+ ", README, flags=re.MULTILINE) if one.startswith(f"{heading}\n"))
    (found,) = re.findall(r"(?:^ {4}.+\n)+", section, re.MULTILINE)
    return str(found)


def type_in(heading: str, namespace: str, names: Mapping[str, str]) -> None:
    """Each of them, word for word but for the namespace and these names. Fails where one of these is not there, or a
    line does."""
    text = block(heading)
    assert all(name in text for name in names), f"not all of {[*names]} are in the lines of {heading}"
    instead = {"-n zoco ": f"-n {namespace} ", "--kube": f"--kube --namespace {namespace}", **names}
    # All at once: the names of two pods may be each other's.
    text = re.sub("|".join(map(re.escape, instead)), lambda found: instead[found[0]], text)
    done = subprocess.run(["bash", "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
