"""A service that has imported all it needs and waits for its turn: that is most of what a start takes.

python -m ops.warm_standby services.tokens.main:app [uvicorn's options]

It starts at the first line on stdin, as `zoco up` needs it, and ends when there will be none.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

# What uvicorn imports only when it starts.
LATER: Final = ("uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl", "uvloop")


def main() -> None:
    uvicorn = import_module("uvicorn.main")
    for name in (sys.argv[1].partition(":")[0], *LATER):
        import_module(name)
    if sys.stdin.buffer.readline():
        uvicorn.main()


if __name__ == "__main__":
    main()
