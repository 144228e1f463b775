"""Writes down every answer of a gateway, from inside its process: one JSON line each, in a file of the process.

Whoever the client is and however the answer ends, this is what went out. Nothing here belongs to the server: the suite
puts it into gateways that it starts (``sitecustomize``), and into those of its own process.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

from aiohttp import web

FOLDER_VARIABLE: Final = "EFFERENT_TESTS_TRAFFIC"
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""A longer body is not written down."""
_GATEWAY: Final = "efferent.gateway.http_server"


def install(folder: Path) -> None:
    """Record all gateways of this process from now on."""
    lines = (folder / f"{os.getpid()}.jsonl").open("a", buffering=1)
    finish, write = web.RequestHandler.finish_response, web.StreamResponse.write

    async def finish_response(handler: Any, request: Any, response: Any, *rest: Any) -> Any:
        is_http = isinstance(request, web.Request)
        if is_http and type(handler).__module__ == _GATEWAY and isinstance(response, web.Response):
            lines.write(_line(request, response, body=_text(response)))
        return await finish(handler, request, response, *rest)

    async def write_chunk(response: Any, data: Any) -> None:
        request = response._req
        protocol = getattr(request, "protocol", None)
        if type(protocol).__module__ == _GATEWAY and response.content_type == "text/event-stream":
            lines.write(_line(request, response, frames=bytes(data).decode(errors="replace")))
        await write(response, data)

    setattr(web.RequestHandler, "finish_response", finish_response)  # noqa: B010 (in place of what is typed)
    setattr(web.StreamResponse, "write", write_chunk)  # noqa: B010


def _text(response: web.Response) -> str | None:
    body = response.body
    if response.content_type != "application/json" or not isinstance(body, bytes) or len(body) > BODY_BYTES_MAX:
        return None
    return body.decode(errors="replace")


def _line(request: Any, response: web.StreamResponse, **more: str | None) -> str:
    told = {
        "method": request.method,
        "path": request.path_qs,
        "beta": ",".join(value for name, value in request.headers.items() if name.lower() == "anthropic-beta"),
        "status": response.status,
        **more,
    }
    return json.dumps(told) + "\n"
