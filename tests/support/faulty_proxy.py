"""A proxy before a real server that answers some requests with trouble of its own, before or after passing them on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp import web

_NOT_PASSED_ON: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-encoding"})
BODY_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class Trouble:
    """What the next request of this kind is answered."""

    method: str
    path_end: str
    status: int
    is_passed_on: bool = False
    """The server carries the request out, and its answer is lost."""


@dataclass
class FaultyProxy:
    """A running proxy."""

    target: str
    http: aiohttp.ClientSession
    troubles: list[Trouble] = field(default_factory=list)
    """Those to come; each is used once."""
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, or not."""
        trouble = self._next(request)
        body = await request.read()
        if trouble is not None and not trouble.is_passed_on:
            return _refusal(trouble)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON}
        async with self.http.request(
            request.method, self.target + request.path_qs, data=body, headers=headers, auto_decompress=False
        ) as answer:
            if trouble is not None:
                assert answer.status == 200, await answer.text()
                return _refusal(trouble)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED_ON}
            told = web.StreamResponse(status=answer.status, headers=kept)
            await told.prepare(request)
            async for chunk in answer.content.iter_any():
                await told.write(chunk)
            await told.write_eof()
            return told

    def _next(self, request: web.Request) -> Trouble | None:
        for trouble in self.troubles:
            if trouble.method == request.method and request.path.endswith(trouble.path_end):
                self.troubles.remove(trouble)
                return trouble
        return None


def _refusal(trouble: Trouble) -> web.Response:
    return web.json_response(
        {"type": "error", "error": {"type": "api_error", "message": "trouble"}},
        status=trouble.status,
        headers={"retry-after": "0"},
    )


@asynccontextmanager
async def faulty_proxy(target: str, http: aiohttp.ClientSession) -> AsyncIterator[FaultyProxy]:
    """A proxy on a free port of 127.0.0.1."""
    proxy = FaultyProxy(target, http)
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.port = runner.addresses[0][1]
    try:
        yield proxy
    finally:
        await runner.cleanup()
