"""The list of purchases over books that are damaged: it says what a damaged purchase says that is asked for alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request
from store_builders import FIRST, life, reader, solicitada, writer

from services.compras.api import compra, compras
from services.compras.domain import DOMAIN as COMPRAS
from services.shared.http.one_by_one import OneByOne
from services.shared.store import Damaged


def asked(store: Any) -> Request:
    state = SimpleNamespace(runtime=SimpleNamespace(store=store, processor=None), searches=OneByOne())
    # Who asks stays.
    stays = asyncio.Event()
    return Request({"type": "http", "app": SimpleNamespace(state=state), "client": ("127.0.0.1", 1)}, stays.wait)


@pytest.mark.parametrize("follows", [False, True])
async def test_a_list_with_a_damaged_purchase_says_so_as_the_purchase_does(tmp_path: Path, follows: bool) -> None:
    async with writer(tmp_path, COMPRAS) as store:
        for number in range(1, 6):
            await store.process_batch(life(solicitada(number), number))
        with reader(tmp_path, COMPRAS) as follower:
            request = asked(follower if follows else store)
            assert (await compras(request, limite=100)).body.count(b'"usuarioId"') == 5
            file, last = tmp_path / FIRST, 4 * 3
            raw = file.read_bytes()
            # How the third one ended.
            assert raw.count(b'{"seq":%d,' % last) == 1
            file.write_bytes(raw.replace(b'{"seq":%d,' % last, b'{"seq":%d,' % (last + 1)))
            found = []
            for answer in (compra(request, solicitada(3).compra_id), compras(request, limite=100)):
                with pytest.raises(Damaged, match=FIRST) as damaged:
                    await asyncio.wait_for(answer, 60)
                found.append(str(damaged.value))
            assert found[0] == found[1]
            # Those before and behind it are shown.
            for desde, count in ((0, 2), (3, 2)):
                shown = await compras(request, desde=desde, limite=2)
                assert bytes(shown.body).count(b'"usuarioId"') == count
            file.write_bytes(raw)
