"""How a purchase is shown: its events are what GET showed then, in whatever order the news come."""

from __future__ import annotations

from itertools import permutations

import pytest
from msgspec import to_builtins
from unit_builders import confirmada, impagado, pagado, rechazada, registrada, reservado, solicitada

from broker.messages import CompraMessage
from services.compras.domain import Compra, decide, novedad
from services.compras.domain import public as vista

compra = solicitada(maximo=60)
SOLD = (reservado(compra), pagado(compra), confirmada(compra), registrada(compra))
REFUSED = (reservado(compra), impagado(compra), rechazada(compra, "saldo-insuficiente"))


@pytest.mark.parametrize("news", [*permutations(SOLD), *permutations(REFUSED)])
def test_an_event_is_what_was_shown_then(news: tuple[CompraMessage, ...]) -> None:
    rows: list[Compra] = []
    for message in (compra, *news):
        row = decide(rows[-1] if rows else None, message).row
        assert isinstance(row, Compra)
        rows.append(row)
    for before, row in zip((None, *rows), rows, strict=False):
        if before is not None and before.historia == row.historia:
            continue
        change = {"historia": to_builtins(row.historia)}
        for later in rows[rows.index(row) :]:
            assert novedad(later, change) == ("compra", vista(row))
