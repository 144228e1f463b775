"""The scripted model's HTTP server: the two model APIs and ``/control`` for tests."""

import asyncio
from types import ModuleType, TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

import orjson
from aiohttp import web

from tests.support.scripted_model import anthropic_wire, openai_wire
from tests.support.scripted_model.bookkeeping import Bookkeeping, RecordedRequest
from tests.support.scripted_model.nonsense import send_nonsense
from tests.support.scripted_model.script import ErrorAnswer, Step, step_for

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
RULES_MAX: Final = 100
_STREAM: Final = "text/event-stream"


class ScriptedModel:
    """A scripted model on a port of this machine; also an async context manager."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self._rules: list[tuple[str, list[dict[str, Any]]]] = []
        self.books = Bookkeeping()
        self.connections = 0
        """Connections that requests to a model have come over."""
        self._seen: WeakSet[asyncio.BaseTransport] = WeakSet()

    @property
    def url(self) -> str:
        """The base URL for ``ANTHROPIC_BASE_URL``; with ``/v1`` for ``OPENAI_BASE_URL``."""
        return f"http://{self._host}:{self._port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The recorded requests, oldest first."""
        return list(self.books.requests)

    def add_rule(self, part: str, script: list[dict[str, Any]]) -> None:
        """Answer messages that contain the text with these steps, when they hold no script themselves."""
        if len(self._rules) >= RULES_MAX:
            raise ValueError("too many rules")
        self._rules.append((part, script))

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_get("/control/requests", self._get_requests)
        app.router.add_delete("/control/requests", self._delete_requests)
        app.router.add_get("/control/counters", self._get_counters)
        app.router.add_post("/control/rules", self._post_rule)
        app.router.add_get("/control/gates/{name}/waiting", self._gate_waiting)
        app.router.add_get("/control/gates/{name}", self._gate)
        app.router.add_post("/control/gates/{name}", self._open_gate)
        app.router.add_delete("/control/gates/{name}", self._close_gate)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; answers that are under way are cut off."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, anthropic_wire)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, openai_wire)

    async def _answer(self, request: web.Request, wire: ModuleType) -> web.StreamResponse:
        raw = await request.read()
        if request.transport is not None and request.transport not in self._seen:
            self._seen.add(request.transport)
            self.connections += 1
        question = wire.read_question(raw)
        before = self.books.record(request.path, Bookkeeping.kept_headers(request.headers), raw, question)
        try:
            step = step_for(question, self._rules)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            body = wire.error_body("invalid_request_error", f"the script cannot be read: {error}")
            return web.Response(status=400, body=body, content_type="application/json")
        if step.is_plain:
            whole = b"".join([piece for piece, _ in wire.stream_of(step, _model_of(raw), len(raw))])
            return web.Response(body=whole, content_type=_STREAM)
        try:
            if step.gate is not None and not step.gate_after:
                await self.books.pass_gate(step.gate)
            if step.error is not None and self.books.still_fails(step.error, before):
                return _error_response(wire, step.error)
            return await self._stream(request, wire, step, raw)
        except (asyncio.CancelledError, ConnectionError):
            await asyncio.shield(self.books.count("disconnected"))
            raise

    async def _stream(self, request: web.Request, wire: ModuleType, step: Step, raw: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/html" if step.nonsense == "html" else _STREAM})
        await response.prepare(request)
        frames = list(wire.stream_of(step, _model_of(raw), len(raw)))
        if step.nonsense is not None:
            await send_nonsense(request, response, step.nonsense, [frame for frame, _ in frames], self.books)
        else:
            await self._send_gated(response, step, frames)
        if request.transport is not None:
            await response.write_eof()
        return response

    async def _send_gated(self, response: web.StreamResponse, step: Step, frames: list[tuple[bytes, bool]]) -> None:
        texts = 0
        for frame, is_text in frames:
            await response.write(frame)
            texts += is_text
            if is_text and step.gate is not None and texts == step.gate_after:
                await self.books.pass_gate(step.gate)

    async def _get_requests(self, request: web.Request) -> web.Response:
        part = request.query.get("contains", "")
        return _json([recorded.shown() for recorded in self.books.requests if part in recorded.question.text])

    async def _delete_requests(self, request: web.Request) -> web.Response:
        self.books.requests.clear()
        return _json({})

    async def _get_counters(self, request: web.Request) -> web.Response:
        if name := request.query.get("wait"):
            try:
                await self.books.counted(name, int(request.query.get("at_least", "1")))
            except TimeoutError:
                return web.Response(status=408)
        by_question = [
            {"question": text, "step": step, "count": count} for (text, step), count in self.books.by_question.items()
        ]
        return _json({**self.books.counters, "by_question": by_question})

    async def _post_rule(self, request: web.Request) -> web.Response:
        rule = orjson.loads(await request.read())
        self.add_rule(rule["match"], rule["script"])
        return _json({})

    async def _gate(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return _json({"open": name in self.books.open_gates, "waiting": self.books.waiting_at[name]})

    async def _gate_waiting(self, request: web.Request) -> web.Response:
        try:
            await self.books.waiting(request.match_info["name"], int(request.query.get("at_least", "1")))
        except TimeoutError:
            return web.Response(status=408)
        return await self._gate(request)

    async def _open_gate(self, request: web.Request) -> web.Response:
        await self.books.open_gate(request.match_info["name"])
        return await self._gate(request)

    async def _close_gate(self, request: web.Request) -> web.Response:
        self.books.close_gate(request.match_info["name"])
        return await self._gate(request)


def _model_of(raw: bytes) -> str:
    """The requested model, without parsing a long history."""
    start = raw.find(b'"model":')
    rest = raw[start + 8 : start + 300].lstrip()
    return rest[1 : rest.index(b'"', 1)].decode() if start >= 0 and rest.startswith(b'"') else "scripted"


def _error_response(wire: ModuleType, error: ErrorAnswer) -> web.Response:
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = error.retry_after
    body = wire.error_body(error.type, error.message)
    return web.Response(status=error.status, body=body, headers=headers, content_type="application/json")


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
