"""The user of a private RabbitMQ: what it may, what it makes, and how it is made anew when somebody changed it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import aiohttp

RIGHTS = ("configure", "write", "read")


async def lets_in(management_url: str, user: str, password: str) -> bool:
    """Whether this user may do everything in `/`. True when nobody can say."""
    headers = {"Authorization": aiohttp.encode_basic_auth(user, password)}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{management_url}/api/permissions/%2F/{user}") as answer,
        ):
            if answer.status == HTTPStatus.OK:
                rights = await answer.json()
                return all(rights.get(right) == ".*" for right in RIGHTS)
            return answer.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return True


async def put(management_url: str, user: str, password: str, path: str, body: Mapping[str, str]) -> None:
    """Have the management API make something."""
    headers = {"Authorization": aiohttp.encode_basic_auth(user, password)}
    async with (
        aiohttp.ClientSession(headers=headers, raise_for_status=True) as session,
        session.put(f"{management_url}/api/{path}", json=body),
    ):
        pass


async def make_user(rabbitmqctl: Path, environment: Mapping[str, str], user: str, password: str) -> None:
    """By the node's own cookie. It takes seconds: each call starts a whole Erlang."""

    async def control(*words: str, says: str = "") -> bool:
        process = await asyncio.create_subprocess_exec(
            str(rabbitmqctl),
            *words,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await process.communicate(says.encode())
        return process.returncode == 0

    # By its standard input: everybody on this machine sees a command's arguments.
    if not await control("change_password", user, says=password):
        await control("add_user", user, says=password)
    await control("set_user_tags", user, "administrator")
    await control("set_permissions", user, *(".*" for _ in RIGHTS))
