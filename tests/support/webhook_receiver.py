"""A customer's webhook endpoint: keeps what it gets and answers as a test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import web
from anthropic import Anthropic

from tests.conformance.traffic import note_webhook

WAIT_S: Final = 40.0
READER: Final = Anthropic(api_key="not used: nothing is sent with it")


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: str

    @property
    def event(self) -> Any:
        """The event, not verified."""
        return orjson.loads(self.body)

    @property
    def type(self) -> str:
        """What happened."""
        return str(self.event["data"]["type"])

    @property
    def id(self) -> str:
        """The event's id."""
        return str(self.event["id"])

    def unwrap(self, key: str) -> Any:
        """What the official client makes of it; raises when the signature is not right."""
        return READER.beta.webhooks.unwrap(self.body, headers=dict(self.headers), key=key)


Answering = Callable[[Received], web.StreamResponse | Awaitable[web.StreamResponse]]


def ok(_: Received) -> web.StreamResponse:
    """Acknowledge."""
    return web.Response(status=204)


@dataclass
class Receiver:
    """A running endpoint."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answer: Answering = ok
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/hook") -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def until(self, *, count: int = 1, where: Callable[[Received], bool] = lambda _: True) -> list[Received]:
        """Wait for this many requests; all that match so far, in the order in which they came."""

        def found() -> list[Received]:
            return [request for request in self.received if where(request)]

        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(lambda: len(found()) >= count)
        return found()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep a request and answer it."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.path, headers, (await request.read()).decode())
        note_webhook(received.body)
        async with self.changed:
            self.received.append(received)
            self.changed.notify_all()
        answer = self.answer(received)
        return await answer if isinstance(answer, Awaitable) else answer


@asynccontextmanager
async def receiving(answer: Answering = ok) -> AsyncIterator[Receiver]:
    """An endpoint on a free port of 127.0.0.1."""
    receiver = Receiver(answer=answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()
