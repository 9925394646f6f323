"""16 kB of a head or a body, used as well as a stranger can: none is a long piece of the loop, or a long answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psutil
import pytest
from door_builders import JSON, KEY, Door, door

# So often it is asked, as the system counts a process's time in hundredths of a second.
TIMES = 20
# Of the one processor that the loop has; an ordinary request takes one.
MOST_MILLISECONDS = 5.0
# As long as what was sent.
MOST_BYTES = 16 * 1024
SIZE = 15_900


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with door(tmp_path_factory.mktemp("dear"), "writer") as found:
        yield found


BUYS = b'{"usuarioId": 1, "tokenId": 101}'
MANY_MEMBERS = b"{" + b",".join(b'"%x":1' % one for one in range(1_700)) + b"}"
DEAR = {
    "cookie": ("GET", "/operador", {"Cookie": 'a="' + "\\" * SIZE + '"'}, b"", 401),
    "names of cookies": ("GET", "/operador", {"Cookie": "a=b;" * (SIZE // 4)}, b"", 401),
    **{
        f"encodings {sent}": ("GET", "/livez", {"Accept-Encoding": sent * (SIZE // len(sent))}, b"", 200)
        for sent in (",", ";", "a;q=0,")
    },
    "languages": ("GET", "/", {"Accept-Language": "," * SIZE}, b"", 200),
    "kinds": ("GET", "/", {"Accept": ";" * SIZE}, b"", 200),
    "preferences": ("POST", "/compras", {**JSON, "Prefer": "a," * (SIZE // 2)}, BUYS, 202),
    "parameters": ("GET", "/compras?" + "&".join(f"{one:x}" for one in range(3_400)), {}, b"", 422),
    "parameters of events": ("GET", "/eventos?" + "&".join(f"{one:x}" for one in range(3_400)), {}, b"", 422),
    "empty parameters": ("GET", "/compras?" + "&" * SIZE, {}, b"", 422),
    "a long parameter": ("GET", "/compras?" + "a" * SIZE, {}, b"", 422),
    "a long value": ("GET", "/compras?limite=" + "1" * SIZE, {}, b"", 422),
    "members": ("POST", "/compras", JSON, MANY_MEMBERS, 422),
    "a long member": ("POST", "/compras", JSON, b'{"%s":1}' % (b"a" * SIZE), 422),
    "tags": ("GET", "/web/app.js", {"If-None-Match": "," * SIZE}, b"", 200),
    "a path of nothing": ("GET", "/" + "%00" * (SIZE // 3), {}, b"", 404),
    "a name of nothing": ("GET", "/web/" + "%F0%90%80%80" * (SIZE // 12), {}, b"", 404),
    "a file of nothing": ("GET", "/swagger/%00", {}, b"", 404),
    "a long file": ("GET", "/swagger/" + "a" * SIZE, {}, b"", 404),
}


@pytest.mark.parametrize("name", DEAR)
async def test_no_head_and_no_body_is_a_long_piece_of_the_loop(front: Door, name: str) -> None:
    method, target, headers, body, status = DEAR[name]
    process = psutil.Process(front.process.pid)
    await front.ask(method, target, headers, body)
    before = sum(process.cpu_times()[:2])
    for _ in range(TIMES):
        said, _, content = await front.ask(method, target, headers, body)
        assert said.split()[1] == str(status), (said, content[:200])
        assert len(content) < MOST_BYTES
    assert 1000 * (sum(process.cpu_times()[:2]) - before) / TIMES < MOST_MILLISECONDS


async def test_a_session_is_found_among_other_cookies(front: Door) -> None:
    _, lines, _ = await front.ask("POST", "/operador/sesion", {"Authorization": f"Bearer {KEY}"})
    (session,) = [line.partition(": ")[2].partition(";")[0] for line in lines if line.lower().startswith("set-cookie")]
    ours = {"Sec-Fetch-Site": "same-origin"}
    for cookies in (
        session,
        f"a=b; {session}",
        f'{session};c="d, e"',
        f'x="\\"; {session}; y=',
        f"a=b\r\nCookie: {session}",
    ):
        said, _, _ = await front.ask("GET", "/operador", {**ours, "Cookie": cookies})
        assert said.split()[1] == "200", cookies
    for cookies in (f"x{session}", session.replace("=", "=0"), f"a={session}", session.upper()):
        said, _, _ = await front.ask("GET", "/operador", {**ours, "Cookie": cookies})
        assert said.split()[1] == "401", cookies


async def test_a_credential_of_another_scheme_is_told_of_when_it_is_refused(front: Door) -> None:
    async with asyncio.timeout(20):
        # One line a second, with the last of those that came.
        while "/altas/basic" not in front.log.read_text():
            said, _, _ = await front.ask("GET", "/altas/basic", {"Authorization": "Basic eDp5"})
            assert " 401 " in said
            await asyncio.sleep(0.2)
    assert "eDp5" not in front.log.read_text()
