"""Where the command `zoco` begins, and `python -m zoco`: it finds the rest of Zoco, whoever else has such names."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """This process, and all that it starts, take `broker`, `services`, `ops` and `loadgen` from beside this package
    (in an installed wheel: from inside), and none of these names from the folder that the user is in."""
    here = Path(__file__).parent
    home = str(here / "shop" if (here / "shop").is_dir() else here.parent)
    sys.path.insert(0, home)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    os.environ["PYTHONSAFEPATH"] = "1"

    from zoco.cli import main as command

    command()


if __name__ == "__main__":
    main()
