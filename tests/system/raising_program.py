"""compras with bugs: python raising_program.py services.compras.main:app [uvicorn's options]

Whoever buys as one of these users meets one. There is no such user in the seed.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import HTTPException

from services.compras import api

RAISED = {404: HTTPException(404), 410: HTTPException(410, "it was here"), 500: RuntimeError("a bug")}


def main() -> None:
    compra_id = api.compra_id

    def raising(usuario_id: int, key: str) -> str:
        if usuario_id in RAISED:
            raise RAISED[usuario_id]
        return compra_id(usuario_id, key)

    api.compra_id = raising
    uvicorn.main(sys.argv[1:])


if __name__ == "__main__":
    main()
