"""HTTP to addresses that a client named: nothing is connected to but what ``AddressPolicy`` allows.

    async with checked_http.open_session(policy) as session: ...    # an ``aiohttp.ClientSession``

The address is checked where it is used: the resolver runs for each new connection, refuses the host when one of its
addresses is not allowed, and the connection goes to the addresses that it returned, so a name that changes its
addresses in between gains nothing. Literal addresses are checked on each request, redirects included. Proxies of the
environment are not used. Every refusal is ``ForbiddenAddress``, raised by the request itself.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from efferent.common.net.public_addresses import PUBLIC_ONLY, Address, AddressPolicy, check_address, check_host

CONNECTIONS_MAX: Final = 100
_IDLE_CONNECTION_S: Final = 15.0
_HEADER_BYTES_MAX: Final = 8_190


def open_session(
    policy: AddressPolicy = PUBLIC_ONLY,
    *,
    connections_max: int = CONNECTIONS_MAX,
    timeout: aiohttp.ClientTimeout | None = None,
) -> aiohttp.ClientSession:
    """A session for requests to addresses that clients named. Keeps no cookies; reads nothing of the environment."""
    connector = aiohttp.TCPConnector(
        resolver=CheckedResolver(policy),
        use_dns_cache=False,
        limit=connections_max,
        keepalive_timeout=_IDLE_CONNECTION_S,
    )

    async def check(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        check_host(request.url.raw_host or "", policy)
        return await handler(request)

    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(check,),
        timeout=timeout or aiohttp.ClientTimeout(total=30),
        trust_env=False,
        max_line_size=_HEADER_BYTES_MAX,
        max_field_size=_HEADER_BYTES_MAX,
    )


async def resolve(host: str, port: int, policy: AddressPolicy = PUBLIC_ONLY) -> Sequence[Address]:
    """The addresses of a host, all of them allowed. Raises ForbiddenAddress, OSError when it does not resolve."""
    return tuple(ip_address(result["host"]) for result in await CheckedResolver(policy).resolve(host, port))


class CheckedResolver(AbstractResolver):
    """Resolves names and refuses a name when any of its addresses is not allowed."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See ``AbstractResolver``. Raises ForbiddenAddress, OSError."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results = []
        for family_found, _, protocol, _, socket_address in infos:
            text = str(socket_address[0])
            check_address(ip_address(text), self._policy, host=host)
            results.append(
                ResolveResult(
                    hostname=host,
                    host=text,
                    port=port,
                    family=family_found,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not results:
            raise OSError(f"{host} has no address")
        return results

    async def close(self) -> None:
        """Nothing is kept."""
