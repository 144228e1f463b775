"""The listening socket, and the answers to what is not even HTTP: those too come in the API's envelope."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from efferent.gateway.errors import InternalError, InvalidRequest, to_response

HEADER_BYTES_MAX: Final = 16 * 1024
"""Longest request line, and longest header."""
HEADERS_MAX: Final = 128
KEEPALIVE_S: Final = 75.0
LINGER_S: Final = 10.0
"""How long the rest of a body is read and thrown away after a refusal, so that the client reads the answer."""
NOT_HTTP_TEXT: Final = "The request is not valid HTTP."
SERVER_NAME: Final = "efferent"
"""What all answers say of the server: never with which libraries, in which versions."""

_log = logging.getLogger(__name__)


class HttpServer:
    """One application on one socket."""

    def __init__(self, app: web.Application, *, new_request_id: Callable[[], str], shutdown_wait_s: float) -> None:
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=shutdown_wait_s)
        self._new_request_id = new_request_id
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the server does not listen")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen. Raises OSError when the address is taken."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, host, port, ssl=tls, backlog=1_024)

    def close_socket(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Let open requests finish for a while, then end them. Repeating it is harmless."""
        self.close_socket()
        await self._runner.cleanup()

    def _protocol(self) -> asyncio.Protocol:
        manager = self._runner.server
        if manager is None:
            raise RuntimeError("the server is not set up")
        return _Connection(manager, self._new_request_id)


class _Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ("_new_request_id",)

    def __init__(self, manager: web.Server, new_request_id: Callable[[], str]) -> None:
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # the middleware writes the one line of each request
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )
        self._new_request_id = new_request_id

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read, without repeating any of it."""
        request_id = self._new_request_id()
        fields: dict[str, Any] = {"request_id": request_id, "status": status}
        if status < 500:
            _log.info("a request was not HTTP", extra={**fields, "error": type(exc).__name__})
        else:
            _log.error("a connection failed", exc_info=exc, extra=fields)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        response = to_response(InvalidRequest(NOT_HTTP_TEXT) if status < 500 else InternalError(), request_id)
        response.headers["request-id"] = request_id
        response.headers["Server"] = SERVER_NAME
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A body that cannot be unpacked fails once more when its rest is thrown away: no defect of the server."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError):
            _log.info("the rest of a body could not be read")
        else:
            super().log_exception(*args, **kw)
