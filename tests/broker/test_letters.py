"""The desk of the dead letters: read, replay, throw away."""

from __future__ import annotations

import pytest
from broker_builders import Operator, operator, reservado, running

from broker.amqp.dead_letters import DeadLetterQueue
from broker.messages import encode


async def _bury(admin: Operator, service: str, *ids: str) -> None:
    for message_id in ids:
        headers = {"x-motivo": f"por {message_id}", "x-routing-key": "token.reservado", "x-hora": "ayer", "ce-id": "c"}
        await admin.put(
            f"{service}.muertos", encode(reservado()), "token.reservado", message_id=message_id, headers=headers
        )


async def test_they_are_listed_in_order_and_stay(url: str) -> None:
    async with operator(url) as admin, running(url), DeadLetterQueue(url) as desk:
        await _bury(admin, "usuarios", "a", "b", "c")
        await _bury(admin, "compras", "d")
        for _ in range(25):
            letters = await desk.list()
            assert [(one.queue, one.id) for one in letters] == [
                ("compras.muertos", "d"),
                ("usuarios.muertos", "a"),
                ("usuarios.muertos", "b"),
                ("usuarios.muertos", "c"),
            ]
        assert (letters[1].motivo, letters[1].type, letters[1].hora) == ("por a", "token.reservado", "ayer")
        assert letters[1].as_json()["body"] == encode(reservado()).decode()
        assert await admin.count("usuarios.muertos") == 3


async def test_a_replay_reaches_only_the_service_that_failed(url: str) -> None:
    async with operator(url) as admin, running(url), DeadLetterQueue(url) as desk:
        await _bury(admin, "usuarios", "a", "b")
        assert await desk.replay("usuarios", "b") == 1
        # compras hears a token.reservado too, and has had it.
        assert [await admin.count(name) for name in ("usuarios", "compras")] == [1, 0]
        raw = await admin.get("usuarios")
        assert raw is not None
        assert (raw.message_id, raw.type, raw.body) == ("b", "token.reservado", encode(reservado()))
        assert {name for name in raw.headers if name != "x-delivery-count"} == {"ce-id"}
        assert [letter.id for letter in await desk.list()] == ["a"]


async def test_all_are_replayed_when_no_id_is_given(url: str) -> None:
    async with operator(url) as admin, running(url), DeadLetterQueue(url) as desk:
        await _bury(admin, "usuarios", "a", "b", "c")
        assert await desk.replay("usuarios", None) == 3
        assert [raw.message_id for raw in await admin.drain("usuarios")] == ["a", "b", "c"]
        assert await desk.list() == []
        assert await desk.replay("usuarios", None) == 0


async def test_a_discarded_one_is_gone_and_the_others_stay(url: str) -> None:
    async with operator(url) as admin, running(url), DeadLetterQueue(url) as desk:
        await _bury(admin, "usuarios", "a", "b", "a")
        assert await desk.discard("usuarios", "a") == 2
        assert await desk.discard("usuarios", "a") == 0
        assert [letter.id for letter in await desk.list()] == ["b"]
        assert await admin.count("usuarios") == 0


async def test_a_letter_whose_queue_is_gone_stays_a_letter(url: str) -> None:
    async with operator(url) as admin, running(url):
        await _bury(admin, "usuarios", "a")
        await admin.delete("usuarios")
        with pytest.raises(Exception, match="usuarios"):
            async with DeadLetterQueue(url) as desk:
                await desk.replay("usuarios", "a")
        await admin.until_count("usuarios.muertos", 1)
