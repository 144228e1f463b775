"""An MCP server and a token endpoint that credentials are for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Foreign:
    """An MCP server and its token endpoint, which repeat whatever they are sent."""

    url: str
    refuses: bool = True
    gives: dict[str, Any] = field(default_factory=dict)

    async def mcp(self, request: web.Request) -> web.Response:
        """Refuse every token."""
        sent = str(dict(request.headers))
        return web.json_response({"you": sent}, status=401, headers={"x-you": request.headers["authorization"]})

    async def token(self, request: web.Request) -> web.Response:
        """Refuse, or give new tokens; either way with what was sent."""
        sent = {"form": dict(await request.post()), "headers": dict(request.headers)}
        if self.refuses:
            return web.json_response({"error": "invalid_grant", "you": sent}, status=400)
        return web.json_response({**self.gives, "expires_in": 3600, "you": sent})


@asynccontextmanager
async def foreign() -> AsyncIterator[Foreign]:
    """The foreign servers on a free port."""
    served = Foreign("")
    app = web.Application()
    app.add_routes([web.post("/mcp", served.mcp), web.post("/token", served.token)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()
