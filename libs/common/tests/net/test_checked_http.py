"""HTTP that connects to nothing but what the policy allows: names, literals, redirects, and names that change."""

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from efferent.common.net import checked_http
from efferent.common.net.public_addresses import AddressPolicy, ForbiddenAddress


@pytest.fixture
async def server() -> AsyncIterator[tuple[int, list[str]]]:
    """A server on loopback, and the paths that it was asked for. ``/to?u=`` redirects."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if to := request.query.get("u"):
            raise web.HTTPFound(to)
        return web.Response(text="here")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1], asked
    await runner.cleanup()


async def _get(url: str, policy: AddressPolicy) -> str:
    async with checked_http.open_session(policy) as session, session.get(url) as response:
        return await response.text()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]"])
async def test_nothing_is_sent_to_loopback_unless_it_is_listed(server: tuple[int, list[str]], host: str) -> None:
    port, asked = server
    with pytest.raises(ForbiddenAddress):
        await _get(f"http://{host}:{port}/", AddressPolicy())
    assert asked == []


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1"])
async def test_short_and_octal_notations_never_get_through(server: tuple[int, list[str]], host: str) -> None:
    port, asked = server
    with pytest.raises(ForbiddenAddress):
        await _get(f"http://{host}:{port}/", AddressPolicy.parse("10.0.0.0/8"))
    assert asked == []


@pytest.mark.parametrize(("listed", "host"), [("127.0.0.0/8", "127.0.0.1"), ("localhost", "localhost")])
async def test_what_the_operator_listed_is_reached(server: tuple[int, list[str]], listed: str, host: str) -> None:
    port, _ = server
    assert await _get(f"http://{host}:{port}/", AddressPolicy.parse(listed)) == "here"


async def test_a_redirect_to_an_address_that_is_not_allowed_is_not_followed(server: tuple[int, list[str]]) -> None:
    port, asked = server
    to = f"http://127.0.0.1:{port}/secret"
    with pytest.raises(ForbiddenAddress):
        await _get(f"http://localhost:{port}/to?u={to}", AddressPolicy.parse("localhost"))
    assert asked == ["/to"]


async def test_a_name_is_resolved_again_for_each_connection(
    server: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that was harmless when it was checked and is loopback when it is used reaches nothing."""
    port, asked = server
    answers = [["93.184.215.14"], ["93.184.215.14", "127.0.0.1"]]

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in answers.pop(0)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    assert await checked_http.resolve("rebinding.example", port) == (ip_address("93.184.215.14"),)
    with pytest.raises(ForbiddenAddress, match=r"rebinding\.example"):
        await _get(f"http://rebinding.example:{port}/", AddressPolicy())
    assert asked == []


async def test_a_name_that_does_not_resolve_is_a_connection_error() -> None:
    with pytest.raises(aiohttp.ClientConnectorError):
        await _get("http://nobody.invalid/", AddressPolicy())
